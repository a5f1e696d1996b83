package enroll

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Add makes a member, or rotates the token of one that there is: the new token is in use before
// the old one is revoked. It returns when usher has read the member with the new token. What
// another has made in the place of one of its objects is an error that wraps ErrClash, before
// anything is written. After any other error what was made stays, and a second call goes on.
func Add(ctx context.Context, edge, member *Cluster, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	e, err := prepare(ctx, edge, member, o)
	if err != nil {
		return err
	}
	if isLoopback(e.server) {
		o.say("warning: %s", e.loopbackAdvice())
	}
	kubeconfig, replaced, err := e.enrol(ctx)
	if err != nil {
		return err
	}
	if err := e.awaitReady(ctx, kubeconfig); err != nil {
		return fmt.Errorf("%w\nwhat was made stays: run the same command again, or usher cluster remove %s", err, o.Name)
	}
	if err := e.tidy(ctx, replaced); err != nil {
		return err
	}
	o.say("next: kubectl --context %s annotate ingressroute NAME %s=true", member.context, v1alpha1.AnnotationExpose)
	return nil
}

// Plan returns what Add would write in each cluster and a person may keep in a repository
// instead: all but the token, and the Secret that holds it. It writes nothing.
func Plan(ctx context.Context, edge, member *Cluster, o Options) (inMember, atEdge []*unstructured.Unstructured, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	e, err := prepare(ctx, edge, member, o)
	if err != nil {
		return nil, nil, err
	}
	return e.reader, []*unstructured.Unstructured{e.cluster}, nil
}

// enrol writes, in the member and then at the edge, and returns the kubeconfig that it has
// written, and the tokens that the new one replaces.
func (e *enrolment) enrol(ctx context.Context) (kubeconfig []byte, replaced []corev1.Secret, err error) {
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
	e.say("Secret %s/%s created in context %s: the account's token", token.Namespace, token.Name, e.member.context)
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

// write writes one object, and says so.
func (e *enrolment) write(ctx context.Context, c *Cluster, want *unstructured.Unstructured) error {
	result, err := c.write(ctx, want)
	if err == nil {
		e.say("%s %s in context %s", describe(want), result, c.context)
	}
	return err
}

// tidy revokes the tokens that were replaced, and deletes roles for a Service that is no longer
// followed.
func (e *enrolment) tidy(ctx context.Context, replaced []corev1.Secret) error {
	if err := e.member.revoke(ctx, replaced); err != nil {
		return err
	}
	if len(replaced) > 0 {
		e.say("the former token is revoked")
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
		e.say("%s deleted in context %s", describe(o), e.member.context)
	}
	return nil
}
