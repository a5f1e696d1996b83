package main

import (
	"context"
	_ "embed"
	"os"
	"strings"
	"text/template"
)

// krewTemplate becomes the manifest for https://github.com/kubernetes-sigs/krew-index
//
//go:embed krew.yaml.tmpl
var krewTemplate string

// A krewPlatform is an entry of the manifest's platforms.
type krewPlatform struct {
	OS, Arch     string
	URI, SHA256  string
	Program, Bin string // the file in the archive, and what krew calls it
}

// krew writes the manifest by which `kubectl krew install usher` installs the client commands.
func (r *release) krew(context.Context) error {
	text, err := r.krewManifest()
	if err != nil {
		return err
	}
	return os.WriteFile(r.path("usher.krew.yaml"), []byte(text), 0o644)
}

// krewManifest returns the manifest of the archives in the release.
func (r *release) krewManifest() (string, error) {
	var all []krewPlatform
	for _, p := range platforms {
		name := r.archive(p)
		sum, err := checksum(r.path(name))
		if err != nil {
			return "", err
		}
		all = append(all, krewPlatform{
			OS: p.OS, Arch: p.Arch,
			URI: repository + "/releases/download/" + r.version + "/" + name, SHA256: sum,
			Program: p.program(), Bin: "kubectl-" + p.program(),
		})
	}
	var text strings.Builder
	parsed, err := template.New("krew").Parse(krewTemplate)
	if err != nil {
		return "", err
	}
	err = parsed.Execute(&text, map[string]any{"Version": r.version, "Homepage": repository, "Platforms": all})
	return text.String(), err
}
