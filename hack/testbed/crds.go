package testbed

import (
	"context"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/hack/testbed/servers"
)

const (
	traefikGroup    = "traefik.io"
	oldTraefikGroup = "traefik.containo.us" // Traefik 2 before 2.10, and beside the new one until 3.0
)

// InstallTraefikCRDs installs the definitions of Traefik's kinds, group traefik.io, as its
// release has them.
func (c *Cluster) InstallTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, func(*unstructured.Unstructured) error { return nil })
}

// InstallOldTraefikCRDs installs the same kinds in Traefik's former group, traefik.containo.us,
// which no Traefik of today serves.
func (c *Cluster) InstallOldTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, func(definition *unstructured.Unstructured) error {
		plural := strings.TrimSuffix(definition.GetName(), "."+traefikGroup)
		definition.SetName(plural + "." + oldTraefikGroup)
		return unstructured.SetNestedField(definition.Object, oldTraefikGroup, "spec", "group")
	})
}

// InstallGatewayCRDs installs the definitions of the Gateway API's standard channel.
func (c *Cluster) InstallGatewayCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.GatewayCRDs, func(*unstructured.Unstructured) error { return nil })
}

// InstallPrometheusCRDs installs the Prometheus Operator's definitions of ServiceMonitor and
// PrometheusRule.
func (c *Cluster) InstallPrometheusCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.PrometheusCRDs, func(*unstructured.Unstructured) error { return nil })
}

// installCRDs applies what is in one of the test bed's files, after a change to each object.
func (c *Cluster) installCRDs(ctx context.Context, file string, change func(*unstructured.Unstructured) error) error {
	path, err := servers.Locate(file)
	if err != nil {
		return err
	}
	manifests, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	objects, err := decode(manifests)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, object := range objects {
		if err := change(object); err != nil {
			return fmt.Errorf("%s: changing %s: %w", path, object.GetName(), err)
		}
	}
	return c.applyAll(ctx, objects)
}
