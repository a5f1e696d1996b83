package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

const (
	chartFolder = "charts/usher"
	// chartRepository is where the chart is published, as an OCI artifact.
	chartRepository = "charts/usher"
)

// chart packages the chart with the version of the release, as an archive for helm and
// as an OCI artifact, and Artifact Hub's description of its repository as another.
func (r *release) chart(ctx context.Context) error {
	folder := filepath.Join(r.work, "usher")
	if err := os.CopyFS(folder, os.DirFS(chartFolder)); err != nil {
		return err
	}
	metadata, err := r.describeChart(filepath.Join(folder, "Chart.yaml"))
	if err != nil {
		return err
	}
	if _, err := command(ctx, r.sourceDate(), r.helm, "package", folder, "--destination", r.out); err != nil {
		return err
	}
	packed, err := os.ReadFile(r.path("usher-" + r.chartVersion() + ".tgz"))
	if err != nil {
		return err
	}
	hub, err := os.ReadFile("charts/artifacthub-repo.yml")
	if err != nil {
		return err
	}
	config, err := yaml.YAMLToJSON(metadata)
	if err != nil {
		return err
	}
	err = artifact{
		name:        chartRepository + ":" + r.chartVersion(),
		config:      blob{"application/vnd.cncf.helm.config.v1+json", config, nil},
		layer:       blob{"application/vnd.cncf.helm.chart.content.v1.tar+gzip", packed, nil},
		annotations: r.annotations(),
	}.write(r.path("usher-chart-"+r.chartVersion()+".oci.tar"), r.time)
	if err != nil {
		return err
	}
	// https://artifacthub.io/docs/topics/repositories/helm-charts/#oci-support
	return artifact{
		name:   chartRepository + ":artifacthub.io",
		config: blob{"application/vnd.cncf.artifacthub.config.v1+yaml", nil, nil},
		layer: blob{"application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml", hub,
			map[string]string{"org.opencontainers.image.title": "artifacthub-repo.yml"}},
	}.write(r.path("usher-artifacthub.oci.tar"), r.time)
}

// describeChart writes into Chart.yaml what only a release knows: its version, its
// image and its changes. It returns the file.
func (r *release) describeChart(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var chart map[string]any
	if err := yaml.Unmarshal(text, &chart); err != nil {
		return nil, err
	}
	annotations, ok := chart["annotations"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s has no annotations", path)
	}
	chart["version"], chart["appVersion"] = r.chartVersion(), r.version
	image := map[string]any{"name": "usher", "image": r.image + ":" + r.version, "platforms": []string{"linux/amd64", "linux/arm64"}}
	for name, value := range map[string]any{"images": []any{image}, "changes": r.notes.changes} {
		list, err := yaml.Marshal(value)
		if err != nil {
			return nil, err
		}
		annotations["artifacthub.io/"+name] = string(list)
	}
	security := slices.ContainsFunc(r.notes.changes, func(c change) bool { return c.Kind == "security" })
	annotations["artifacthub.io/containsSecurityUpdates"] = strconv.FormatBool(security)
	annotations["artifacthub.io/prerelease"] = strconv.FormatBool(strings.Contains(r.version, "-"))
	if text, err = yaml.Marshal(chart); err != nil {
		return nil, err
	}
	return text, os.WriteFile(path, text, 0o644)
}

// annotations returns those of the chart's artifact, by the names of
// https://specs.opencontainers.org/image-spec/annotations/
func (r *release) annotations() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":         "usher",
		prefix + "description":   "The Helm chart of usher, which publishes annotated hosts of several Kubernetes clusters at one edge, by TLS passthrough",
		prefix + "version":       r.chartVersion(),
		prefix + "created":       r.time.Format(time.RFC3339),
		prefix + "url":           repository,
		prefix + "source":        repository,
		prefix + "documentation": repository + "/tree/main/docs",
		prefix + "licenses":      "Apache-2.0",
	}
}
