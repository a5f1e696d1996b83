package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	createWorkers = 16 // objects made at once
	exposeKey     = "usher.techn.is/expose"
	timed         = "timed" // the IngressRoute that is annotated repeatedly
)

// createMember creates the member, with an ingress that answers every host.
func (b *bench) createMember(ctx context.Context) error {
	ingress, err := serveEveryHost(ctx)
	if err != nil {
		return err
	}
	kubeconfig, err := b.hades.Kubeconfig()
	if err != nil {
		return err
	}
	if err := b.edge.ApplyFiles(ctx, "config/crd/*.yaml"); err != nil {
		return err
	}
	if err := b.hades.InstallTraefikCRDs(ctx); err != nil {
		return err
	}
	return b.edge.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: usher-system}
---
apiVersion: v1
kind: Secret
metadata: {name: hades-kubeconfig, namespace: usher-system}
stringData: {kubeconfig: %q}
---
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: hades}
spec:
  kubeconfig: {secretName: hades-kubeconfig}
  ingress: {addresses: [%q], httpsPort: %d}
`, kubeconfig, ingress.Addr(), ingress.Port()))
}

// hostOf names the i-th exposed host.
func hostOf(i int) string { return fmt.Sprintf("host%05d.techn.is", i) }

// expose creates annotated IngressRoutes until there are n of them, and one without an
// annotation whose changes are timed.
func (b *bench) expose(ctx context.Context, n int) error {
	member := b.hades.Client()
	if err := client.IgnoreAlreadyExists(member.Create(ctx, ingressRoute(timed, timed+".techn.is", nil))); err != nil {
		return err
	}
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(createWorkers)
	for ; b.hosts < n; b.hosts++ {
		route := ingressRoute(fmt.Sprintf("route%05d", b.hosts), hostOf(b.hosts), map[string]string{exposeKey: "true"})
		workers.Go(func() error { return member.Create(ctx, route) })
	}
	return workers.Wait()
}

// ingressRoute returns an IngressRoute of realistic size.
func ingressRoute(name, host string, annotations map[string]string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"spec": map[string]any{
			"entryPoints": []any{"websecure"},
			"routes": []any{map[string]any{
				"match":    "Host(`" + host + "`) && PathPrefix(`/`)",
				"kind":     "Rule",
				"services": []any{map[string]any{"name": "app", "port": int64(80)}},
			}},
			"tls": map[string]any{"secretName": "wildcard-techn-is"},
		},
	}}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "traefik.io", Version: "v1alpha1", Kind: "IngressRoute"})
	o.SetNamespace("default")
	o.SetName(name)
	o.SetAnnotations(annotations)
	return o
}

// annotate adds the annotation to the timed IngressRoute, or removes it.
func annotate(ctx context.Context, member client.Client, exposed bool) error {
	value := "null"
	if exposed {
		value = `"true"`
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, exposeKey, value)
	return member.Patch(ctx, ingressRoute(timed, timed+".techn.is", nil), client.RawPatch(types.MergePatchType, []byte(patch)))
}
