package node

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

// writeImage writes the archive of an image with one static program, in the format of `docker save`,
// which containerd can import.
func writeImage(archive, name, program string) error {
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := archiveOf(member{"program", 0o755, binary})
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/program"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	image, err := archiveOf(member{"manifest.json", 0o644, manifest}, member{"config.json", 0o644, config}, member{"layer.tar", 0o644, layer})
	if err != nil {
		return err
	}
	return os.WriteFile(archive, image, 0o600)
}

// A member is a file in an archive.
type member struct {
	name    string
	mode    int64
	content []byte
}

func archiveOf(members ...member) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, m := range members {
		if err := archive.WriteHeader(&tar.Header{Name: m.name, Mode: m.mode, Size: int64(len(m.content))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(m.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), archive.Close()
}
