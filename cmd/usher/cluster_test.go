package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestInvalidClusterCommandLines(t *testing.T) {
	testInvalidLines(t, []wrongLine{
		{"cluster add", "NAME is missing"},
		{"cluster add hades illmatic", `unexpected argument "illmatic"`},
		{"cluster add Hades", `name "Hades"`},
		{"cluster add hades -o yaml", "--output: requires --dry-run"},
		{"cluster add hades --dry-run -o table", `--output: "table" is none of yaml, json`},
		{"cluster add hades --dry-run=server", `--dry-run: "server" is none of member, edge, all`},
		{"cluster add hades --service traefik", `--service: "traefik" is not NAMESPACE/NAME`},
		{"cluster add hades --service a/b/c", `--service: "a/b/c" is not NAMESPACE/NAME`},
		{"cluster add hades --address 192.0.2.1:443", `address "192.0.2.1:443"`},
		{"cluster add hades --server 192.0.2.1", `server "192.0.2.1"`},
		{"cluster add hades --timeout 0", "timeout 0s"},
		{"cluster isolate", "NAME is missing"},
		{"cluster isolate hades -o yaml", "--output: requires --dry-run"},
		{"cluster isolate hades --dry-run=server", `--dry-run: "server" is none of member, edge, all`},
		{"cluster isolate hades --options-name default", `name "default"`},
		{"cluster isolate hades --options-name a--b", "two hyphens in a row"},
		{"cluster isolate hades --options-namespace A", `namespace "A"`},
		{"cluster isolate hades -n traefik", "unknown shorthand flag"},
		{"cluster list hades", `unexpected argument "hades"`},
		{"cluster list -o wide", `--output: "wide" is none of json, yaml, name`},
		{"cluster remove", "NAME is missing"},
		{"cluster remove hades --dry-run", "unknown flag"},
		{"cluster purge", `unexpected argument "purge"`},
	})
}

func TestClusterCommandsWithoutKubeconfig(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "kubeconfig")
	t.Setenv("KUBECONFIG", missing)
	for line, message := range map[string]string{
		"cluster list": "connect to the edge",
		"cluster add hades --edge-kubeconfig " + missing:   missing,
		"cluster remove hades --force --edge-context edge": "connect to the edge",
	} {
		var usage *usageError
		if err := execute(t, line); err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), message) {
			t.Errorf("usher %s: %v; want an error with %q that is no usage error", line, err, message)
		}
	}
}

func TestQuestionsNeedAYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "yes, but\n": false} {
		o, cmd := clusterOptions{}, rootCommand()
		var out bytes.Buffer
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetOut(&out)
		if got := o.ask(cmd)("Edit them?"); got != want || !strings.Contains(out.String(), "Edit them? [y/N] ") {
			t.Errorf("%q is read as %v after %q", answer, got, &out)
		}
		o.yes = true
		if !o.ask(cmd)("Edit them?") {
			t.Error("--yes is a no")
		}
	}
}

// wrongLine is an invalid command line, and a part of its error.
type wrongLine struct{ line, message string }

func testInvalidLines(t *testing.T, lines []wrongLine) {
	t.Helper()
	for _, test := range lines {
		t.Run(test.line, func(t *testing.T) {
			err := execute(t, test.line)
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("%v; want a usage error with %q", err, test.message)
			}
		})
	}
}

// execute runs a command line and discards its output.
func execute(t *testing.T, line string) error {
	t.Helper()
	cmd := rootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(strings.Fields(line))
	return cmd.ExecuteContext(t.Context())
}
