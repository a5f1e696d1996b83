// Package traefik compares usher's interpretation of ingress objects with the real
// Traefik. For each generated rule it compares the hosts that Traefik serves with those
// that usher would publish. It is a bug if usher publishes a host that the rule does not
// serve, or misses one that it serves.
//
// It has only tests. Of usher it may import controllers/source and hack/testbed only.
package traefik

import (
	"os"
	"testing"

	"github.com/jovalle/usher/hack/testbed"
)

// bed has one cluster, with a Traefik.
var bed *testbed.Bed

func TestMain(m *testing.M) {
	os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"hades"}}))
}
