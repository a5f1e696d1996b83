package testbed

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/hack/testbed/servers"
)

const (
	traefikGroup    = "traefik.io"
	oldTraefikGroup = "traefik.containo.us" // Traefik 2 before 2.10; Traefik 2.10 and later 2.x serve both

	gatewayGroup             = "gateway.networking.k8s.io"
	experimentalGatewayGroup = "gateway.networking.x-k8s.io"
)

// InstallTraefikCRDs installs the CRDs of Traefik's release, group traefik.io.
func (c *Cluster) InstallTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, "as released", func(*unstructured.Unstructured) error { return nil })
}

// InstallOldTraefikCRDs installs the same CRDs in Traefik's old group, traefik.containo.us, which
// Traefik 3 does not serve.
func (c *Cluster) InstallOldTraefikCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, "old group", func(definition *unstructured.Unstructured) error {
		plural := strings.TrimSuffix(definition.GetName(), "."+traefikGroup)
		definition.SetName(plural + "." + oldTraefikGroup)
		return unstructured.SetNestedField(definition.Object, oldTraefikGroup, "spec", "group")
	})
}

// InstallTraefik2CRDs installs the CRDs of group traefik.io without the field syntax of a route,
// which Traefik 2 does not have.
func (c *Cluster) InstallTraefik2CRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.TraefikCRDs, "without syntax", func(definition *unstructured.Unstructured) error {
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
	return c.installCRDs(ctx, servers.GatewayCRDs, "as released", func(*unstructured.Unstructured) error { return nil })
}

// InstallGatewayCRDsWithTLSRoute installs the same CRDs, and serves TLSRoute in the given versions
// only. The experimental channel of the Gateway API has v1alpha2 and v1alpha3.
func (c *Cluster) InstallGatewayCRDsWithTLSRoute(ctx context.Context, served ...string) error {
	return c.installCRDs(ctx, servers.GatewayCRDs, "TLSRoute "+strings.Join(served, ","), func(definition *unstructured.Unstructured) error {
		if definition.GetName() != "tlsroutes."+gatewayGroup {
			return nil
		}
		versions, _, err := unstructured.NestedSlice(definition.Object, "spec", "versions")
		if err != nil {
			return err
		}
		for _, version := range versions {
			fields := version.(map[string]any)
			fields["served"] = slices.Contains(served, fields["name"].(string))
		}
		return unstructured.SetNestedSlice(definition.Object, versions, "spec", "versions")
	})
}

// InstallXListenerSetCRD installs the CRD XListenerSet, which the experimental channel of the Gateway
// API had before ListenerSet, with the schema of ListenerSet.
func (c *Cluster) InstallXListenerSetCRD(ctx context.Context) error {
	return c.installSomeCRDs(ctx, servers.GatewayCRDs, "XListenerSet", func(definition *unstructured.Unstructured) (bool, error) {
		if definition.GetName() != "listenersets."+gatewayGroup {
			return false, nil
		}
		definition.SetName("xlistenersets." + experimentalGatewayGroup)
		spec := definition.Object["spec"].(map[string]any)
		spec["group"] = experimentalGatewayGroup
		spec["names"] = map[string]any{"kind": "XListenerSet", "listKind": "XListenerSetList", "plural": "xlistenersets", "singular": "xlistenerset"}
		version := spec["versions"].([]any)[0].(map[string]any)
		version["name"] = "v1alpha1"
		return true, nil
	})
}

// InstallPrometheusCRDs installs the Prometheus Operator's CRDs ServiceMonitor and PrometheusRule.
func (c *Cluster) InstallPrometheusCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.PrometheusCRDs, "as released", func(*unstructured.Unstructured) error { return nil })
}

// installCRDs applies the objects of one of the test bed's files, after calling change for each.
// Variant names the change.
func (c *Cluster) installCRDs(ctx context.Context, file, variant string, change func(*unstructured.Unstructured) error) error {
	return c.installSomeCRDs(ctx, file, variant, func(definition *unstructured.Unstructured) (bool, error) { return true, change(definition) })
}

// installSomeCRDs applies those objects for which change returns true.
func (c *Cluster) installSomeCRDs(ctx context.Context, file, variant string, change func(*unstructured.Unstructured) (bool, error)) error {
	return c.once(ctx, file+" "+variant, func() ([]*unstructured.Unstructured, error) {
		path, err := servers.Locate(file)
		if err != nil {
			return nil, err
		}
		manifests, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		objects, err := decode(manifests)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		var changed []*unstructured.Unstructured
		for _, object := range objects {
			wanted, err := change(object)
			if err != nil {
				return nil, fmt.Errorf("%s: changing %s: %w", path, object.GetName(), err)
			}
			if wanted {
				changed = append(changed, object)
			}
		}
		return changed, c.applyAll(ctx, changed)
	})
}

// InstallExternalDNSCRDs installs external-dns's DNSEndpoint.
func (c *Cluster) InstallExternalDNSCRDs(ctx context.Context) error {
	return c.installCRDs(ctx, servers.ExternalDNSCRDs, "as released", func(*unstructured.Unstructured) error { return nil })
}
