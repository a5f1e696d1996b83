// Package chart tests what the chart and config/ render, without a node: that usher serves in
// each mode, that its roles are enough and no rule of them is needless, that values are refused
// which make no sense, and that the Prometheus Operator takes what is meant for it.
//
// The rendered pods' command lines run with their environment and volumes under the rendered
// ServiceAccounts' tokens, against a real API server, which refuses what the roles do not grant. So
// all of that is tested too where hack/test/node has to be skipped. It must not import usher's own
// packages.
package chart

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

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
	dir, err := os.MkdirTemp("", "usher-chart-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "usher")
	if out, err := exec.CommandContext(context.Background(), "go", "build", "-o", program, "../../../cmd/usher").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building usher: %v\n%s", err, out)
		return 1
	}
	return testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge"}})
}

// patience is how long something may take that takes seconds on an idle machine.
const patience = time.Minute

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
