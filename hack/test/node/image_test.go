package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
)

// chartVersion returns the version of usher that the chart installs.
func chartVersion() (string, error) {
	chart, err := os.ReadFile(chart + "/Chart.yaml")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^appVersion: (\S+)$`).FindSubmatch(chart)
	if found == nil {
		return "", errors.New("the chart names no appVersion")
	}
	return string(found[1]), nil
}

func goarch() string { return runtime.GOARCH }

// buildImages builds usher's image as a release does, in two versions, for this architecture.
func buildImages(ctx context.Context, dir string) ([]string, error) {
	version, err := chartVersion()
	if err != nil {
		return nil, err
	}
	var archives []string
	for _, v := range []string{version, newVersion} {
		cmd := exec.CommandContext(ctx, "../../image")
		cmd.Env = append(os.Environ(), "DIST="+dir, "ARCHITECTURES="+goarch(), "IMAGE="+image, "VERSION="+v, "LDFLAGS=-s -w -X main.version="+v)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the image: %w\n%s", err, out)
		}
		archives = append(archives, filepath.Join(dir, "usher-"+v+".oci.tar"))
	}
	return archives, nil
}
