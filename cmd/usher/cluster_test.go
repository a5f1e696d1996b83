package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestInvalidClusterCommandLines(t *testing.T) {
	testInvalidLines(t, []wrongLine{
		{"cluster add", "NAME is missing"},
		{"cluster add hades illmatic", `unexpected argument "illmatic"`},
		{"cluster add Hades", `NAME: "Hades" is not a valid name`},
		{"cluster add hades -o yaml", "--output: requires --dry-run"},
		{"cluster add hades --dry-run -o table", `--output: "table" is none of yaml, json`},
		{"cluster add hades --dry-run=server", `--dry-run: "server" is none of member, edge, all`},
		{"cluster add hades --service traefik", `--service: "traefik" is not NAMESPACE/NAME`},
		{"cluster add hades --service a/b/c", `--service: "a/b/c" is not NAMESPACE/NAME`},
		{"cluster add hades --address 192.0.2.1:443", `--address: "192.0.2.1:443" is neither an IP address nor a DNS name`},
		{"cluster add hades --server 192.0.2.1", `--server: "192.0.2.1" is not a URL that begins with https://; write it as https://192.168.1.20:6443`},
		{"cluster add hades --timeout 0", "--timeout: 0s is not a positive duration, such as 2m"},
		{"cluster isolate", "NAME is missing"},
		{"cluster isolate hades -o yaml", "--output: requires --dry-run"},
		{"cluster isolate hades --dry-run=server", `--dry-run: "server" is none of member, edge, all`},
		{"cluster isolate hades --options-name default", `--options-name: "default"`},
		{"cluster isolate hades --options-name a--b", "two hyphens in a row"},
		{"cluster isolate hades --options-namespace A", `--options-namespace: "A" is not a valid name`},
		{"cluster isolate hades -n traefik", "unknown flag -n of usher cluster isolate; usher cluster isolate --help lists its flags"},
		{"cluster list hades", `unexpected argument "hades"`},
		{"cluster list -o jsno", `--output: "jsno" is none of json, yaml, name, wide, jsonpath=, go-template=. Did you mean "json"?`},
		{"cluster list -o jsonpath=", `--output: "jsonpath=" has no template`},
		{"cluster list -o jsonpath={.items", "--output: "},
		{"cluster list -o go-template={{", "--output: "},
		{"cluster remove", "NAME is missing"},
		{"cluster remove hades --dry-run", "unknown flag --dry-run of usher cluster remove"},
		{"cluster purge", `unknown command "purge" of usher cluster. It has: add, drain, isolate, list, remove`},
	})
}

func TestQuestionsNeedAYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, "n\n": false, "\n": false, "": false, "yes, but\n": false} {
		o, cmd := clusterOptions{}, rootCommand()
		var out bytes.Buffer
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetErr(&out)
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
