//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestDNSFlags(t *testing.T) {
	cmd, o := newRunCommand()
	testkit.Must(t, cmd.ParseFlags(strings.Fields("--dns-target 203.0.113.7,2001:db8::7 --dns-internal-target edge.home.arpa --dns-ttl 300 --dns-property a=b --dns-property c=d --dns-resolver 2620:fe::fe")))
	s := &settings{runOptions: o}
	testkit.Must(t, s.readDNS())
	if s.dns.Off() || s.dns.TTL != 300 || len(s.dns.Properties) != 2 || s.resolver.String() != "[2620:fe::fe]:53" {
		t.Errorf("the settings are %+v and %s", s.dns, s.resolver)
	}
}

const hostManifest = `apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata: {name: %NAME%}
spec: {host: "%HOST%", backends: [{address: 192.168.1.20}]%MORE%}
---
`

// manifestsOf writes hosts, as a name and more of the spec, into a folder of manifests.
func manifestsOf(t *testing.T, hosts map[string]string) string {
	t.Helper()
	var text strings.Builder
	for host, more := range hosts {
		name := strings.Replace(host, "*.", "wildcard.", 1)
		text.WriteString(strings.NewReplacer("%NAME%", name, "%HOST%", host, "%MORE%", more).Replace(hostManifest))
	}
	dir := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "hosts.yaml"), []byte(text.String()), 0o600))
	return dir
}

func TestDNSOfManifests(t *testing.T) {
	dir := manifestsOf(t, map[string]string{
		"app.techn.is": "", "*.techn.is": ", dns: {ttl: 60}", "none.techn.is": ", dns: {policy: None}", "home.techn.is": ", dns: {cloudflareProxied: true}",
	})
	got := say(t, nil, "dns", "--manifests", dir, "--dns-target", "203.0.113.7", "--dns-ttl", "300")
	if want := "*.techn.is. 60 IN A 203.0.113.7\napp.techn.is. 300 IN A 203.0.113.7\nhome.techn.is. 300 IN A 203.0.113.7\n"; got.code != 0 || got.out != want {
		t.Errorf("it prints %+v, want\n%s", got, want)
	}
	got = say(t, nil, "dns", "-o", "json", "--manifests", dir, "--dns-target", "home.techn.is", "--view", "Public")
	if want := []string{`"host": "app.techn.is"`, `"type": "CNAME"`, `"home.techn.is"`}; got.code != 0 || !testkit.ContainsAll(got.out, want) || strings.Contains(got.out, "none.techn.is") {
		t.Errorf("it prints %+v, want %q", got, want)
	}
	if want := "usher: home.techn.is has no record: the host is the target of its own CNAME record"; !strings.Contains(got.err, want) {
		t.Errorf("it says %q, want %q", got.err, want)
	}
}

func TestMistakesOfDNS(t *testing.T) {
	broken := t.TempDir()
	testkit.Must(t, os.WriteFile(filepath.Join(broken, "x.yaml"), []byte("kind: ExposedHost\n"), 0o600))
	testMistakes(t, nil, []mistake{
		{"dns", exitUsage, []string{"--dns-target: without a target there are no records"}},
		{"dns --dns-target=203.0.113.7 --view=Internal", exitUsage, []string{"--dns-internal-target: without a target"}},
		{"dns --dns-target=203.0.113.7 --view=public", exitUsage, []string{`--view: "public" is none of Public, Internal`}},
		{"dns --dns-target=203.0.113.7 -o yaml", exitUsage, []string{`--output: "yaml" is none of zone, json`}},
		{"dns --dns-target=203.0.113.7 --manifests=/none", exitUsage, []string{"--manifests: there is no directory /none"}},
		{"dns --dns-target=203.0.113.7 --manifests=/ --edge-context=x", exitUsage, []string{"--manifests: the hosts are read either from files or from the edge cluster"}},
		{"dns --dns-target=203.0.113.7 --manifests=" + broken, exitFailure, []string{"x.yaml"}},
		{"dns --dns-target=203.0.113.7 extra", exitUsage, []string{"extra"}},
	})
}
