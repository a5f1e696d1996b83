package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// copyImage copies the archive of the image into the release, and annotates its index.
func (r *release) copyImage(context.Context) error {
	archive, err := os.ReadFile(r.imageArchive)
	if err != nil {
		return err
	}
	image, err := readLayout(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", r.imageArchive, err)
	}
	if err := image.annotateImage(); err != nil {
		return fmt.Errorf("%s: %w", r.imageArchive, err)
	}
	return writeArchive(r.path(filepath.Base(r.imageArchive)), image, r.time)
}

// annotateImage gives the index of the only image the labels of the image as
// annotations: registries show those of the index, and buildah writes none there.
func (l *layout) annotateImage() error {
	top, err := l.readIndex(indexFile)
	if err != nil {
		return err
	}
	named := top.Manifests[0]
	image, err := l.readIndex(named.file())
	if err != nil {
		return err
	}
	if image.Annotations, err = l.labels(image.Manifests[0]); err != nil {
		return err
	}
	l.remove(named.file())
	annotated, err := l.addJSON(indexType, image)
	if err != nil {
		return err
	}
	annotated.Annotations = named.Annotations // its name
	return l.setIndex(annotated)
}

// labels returns the labels of the image of one platform.
func (l *layout) labels(platform descriptor) (map[string]string, error) {
	content, err := l.content(platform.file())
	if err != nil {
		return nil, err
	}
	var described manifest
	if err := json.Unmarshal(content, &described); err != nil {
		return nil, err
	}
	if content, err = l.content(described.Config.file()); err != nil {
		return nil, err
	}
	var image struct {
		Config struct{ Labels map[string]string } `json:"config"`
	}
	err = json.Unmarshal(content, &image)
	return image.Config.Labels, err
}
