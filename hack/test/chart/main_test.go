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
	"fmt"
	"os"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
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
	if program, err = testkit.BuildUsher(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge"}})
}

// TestSourcesAreRead makes go test run this package again after any change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }
