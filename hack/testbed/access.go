package testbed

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
)

// Refuses returns nil if the API server refuses a request of a user, and an error while it
// allows it. The API server watches roles and bindings: it knows of a change a moment later.
func (c *Cluster) Refuses(ctx context.Context, user string, request authorizationv1.ResourceAttributes) error {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &request}}
	if err := c.client.Create(ctx, review); err != nil {
		return fmt.Errorf("asking cluster %s for the permissions of %s: %w", c.name, user, err)
	}
	if review.Status.Allowed {
		return fmt.Errorf("cluster %s allows it to %s: %s", c.name, user, review.Status.Reason)
	}
	return nil
}
