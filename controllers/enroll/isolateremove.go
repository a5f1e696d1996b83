package enroll

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// wasIsolated reports whether the member's MemberCluster has spec.isolation.
func (r *removal) wasIsolated() bool {
	for _, o := range r.atEdge {
		if _, found, _ := unstructured.NestedMap(o.Object, "spec", "isolation"); found {
			return true
		}
	}
	return false
}

// releaseOptions takes usher's labels from the TLSOptions that a route still has, so that
// they stay: Traefik closes the connections of a route whose TLSOption is missing.
func (r *removal) releaseOptions(ctx context.Context) error {
	options, err := r.member.owned(ctx, r.id, listOf(tlsOptionKind))
	if err != nil {
		return err
	}
	for _, o := range options {
		users, err := r.usersOf(ctx, o)
		if err != nil {
			return err
		}
		if len(users) == 0 {
			continue
		}
		released := blank(o.(*unstructured.Unstructured))
		if err := r.member.client.Patch(ctx, released, client.RawPatch(types.MergePatchType, releasePatch())); client.IgnoreNotFound(err) != nil {
			return r.member.failed("release "+describe(o), err)
		}
		r.report("%s stays in context %s, without usher's labels, since %s refers to it: Traefik closes the connections of a route whose TLSOption is missing", describe(o), r.member.context, strings.Join(users, ", "))
	}
	return nil
}

// usersOf returns the routes that refer to a TLSOption.
func (r *removal) usersOf(ctx context.Context, option client.Object) ([]string, error) {
	ref := v1alpha1.TLSOptionsRef{Namespace: option.GetNamespace(), Name: option.GetName()}
	routes, err := r.member.routes(ctx, source.Context{Cluster: r.Name, Isolation: &v1alpha1.Isolation{TLSOptions: ref}})
	var users []string
	for _, route := range routes {
		if route.mark.Options == optionsID(client.ObjectKeyFromObject(option)) && route.fixed == "" {
			users = append(users, route.String())
		}
	}
	return users, err
}

// releasePatch removes usher's labels.
func releasePatch() []byte {
	return encode(map[string]any{"metadata": map[string]any{"labels": map[string]any{labelManagedBy: nil, labelCluster: nil, labelEdge: nil}}})
}
