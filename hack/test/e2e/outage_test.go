package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

const (
	// outage is long enough for client-go's backoff to reach its maximum.
	outage  = time.Minute
	changed = 20 // hosts of each kind of change
	// convergedWithin is how long usher may take to apply all changes after the outage.
	convergedWithin = 20 * time.Second
)

// The edge cluster's API server is unreachable for a long time, and many objects change
// meanwhile. Traffic is not interrupted, and afterwards usher applies all changes without
// a restart.
func TestChangesAreAppliedAfterALongOutageOfTheEdge(t *testing.T) {
	app, err := env.Hades.StartApp(t.Context(), "default", "outage")
	testkit.Must(t, err)
	expose := func(sort, value string) {
		t.Helper()
		var manifests strings.Builder
		for i := range changed {
			fmt.Fprintf(&manifests, `---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: %[1]s%[2]d, namespace: default, annotations: {usher.techn.is/expose: %[3]q}}
spec:
  entryPoints: [websecure]
  routes: [{match: "Host(`+"`%[1]s%[2]d.techn.is`"+`)", kind: Rule, services: [{name: %[4]s, port: %[5]d}]}]
`, sort, i, value, app.Service, app.Port)
		}
		testkit.Must(t, env.Hades.Apply(t.Context(), manifests.String()))
	}
	expose("ebb", "true")
	expose("flow", "false")
	for i := range changed {
		answered(t, fmt.Sprintf("ebb%d.techn.is", i), "hades")
	}

	env.Edge.Stop()
	began := time.Now()
	expose("ebb", "false")
	expose("flow", "true")
	for time.Since(began) < outage {
		if _, err := getHTTPS(t.Context(), "ebb0.techn.is"); err != nil {
			t.Fatalf("after %v of the outage: %v", time.Since(began), err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	testkit.Must(t, env.Edge.Start(context.Background()))
	returned := time.Now()
	for i := range changed {
		answered(t, fmt.Sprintf("flow%d.techn.is", i), "hades")
		unanswered(t, fmt.Sprintf("ebb%d.techn.is", i))
	}
	took := time.Since(returned)
	t.Logf("%d changes caught up %v after the return", 2*changed, took)
	if took > convergedWithin {
		t.Errorf("caught up only after %v", took)
	}
}
