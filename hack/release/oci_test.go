package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// checkBlobs requires that each blob has its digest as its name, and that each descriptor leads to one.
func checkBlobs(t *testing.T, l layout) {
	t.Helper()
	referred := ""
	for _, f := range l {
		if sum, isBlob := strings.CutPrefix(f.name, "blobs/sha256/"); isBlob && fmt.Sprintf("%x", sha256.Sum256(f.content)) != sum {
			t.Errorf("%s has another digest", f.name)
		}
		referred += string(f.content)
	}
	for _, f := range l {
		if sum, isBlob := strings.CutPrefix(f.name, "blobs/sha256/"); isBlob && !strings.Contains(referred, "sha256:"+sum) {
			t.Errorf("nothing refers to %s", f.name)
		}
	}
}

func TestArtifactIsALayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chart.tar")
	testkit.Must(t, artifact{
		name:        "charts/usher:1.0.0",
		config:      blob{"config/type", []byte(`{"name":"usher"}`), nil},
		layer:       blob{"layer/type", []byte("chart"), map[string]string{"title": "chart.tgz"}},
		annotations: map[string]string{"version": "1.0.0"},
	}.write(path, time.Unix(1_800_000_000, 0)))
	content, err := os.ReadFile(path)
	testkit.Must(t, err)
	l, err := readLayout(content)
	testkit.Must(t, err)
	checkBlobs(t, l)
	top, err := l.readIndex(indexFile)
	testkit.Must(t, err)
	if top.Manifests[0].Annotations[refName] != "charts/usher:1.0.0" {
		t.Errorf("the artifact has the name %v", top.Manifests[0].Annotations)
	}
	content, err = l.content(top.Manifests[0].file())
	testkit.Must(t, err)
	var m manifest
	testkit.Must(t, json.Unmarshal(content, &m))
	if m.Config.MediaType != "config/type" || m.Layers[0].MediaType != "layer/type" || m.Layers[0].Size != 5 || m.Annotations["version"] != "1.0.0" {
		t.Errorf("the manifest is %s", content)
	}
}

// An image of several platforms gets the annotations of its labels, and keeps everything else.
func TestImageIsAnnotatedWithItsLabels(t *testing.T) {
	labels := map[string]string{"org.opencontainers.image.version": "v1.0.0"}
	image := func() layout {
		l := layout{}
		config := l.add(blob{"config/type", []byte(`{"config":{"Labels":{"org.opencontainers.image.version":"v1.0.0"}}}`), nil})
		platform, err := l.addJSON(manifestType, manifest{SchemaVersion: 2, Config: config})
		testkit.Must(t, err)
		platform.Platform = json.RawMessage(`{"os":"linux"}`)
		several, err := l.addJSON(indexType, index{SchemaVersion: 2, Manifests: []descriptor{platform}})
		testkit.Must(t, err)
		several.Annotations = map[string]string{refName: "usher:v1.0.0"}
		testkit.Must(t, l.setIndex(several))
		return l
	}
	l := image()
	testkit.Must(t, l.annotateImage())
	checkBlobs(t, l)
	top, err := l.readIndex(indexFile)
	testkit.Must(t, err)
	several, err := l.readIndex(top.Manifests[0].file())
	testkit.Must(t, err)
	if !maps.Equal(several.Annotations, labels) || string(several.Manifests[0].Platform) != `{"os":"linux"}` || top.Manifests[0].Annotations[refName] != "usher:v1.0.0" {
		t.Errorf("the index is %v, and its entry %v", several, top.Manifests[0])
	}

	l = image()
	l.set(indexFile, []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:00","size":1,"data":"e30="}]}`))
	if err := l.annotateImage(); err == nil || !strings.Contains(err.Error(), `unknown field "data"`) {
		t.Errorf("an index with a field that would be lost: %v", err)
	}
	l.set(indexFile, []byte(`{"schemaVersion":2,"manifests":[]}`))
	if err := l.annotateImage(); err == nil || !strings.Contains(err.Error(), "lists no manifest") {
		t.Errorf("an empty index: %v", err)
	}
}
