package enroll

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Add makes a cluster a member, or rotates the token of an existing member: the new token is in
// use before the old one is revoked. It returns when usher has read the member with the new
// token. If one of its objects exists already and belongs to somebody else, it returns an error
// that wraps ErrConflict and writes nothing. After any other error the objects that it wrote stay,
// and a second call continues.
func Add(ctx context.Context, edge, member *Cluster, o Options) error {
	e, err := survey(ctx, edge, member, o)
	if err == nil {
		err = o.bound(ctx, e.addMember)
	}
	switch {
	case err != nil:
		return err
	case o.Isolate:
		return Isolate(ctx, edge, member, o)
	}
	o.report("next: kubectl --context %s annotate ingressroute NAME %s=true", member.context, v1alpha1.AnnotationExpose)
	return nil
}

// addMember creates the objects in both clusters, and waits until usher has read the member.
func (e *enrolment) addMember(ctx context.Context) error {
	if err := e.prepare(ctx); err != nil {
		return err
	}
	if isLoopback(e.server) {
		e.report("warning: %s", e.loopbackAdvice())
	}
	kubeconfig, replaced, err := e.writeAll(ctx)
	if err != nil {
		return err
	}
	if err := e.awaitReady(ctx, kubeconfig); err != nil {
		return fmt.Errorf("%w\nthe created objects stay: run the same command again, or usher cluster remove %s", err, e.Name)
	}
	return e.cleanUp(ctx, replaced)
}

// Plan returns the manifests that Add would write to each cluster, except for the Secrets with the
// token, so that they can be kept in a repository. It writes nothing.
func Plan(ctx context.Context, edge, member *Cluster, o Options) (inMember, atEdge []*unstructured.Unstructured, err error) {
	e, err := survey(ctx, edge, member, o)
	if err != nil {
		return nil, nil, err
	}
	err = o.bound(ctx, func(ctx context.Context) (err error) {
		inMember, atEdge, err = e.plan(ctx)
		return err
	})
	return inMember, atEdge, err
}

// plan returns the manifests in each cluster.
func (e *enrolment) plan(ctx context.Context) (inMember, atEdge []*unstructured.Unstructured, err error) {
	if err := e.prepare(ctx); err != nil {
		return nil, nil, err
	}
	if !e.Isolate {
		return e.reader, []*unstructured.Unstructured{e.cluster}, nil
	}
	mc, err := clusterOf(e.cluster)
	if err != nil {
		return nil, nil, err
	}
	i, err := newIsolation(ctx, e.edge, e.member, e.Options, e.id, mc)
	if err != nil {
		return nil, nil, err
	}
	i.reportEdits()
	return append(e.reader, i.manifests()...), []*unstructured.Unstructured{i.isolatedCluster()}, nil
}

// writeAll writes all objects, first in the member and then in the edge cluster. It returns the
// new kubeconfig and the tokens that must be revoked when usher uses it.
func (e *enrolment) writeAll(ctx context.Context) (kubeconfig []byte, replaced []corev1.Secret, err error) {
	for _, want := range e.reader {
		if err := e.write(ctx, e.member, want); err != nil {
			return nil, nil, err
		}
	}
	if replaced, err = e.member.tokens(ctx, e.id); err != nil {
		return nil, nil, err
	}
	token, err := e.member.issueToken(ctx, e.id)
	if err != nil {
		return nil, nil, err
	}
	e.report("Secret %s/%s created in context %s: the token of the account", token.Namespace, token.Name, e.member.context)
	if kubeconfig, err = storedKubeconfig(e.Name, e.server, e.member.config, token); err != nil {
		return nil, nil, err
	}
	for _, want := range []*unstructured.Unstructured{kubeconfigSecret(e.id, e.Namespace, kubeconfig), e.cluster} {
		if err := e.write(ctx, e.edge, want); err != nil {
			return nil, nil, err
		}
	}
	return kubeconfig, replaced, nil
}

// write writes one object, and reports it.
func (e *enrolment) write(ctx context.Context, c *Cluster, want *unstructured.Unstructured) error {
	result, err := c.write(ctx, want)
	if err == nil {
		e.report("%s %s in context %s", describe(want), result, c.context)
	}
	return err
}

// cleanUp revokes the tokens that were replaced, and deletes roles for a Service that usher no
// longer follows.
func (e *enrolment) cleanUp(ctx context.Context, replaced []corev1.Secret) error {
	if err := e.member.revoke(ctx, replaced); err != nil {
		return err
	}
	if len(replaced) > 0 {
		e.report("the old token is revoked")
	}
	roles, err := e.member.owned(ctx, e.id, &rbacv1.RoleBindingList{}, &rbacv1.RoleList{})
	if err != nil {
		return err
	}
	for _, o := range roles {
		if o.GetNamespace() == e.service.Namespace {
			continue
		}
		if err := e.member.delete(ctx, o); err != nil {
			return err
		}
		e.report("%s deleted in context %s", describe(o), e.member.context)
	}
	return nil
}
