package testenv

import (
	"context"
	"fmt"
	"strings"

	"github.com/jovalle/usher/hack/testbed"
)

// Publish starts an app in a member and routes a host to it by an IngressRoute with
// the app's name and the given annotations. It returns when the member's Traefik
// serves the host.
func (m *Member) Publish(ctx context.Context, app, host string, annotations ...string) error {
	a, err := m.StartApp(ctx, "default", app)
	if err != nil {
		return err
	}
	return m.Route(ctx, a, host, annotations...)
}

// Route writes the IngressRoute of an app.
func (m *Member) Route(ctx context.Context, a *testbed.App, host string, annotations ...string) error {
	err := m.Apply(ctx, fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: %q, namespace: %q, annotations: {%s}}
spec:
  entryPoints: [websecure, web]
  routes:
  - {match: "Host(`+"`%s`"+`)", kind: Rule, services: [{name: %q, port: %d}]}
`, a.Service, a.Namespace, strings.Join(annotations, ", "), host, a.Service, a.Port))
	if err != nil {
		return err
	}
	return m.Traefik.AwaitHost(ctx, host)
}
