package enroll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// ErrUnknown marks a member that does not exist, neither at the edge nor in the cluster
// that was looked at.
var ErrUnknown = errors.New("nothing was made for this member")

// Remove takes back all that Add made: the MemberCluster, with which usher withdraws the
// member's hosts, the Secret at the edge, and the account in the member. Member is nil where it
// cannot be reached, which Options.Force must allow. It returns when all is gone.
func Remove(ctx context.Context, edge, member *Cluster, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	r := &removal{Options: o, edge: edge, member: member}
	if err := r.look(ctx); err != nil {
		return err
	}
	for _, object := range r.atEdge {
		if err := r.delete(ctx, edge, object); err != nil {
			return err
		}
	}
	if err := r.removeFromMember(ctx); err != nil {
		return err
	}
	return r.awaitGone(ctx)
}

// A removal is what is to be taken back.
type removal struct {
	Options
	edge, member *Cluster // member is nil where it cannot be reached
	id           identity
	atEdge       []client.Object // in the order in which it goes
}

// look finds out what there is to remove, and what is in the way, before anything is removed.
func (r *removal) look(ctx context.Context) (err error) {
	if r.id, err = identify(ctx, r.edge, r.Name); err != nil {
		return err
	}
	if r.atEdge, err = r.lookAtEdge(ctx); err != nil {
		return err
	}
	inMember, err := r.lookIntoMember(ctx)
	switch {
	case err != nil:
		return err
	case inMember:
		return nil
	case len(r.atEdge) == 0:
		return fmt.Errorf("%s: %w", r.Name, ErrUnknown)
	case r.Force:
		return nil
	}
	return r.member.failed("remove "+r.Name, errors.New("this cluster holds nothing of the member; name the member's context with --context, or remove what is at the edge alone with --force"))
}

// lookAtEdge finds the member's objects at the edge.
func (r *removal) lookAtEdge(ctx context.Context) ([]client.Object, error) {
	var found []client.Object
	for _, want := range []*unstructured.Unstructured{memberCluster(r.id, v1alpha1.MemberClusterSpec{}), kubeconfigSecret(r.id, r.Namespace, nil)} {
		have := blank(want)
		err := r.edge.client.Get(ctx, client.ObjectKeyFromObject(want), have)
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return nil, r.edge.failed("read "+describe(want), err)
		}
		if err := checkOwner(have, r.id.edgeLabels(), r.edge.context); err != nil {
			return nil, err
		}
		found = append(found, have)
	}
	return found, nil
}

// lookIntoMember reports whether there is something to remove in the member; one that does not
// answer is let go where the options allow it.
func (r *removal) lookIntoMember(ctx context.Context) (bool, error) {
	if r.member == nil {
		return false, nil
	}
	reach, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	owned, err := r.member.owned(reach, r.id)
	switch {
	case err == nil:
		return len(owned) > 0, nil
	case r.Force:
		r.say("the member is left as it is: %v", err)
		r.member = nil
		return false, nil
	}
	return false, fmt.Errorf("%w; to remove what is at the edge alone, add --force", err)
}

// removeFromMember ends the account first, and then removes the rest.
func (r *removal) removeFromMember(ctx context.Context) error {
	if r.member == nil {
		r.say("the member still has usher's account; once it can be reached: %s", takeBackCommand("CONTEXT", r.id.edge))
		return nil
	}
	tokens, err := r.member.tokens(ctx, r.id)
	if err != nil {
		return err
	}
	if err := r.member.revoke(ctx, tokens); err != nil {
		return err
	}
	owned, err := r.member.owned(ctx, r.id)
	if err != nil {
		return err
	}
	for _, object := range owned {
		if err := r.delete(ctx, r.member, object); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes an object that was looked at, not another that took its place, and says so.
func (r *removal) delete(ctx context.Context, c *Cluster, o client.Object) error {
	err := c.delete(ctx, o)
	if err == nil {
		r.say("%s deleted in context %s", describe(o), c.context)
	}
	return err
}

// awaitGone waits until usher has withdrawn the member's hosts, and the member's control plane
// has emptied the account's namespace.
func (r *removal) awaitGone(ctx context.Context) error {
	for _, what := range []func(context.Context) (string, error){r.published, r.lingering} {
		var left string
		err := wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
			now, err := what(ctx)
			if err == nil {
				left = now
			}
			return err == nil && now == "", client.IgnoreNotFound(err)
		})
		if err != nil {
			return fmt.Errorf("%s is removed, but not all is gone after %v: %s: %w", r.Name, r.Timeout, left, err)
		}
	}
	r.say("%s is removed", r.Name)
	return nil
}

// published says which hosts of the member usher still publishes.
func (r *removal) published(ctx context.Context) (string, error) {
	var list v1alpha1.ExposedHostList
	err := r.edge.client.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelManaged: "true"})
	if err != nil && !meta.IsNoMatchError(err) {
		return "", r.edge.failed("list ExposedHosts", err)
	}
	var hosts []string
	for i := range list.Items {
		if slices.ContainsFunc(list.Items[i].Spec.Backends, func(b v1alpha1.HostBackend) bool { return b.Cluster == r.Name }) {
			hosts = append(hosts, list.Items[i].Spec.Host)
		}
	}
	if len(hosts) == 0 {
		return "", nil
	}
	return fmt.Sprintf("usher still publishes %s; does it run at the edge?", strings.Join(hosts, ", ")), nil
}

// lingering says what of the account's namespace is left.
func (r *removal) lingering(ctx context.Context) (string, error) {
	if r.member == nil {
		return "", nil
	}
	owned, err := r.member.owned(ctx, r.id)
	if err != nil || len(owned) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s is still being deleted in context %s", describe(owned[0]), r.member.context), nil
}
