package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
	refName      = "org.opencontainers.image.ref.name"
	indexFile    = "index.json"
)

// A descriptor refers to a blob:
// https://specs.opencontainers.org/image-spec/descriptor/
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    json.RawMessage   `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// file returns the name of the blob's file in a layout.
func (d descriptor) file() string { return "blobs/" + strings.ReplaceAll(d.Digest, ":", "/") }

// A manifest lists the blobs of an image or of another artifact:
// https://specs.opencontainers.org/image-spec/manifest/
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// An index lists manifests, of a layout or of one image for several platforms:
// https://specs.opencontainers.org/image-spec/image-index/
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []descriptor      `json:"manifests"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// A blob is content of a media type.
type blob struct {
	mediaType   string
	content     []byte
	annotations map[string]string // of its descriptor
}

// An artifact is content for an OCI registry with one layer.
type artifact struct {
	name          string // REPOSITORY:TAG
	config, layer blob
	annotations   map[string]string
}

// write writes the artifact as an archive of an OCI layout.
func (a artifact) write(path string, at time.Time) error {
	l := layout{{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	top, err := l.addJSON(manifestType, manifest{
		SchemaVersion: 2, MediaType: manifestType,
		Config: l.add(a.config), Layers: []descriptor{l.add(a.layer)}, Annotations: a.annotations,
	})
	if err != nil {
		return err
	}
	top.Annotations = map[string]string{refName: a.name}
	if err := l.setIndex(top); err != nil {
		return err
	}
	return writeArchive(path, l, at)
}

// A layout has the files of an OCI layout:
// https://specs.opencontainers.org/image-spec/image-layout/
type layout []file

// readLayout reads the archive of a layout.
func readLayout(archive []byte) (layout, error) {
	var l layout
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return l, nil
		case err != nil:
			return nil, err
		case header.Typeflag != tar.TypeReg:
			continue
		}
		content, err := io.ReadAll(files)
		if err != nil {
			return nil, err
		}
		l = append(l, file{name: strings.TrimPrefix(header.Name, "./"), mode: 0o644, content: content})
	}
}

// add adds a blob and returns its descriptor.
func (l *layout) add(b blob) descriptor {
	d := descriptor{MediaType: b.mediaType, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(b.content)), Size: len(b.content), Annotations: b.annotations}
	l.set(d.file(), b.content)
	return d
}

// addJSON adds a value as a blob of JSON.
func (l *layout) addJSON(mediaType string, value any) (descriptor, error) {
	content, err := json.Marshal(value)
	return l.add(blob{mediaType: mediaType, content: content}), err
}

// setIndex makes d the only entry of the layout's index.
func (l *layout) setIndex(d descriptor) error {
	content, err := json.Marshal(index{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{d}})
	l.set(indexFile, content)
	return err
}

// set adds a file, in place of one with its name.
func (l *layout) set(name string, content []byte) {
	l.remove(name)
	*l = append(*l, file{name: name, mode: 0o644, content: content})
}

func (l *layout) remove(name string) {
	*l = slices.DeleteFunc(*l, func(f file) bool { return f.name == name })
}

// readIndex reads a file that is an index. It refuses fields that it does not know,
// since they would be lost in what is written in its place.
func (l *layout) readIndex(name string) (index, error) {
	var i index
	content, err := l.content(name)
	if err != nil {
		return i, err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&i); err != nil {
		return i, fmt.Errorf("%s: %w", name, err)
	}
	if len(i.Manifests) == 0 {
		return i, fmt.Errorf("%s lists no manifest", name)
	}
	return i, nil
}

// content returns the content of a file.
func (l *layout) content(name string) ([]byte, error) {
	for _, f := range *l {
		if f.name == name {
			return f.content, nil
		}
	}
	return nil, fmt.Errorf("there is no %s", name)
}
