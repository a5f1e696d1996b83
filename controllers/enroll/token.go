package enroll

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// tokenTimeout bounds the wait for a member's control plane to issue a token.
	tokenTimeout  = 30 * time.Second
	tokenInterval = 200 * time.Millisecond
	// undoTimeout bounds the deletion of the Secret after a failure.
	undoTimeout = 10 * time.Second
)

// issueToken creates a Secret in the member, and returns it when the member's control plane has
// added a token of the account. If it adds none in time, issueToken deletes the Secret.
func (c *Cluster) issueToken(ctx context.Context, id identity) (*corev1.Secret, error) {
	secret := tokenSecret(id)
	if err := c.client.Create(ctx, secret); err != nil {
		return nil, c.failed("create the token's Secret in namespace "+secret.Namespace, err)
	}
	err := wait.PollUntilContextTimeout(ctx, tokenInterval, tokenTimeout, true, func(ctx context.Context) (bool, error) {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
			return false, err
		}
		return len(secret.Data[corev1.ServiceAccountTokenKey]) > 0, nil
	})
	if err == nil {
		return secret, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	_ = c.client.Delete(undo, secret) // the first failure is the one to report
	if wait.Interrupted(err) {
		err = fmt.Errorf("its control plane has added no token to Secret %s/%s: does its kube-controller-manager run? %w", secret.Namespace, secret.Name, err)
	}
	return nil, c.failed("wait for a token", err)
}

// tokens lists the Secrets of issueToken for a member.
func (c *Cluster) tokens(ctx context.Context, id identity) ([]corev1.Secret, error) {
	var list corev1.SecretList
	if err := c.client.List(ctx, &list, client.InNamespace(readerName), client.MatchingLabels(id.memberLabels())); err != nil {
		return nil, c.failed("list the tokens' Secrets in namespace "+readerName, err)
	}
	return list.Items, nil
}

// revoke deletes the Secrets of tokens. The API server refuses the tokens within seconds.
func (c *Cluster) revoke(ctx context.Context, tokens []corev1.Secret) error {
	for i := range tokens {
		if err := c.client.Delete(ctx, &tokens[i]); client.IgnoreNotFound(err) != nil {
			return c.failed("delete the token's Secret "+tokens[i].Name, err)
		}
	}
	return nil
}
