// Package traefik holds usher's reading of ingress objects against the real
// Traefik: of generated rules, which hosts does Traefik serve by each, and which
// would usher publish? A host that usher publishes and the rule does not serve is
// a mistake; so is one that it serves and usher does not find.
//
// It has tests only. It may import controllers/source and hack/testbed, and
// nothing else of usher.
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
