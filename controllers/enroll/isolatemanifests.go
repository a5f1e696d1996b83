package enroll

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/jovalle/usher/controllers/source/traefik"
)

// catchAllName is the name of the IngressRoute for hosts that no other route names.
const catchAllName = "usher-catch-all"

// annotationClass is the ingress class of an IngressRoute, before Traefik 3.7.
const annotationClass = "kubernetes.io/ingress.class"

var (
	tlsOptionKind    = traefik.GroupVersion.WithKind("TLSOption")
	ingressRouteKind = traefik.GroupVersion.WithKind("IngressRoute")
)

// manifests are the TLSOptions and the catch-all route.
func (i *isolation) manifests() []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, key := range i.tlsOptions() {
		all = append(all, tlsOption(i.id, key))
	}
	return append(all, i.catchAll())
}

// tlsOptions names the TLSOptions that the member needs: the one of spec.isolation and
// those of published routes.
func (i *isolation) tlsOptions() []types.NamespacedName {
	keys := []types.NamespacedName{types.NamespacedName(i.want.TLSOptions)}
	for _, g := range i.hostGroups {
		if len(g.edits) > 0 && !slices.Contains(keys, g.want) {
			keys = append(keys, g.want)
		}
	}
	slices.SortFunc(keys[1:], func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
	return keys
}

// tlsOption is a TLSOption without content: Traefik compares only names.
func tlsOption(id identity, key types.NamespacedName) *unstructured.Unstructured {
	return traefikObject(id, tlsOptionKind, key, map[string]any{})
}

// catchAll is the route for hosts that no other route names, with Traefik's default TLS
// options. A request for such a host on a connection with the TLS options of a published
// one gets 421 by it, and a browser then opens a connection for the host itself; without
// it the answer is 404.
func (i *isolation) catchAll() *unstructured.Unstructured {
	names := i.entryPoints
	if len(names) == 0 {
		names = []string{portHTTPS}
	}
	var entryPoints []any
	for _, name := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(names, i.want.EntryPoints)))) {
		entryPoints = append(entryPoints, name)
	}
	u := traefikObject(i.id, ingressRouteKind, types.NamespacedName{Namespace: i.want.TLSOptions.Namespace, Name: catchAllName}, map[string]any{
		"entryPoints": entryPoints,
		"routes": []any{map[string]any{
			"kind":     "Rule",
			"match":    "PathPrefix(`/`)",
			"priority": int64(1),
			"services": []any{map[string]any{"kind": "TraefikService", "name": "noop@internal"}},
		}},
		"tls": map[string]any{},
	})
	if class := i.class(); class != "" {
		u.SetAnnotations(map[string]string{annotationClass: class})
	}
	return u
}

// class is the ingress class of Traefik, or if that is not known, of the annotated
// IngressRoutes; "" if they have none, or several. A Traefik that serves one class does
// not see a route without it.
func (i *isolation) class() string {
	if providers := i.cluster.Spec.Ingress.Providers; providers != nil && providers.KubernetesCRD != nil {
		return providers.KubernetesCRD.IngressClass
	}
	var classes []string
	for _, g := range i.hostGroups {
		for _, r := range g.routes {
			if t := ingressRoute(r.object); t != nil && r.annotated {
				classes = append(classes, cmp.Or(ptr.Deref(t.Spec.IngressClassName, ""), t.Annotations[annotationClass]))
			}
		}
	}
	slices.Sort(classes)
	if classes = slices.Compact(classes); len(classes) == 1 {
		return classes[0]
	}
	return ""
}

func traefikObject(id identity, kind schema.GroupVersionKind, key types.NamespacedName, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(kind)
	u.SetNamespace(key.Namespace)
	u.SetName(key.Name)
	u.SetLabels(id.memberLabels())
	return u
}
