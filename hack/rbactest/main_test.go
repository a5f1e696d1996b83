// Package rbactest tests that the chart's roles are enough for usher, and that no rule of them is
// needless: the rendered pods' command lines run under the rendered ServiceAccounts' tokens
// against a real API server, which refuses what the roles do not grant. It needs no node, and must
// not import usher's own packages.
package rbactest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jovalle/usher/hack/testbed"
)

// bed has one cluster: the edge, which is a member too.
var bed *testbed.Bed

// program is usher.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "usher-rbactest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "usher")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", program, "../../cmd/usher").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building usher: %v\n%s", err, out)
		return 1
	}
	return testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge"}})
}
