package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	refName      = "org.opencontainers.image.ref.name"
)

// A blob is content of a media type.
type blob struct {
	mediaType   string
	content     []byte
	annotations map[string]string // of its descriptor
}

// A descriptor refers to a blob:
// https://specs.opencontainers.org/image-spec/descriptor/
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A manifest lists the blobs of an artifact:
// https://specs.opencontainers.org/image-spec/manifest/
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// An index lists the manifests of a layout:
// https://specs.opencontainers.org/image-spec/image-index/
type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// An artifact is content for an OCI registry with one layer.
type artifact struct {
	name          string // REPOSITORY:TAG
	config, layer blob
	annotations   map[string]string
}

// write writes the artifact as an archive of an OCI layout:
// https://specs.opencontainers.org/image-spec/image-layout/
func (a artifact) write(path string, at time.Time) error {
	layout := layout{}
	top := manifest{SchemaVersion: 2, MediaType: manifestType, Config: layout.add(a.config), Layers: []descriptor{layout.add(a.layer)}, Annotations: a.annotations}
	described, err := layout.addJSON(manifestType, top)
	if err != nil {
		return err
	}
	described.Annotations = map[string]string{refName: a.name}
	list, err := json.Marshal(index{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{described}})
	if err != nil {
		return err
	}
	files := append(layout.blobs,
		file{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{name: "index.json", mode: 0o644, content: list})
	return writeArchive(path, files, at)
}

// A layout has the blobs of an OCI layout.
type layout struct{ blobs []file }

// add adds a blob and returns its descriptor.
func (l *layout) add(b blob) descriptor {
	sum := fmt.Sprintf("%x", sha256.Sum256(b.content))
	l.blobs = append(l.blobs, file{name: "blobs/sha256/" + sum, mode: 0o644, content: bytes.Clone(b.content)})
	return descriptor{MediaType: b.mediaType, Digest: "sha256:" + sum, Size: len(b.content), Annotations: b.annotations}
}

// addJSON adds a value as a blob of JSON.
func (l *layout) addJSON(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return l.add(blob{mediaType: mediaType, content: content}), nil
}
