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
	oldTraefikGroup = "traefik.containo.us" // Traefik 2 before 2.10; Traefik 2.10 and later 2.x serve both
)

// InstallTraefikCRDs installs the CRDs of Traefik's release, group traefik.io.
func (c *Cluster) InstallTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, func(*unstructured.Unstructured) error { return nil })
}

// InstallOldTraefikCRDs installs the same CRDs in Traefik's old group, traefik.containo.us, which
// Traefik 3 does not serve.
func (c *Cluster) InstallOldTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, func(definition *unstructured.Unstructured) error {
		plural := strings.TrimSuffix(definition.GetName(), "."+traefikGroup)
		definition.SetName(plural + "." + oldTraefikGroup)
		return unstructured.SetNestedField(definition.Object, oldTraefikGroup, "spec", "group")
	})
}

// InstallTraefik2CRDs installs the CRDs of group traefik.io without the field syntax of a route,
// which Traefik 2 does not have.
func (c *Cluster) InstallTraefik2CRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, func(definition *unstructured.Unstructured) error {
		versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
		if err != nil {
			return err
		}
		for _, version := range versions {
			unstructured.RemoveNestedField(version.(map[string]any), "schema", "openAPIV3Schema", "properties", "spec",
				"properties", "routes", "items", "properties", "syntax")
		}
		return unstructured.SetNestedSlice(definition.Object, versions, "spec", "versions")
	})
}

// InstallGatewayCRDs installs the CRDs of the Gateway API's standard channel.
func (c *Cluster) InstallGatewayCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.GatewayCRDs, func(*unstructured.Unstructured) error { return nil })
}

// InstallPrometheusCRDs installs the Prometheus Operator's CRDs ServiceMonitor and PrometheusRule.
func (c *Cluster) InstallPrometheusCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.PrometheusCRDs, func(*unstructured.Unstructured) error { return nil })
}

// installCRDs applies the objects of one of the test bed's files, after calling change for each.
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
