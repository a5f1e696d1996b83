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
	"github.com/jovalle/usher/controllers/message"
)

// ErrUnknown marks a member that has no objects, neither in the edge cluster nor in the member.
var ErrUnknown = errors.New("there is nothing of this member")

// unknown returns an error that wraps ErrUnknown, and names the members that there are.
func (c *Cluster) unknown(ctx context.Context, name string) error {
	members, err := c.members(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w (context %s)", name, ErrUnknown, c.context)
	case len(members) == 0:
		return fmt.Errorf("%s: %w (context %s, which has no members); usher cluster add %s makes it one", name, ErrUnknown, c.context, name)
	}
	var names []string
	for i := range members {
		names = append(names, members[i].Name)
	}
	return fmt.Errorf("%s: %w (context %s).%s The members are: %s", name, ErrUnknown, c.context, message.DidYouMean(name, names), strings.Join(names, ", "))
}

// Remove deletes all objects of Add: the MemberCluster, after which usher withdraws the member's
// hosts, the Secret in the edge cluster, and the account in the member. Member may be nil if it
// cannot be reached and Options.Force is set. Remove returns when all objects are deleted.
func Remove(ctx context.Context, edge, member *Cluster, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	r := &removal{Options: o, edge: edge, member: member}
	if err := r.find(ctx); err != nil {
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

// A removal is the state of Remove.
type removal struct {
	Options
	edge, member *Cluster // member is nil if it cannot be reached
	id           identity
	atEdge       []*unstructured.Unstructured // in the order of their deletion
}

// find finds the objects to delete, and returns an error if one belongs to somebody else. It
// deletes nothing.
func (r *removal) find(ctx context.Context) (err error) {
	if r.id, err = identify(ctx, r.edge, r.Name); err != nil {
		return err
	}
	if r.atEdge, err = r.findAtEdge(ctx); err != nil {
		return err
	}
	inMember, err := r.findInMember(ctx)
	switch {
	case err != nil:
		return err
	case inMember:
		return nil
	case len(r.atEdge) == 0:
		return r.edge.unknown(ctx, r.Name)
	case r.Force:
		return nil
	}
	return r.member.failed("remove "+r.Name, errors.New("this cluster has nothing of the member; set the member's context with --context, or delete only the objects in the edge cluster with --force"))
}

// findAtEdge returns the member's objects in the edge cluster.
func (r *removal) findAtEdge(ctx context.Context) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
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

// findInMember reports whether there is something to delete in the member. If the member does not
// answer and the options allow it, findInMember sets r.member to nil.
func (r *removal) findInMember(ctx context.Context) (bool, error) {
	if r.member == nil {
		return false, nil
	}
	connectContext, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	owned, err := r.member.owned(connectContext, r.id)
	switch {
	case err == nil:
		return len(owned) > 0, nil
	case r.Force:
		r.report("the member is not changed: %v", err)
		r.member = nil
		return false, nil
	}
	return false, fmt.Errorf("%w; to delete only the objects in the edge cluster, add --force", err)
}

// removeFromMember first revokes the account's tokens, and then deletes the rest.
func (r *removal) removeFromMember(ctx context.Context) error {
	if r.member == nil {
		r.report("the member still has the account of usher; when it can be reached again, run: %s", deleteCommand("CONTEXT", accountResources, r.id.edge))
		if r.wasIsolated() {
			r.report("and, when no route refers to these TLSOptions: %s", deleteCommand("CONTEXT", traefikResources, r.id.edge))
		}
		return nil
	}
	tokens, err := r.member.tokens(ctx, r.id)
	if err != nil {
		return err
	}
	if err := r.member.revoke(ctx, tokens); err != nil {
		return err
	}
	if err := r.releaseOptions(ctx); err != nil {
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

// delete deletes an object by its UID, and reports it.
func (r *removal) delete(ctx context.Context, c *Cluster, o client.Object) error {
	err := c.delete(ctx, o)
	if err == nil {
		r.report("%s deleted in context %s", describe(o), c.context)
	}
	return err
}

// awaitGone waits until usher has withdrawn the member's hosts, and until the member's control
// plane has deleted the account's namespace.
func (r *removal) awaitGone(ctx context.Context) error {
	for _, remaining := range []func(context.Context) (string, error){r.published, r.undeleted} {
		var left string
		err := wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
			now, err := remaining(ctx)
			if err == nil {
				left = now
			}
			return err == nil && now == "", client.IgnoreNotFound(err)
		})
		if err != nil {
			return fmt.Errorf("%s is removed, but not completely after %v: %s: %w", r.Name, r.Timeout, left, err)
		}
	}
	r.report("%s is removed", r.Name)
	return nil
}

// published returns a text with the hosts of the member that usher still publishes; "" if there are none.
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

// undeleted returns a text with an object in the member that still exists; "" if there is none.
func (r *removal) undeleted(ctx context.Context) (string, error) {
	if r.member == nil {
		return "", nil
	}
	owned, err := r.member.owned(ctx, r.id)
	if err != nil || len(owned) == 0 {
		return "", err
	}
	return fmt.Sprintf("%s is still being deleted in context %s", describe(owned[0]), r.member.context), nil
}
