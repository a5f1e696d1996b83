package main

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The manifest has each archive with its checksum, and the plugin's program has the name that kubectl looks for.
func TestKrewManifest(t *testing.T) {
	r := &release{version: "v9.8.7", out: t.TempDir()}
	for _, p := range platforms {
		testkit.Must(t, os.WriteFile(r.path(r.archive(p)), []byte(p.suffix()), 0o600))
	}
	text, err := r.krewManifest()
	testkit.Must(t, err)
	var plugin struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version   string
			Platforms []struct {
				Selector    struct{ MatchLabels map[string]string }
				URI, SHA256 string
				Bin         string
				Files       []struct{ From, To string }
			}
		}
	}
	testkit.Must(t, yaml.UnmarshalStrict([]byte(text), &map[string]any{}))
	testkit.Must(t, yaml.Unmarshal([]byte(text), &plugin))
	if plugin.Metadata.Name != "usher" || plugin.Spec.Version != r.version || len(plugin.Spec.Platforms) != len(platforms) {
		t.Errorf("the manifest is:\n%s", text)
	}
	for i, p := range plugin.Spec.Platforms {
		of := platforms[i]
		sum, err := checksum(r.path(r.archive(of)))
		testkit.Must(t, err)
		if p.SHA256 != sum || !strings.HasSuffix(p.URI, "/releases/download/v9.8.7/"+r.archive(of)) {
			t.Errorf("%s: %s has the checksum %s, not %s", of.suffix(), p.URI, p.SHA256, sum)
		}
		if p.Selector.MatchLabels["os"] != of.OS || p.Selector.MatchLabels["arch"] != of.Arch {
			t.Errorf("%s: the selector is %v", of.suffix(), p.Selector.MatchLabels)
		}
		if p.Bin != "kubectl-"+of.program() || p.Files[0].From != of.program() || p.Files[0].To != p.Bin {
			t.Errorf("%s: the program is %s of %v", of.suffix(), p.Bin, p.Files)
		}
	}
}
