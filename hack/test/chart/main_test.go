// Package chart tests the rendered chart and config/ without a node. It tests that usher serves in
// each mode, that its roles have all necessary permissions and no others, that invalid values are
// refused, and that the Prometheus Operator accepts its objects.
//
// The tests run the command lines of the rendered pods with their environment and volumes and the
// tokens of the rendered ServiceAccounts. They use a real API server, which refuses what the roles do
// not grant. So all of that is tested even if hack/test/node is skipped. The package must not import
// usher's own packages.
package chart

import (
	"fmt"
	"os"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// bed has one cluster: the edge cluster, which is also a member.
var bed *testbed.Bed

// program is the path of usher.
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
