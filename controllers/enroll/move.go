package enroll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// MoveOptions are the parameters of Move.
type MoveOptions struct {
	// Host is the host to move; a leading "*." covers one label.
	Host string
	// To is the MemberCluster that gets it.
	To string
	// Timeout bounds the whole call.
	Timeout time.Duration
	// Out receives the result.
	Out io.Writer
}

// ErrMoveRefused marks a move that is not possible, or that usher refused.
var ErrMoveRefused = errors.New("the host is not moved")

const (
	moveEvery = 200 * time.Millisecond
	// eventWithin is how long the Event with the reason of a refusal may take.
	eventWithin = 5 * time.Second
)

// Move gives a host to a cluster, and returns when usher has moved it or refused to.
func Move(ctx context.Context, edge *Cluster, o MoveOptions) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	eh, err := edge.hostNamed(ctx, o.Host)
	if err != nil {
		return err
	}
	if _, err := edge.memberNamed(ctx, o.To); err != nil {
		return fmt.Errorf("%w: --to: %w", ErrMoveRefused, err)
	}
	switch {
	case eh.Labels[v1alpha1.LabelManaged] != "true":
		return fmt.Errorf("%w: ExposedHost %s was written manually: set its spec.backends, such as with kubectl edit exposedhost %s", ErrMoveRefused, eh.Name, eh.Name)
	case eh.Spec.Holder == o.To && serves(eh, o.To):
		_, err := fmt.Fprintf(o.Out, "%s is held by cluster %s already\n", o.Host, o.To)
		return err
	}
	before, err := edge.moveEvents(ctx, eh)
	if err != nil {
		return err
	}
	if err := edge.askToMove(ctx, eh, o.To); err != nil {
		return err
	}
	after, err := edge.awaitMoved(ctx, eh)
	if err != nil {
		return err
	}
	if after.Spec.Holder != o.To {
		return fmt.Errorf("%w: %s", ErrMoveRefused, edge.whyRefused(ctx, after, o.To, before))
	}
	return reportMoved(o, eh, after)
}

// serves reports whether a host is accepted and has a cluster as its first backend.
func serves(eh *v1alpha1.ExposedHost, cluster string) bool {
	return meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) && len(eh.Spec.Backends) > 0 && eh.Spec.Backends[0].Cluster == cluster
}

// hostNamed reads the ExposedHost of a host; the error names those that there are.
func (c *Cluster) hostNamed(ctx context.Context, host string) (*v1alpha1.ExposedHost, error) {
	eh := &v1alpha1.ExposedHost{}
	name := v1alpha1.NameOfHost(host)
	err := c.client.Get(ctx, client.ObjectKey{Name: name}, eh)
	switch {
	case err == nil:
		return eh, nil
	case !apierrors.IsNotFound(err):
		return nil, c.failed("read ExposedHost "+name, noCRDs(err))
	}
	hosts, err := Hosts(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: there is no ExposedHost for %s (context %s).%s", ErrMoveRefused, host, c.context, known("The hosts are", host, hosts))
}

// Hosts returns the hosts of all ExposedHosts of the edge cluster.
func Hosts(ctx context.Context, edge *Cluster) ([]string, error) {
	var list v1alpha1.ExposedHostList
	if err := edge.client.List(ctx, &list); err != nil {
		return nil, edge.failed("list ExposedHosts", noCRDs(err))
	}
	var hosts []string
	for i := range list.Items {
		hosts = append(hosts, list.Items[i].Spec.Host)
	}
	return hosts, nil
}

// askToMove sets the annotation that asks for the move.
func (c *Cluster) askToMove(ctx context.Context, eh *v1alpha1.ExposedHost, to string) error {
	after := eh.DeepCopy()
	after.Annotations = union(after.Annotations, map[string]string{v1alpha1.AnnotationMoveTo: to})
	if err := c.client.Patch(ctx, after, client.MergeFrom(eh)); err != nil {
		return c.failed("annotate ExposedHost "+eh.Name, err)
	}
	return nil
}

// awaitMoved waits until usher has removed the annotation, and the status describes the
// resulting spec.
func (c *Cluster) awaitMoved(ctx context.Context, eh *v1alpha1.ExposedHost) (*v1alpha1.ExposedHost, error) {
	after := &v1alpha1.ExposedHost{}
	err := wait.PollUntilContextCancel(ctx, moveEvery, true, func(ctx context.Context) (bool, error) {
		if err := c.client.Get(ctx, client.ObjectKeyFromObject(eh), after); err != nil {
			return false, c.failed("read ExposedHost "+eh.Name, err)
		}
		_, asked := after.Annotations[v1alpha1.AnnotationMoveTo]
		accepted := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionAccepted)
		return !asked && accepted != nil && accepted.ObservedGeneration == after.Generation, nil
	})
	if wait.Interrupted(err) {
		return nil, fmt.Errorf("usher has not answered within the time of --timeout: check that a leader runs; the request stays: remove it with kubectl annotate exposedhost %s %s-", eh.Name, v1alpha1.AnnotationMoveTo)
	}
	return after, err
}

// moveEvents returns the resource versions of the Events about refused moves of a host.
func (c *Cluster) moveEvents(ctx context.Context, eh *v1alpha1.ExposedHost) (map[types.UID]string, error) {
	list, err := c.refusals(ctx, eh)
	versions := map[types.UID]string{}
	for i := range list {
		versions[list[i].UID] = list[i].ResourceVersion
	}
	return versions, err
}

// refusals lists the Events about refused moves of a host. A person who may not list Events
// sees none.
func (c *Cluster) refusals(ctx context.Context, eh *v1alpha1.ExposedHost) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	err := c.client.List(ctx, &list, client.MatchingFields{"regarding.name": eh.Name, "reason": reason.MoveRefused})
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, c.failed("list Events", err)
	}
	return list.Items, nil
}

// whyRefused returns the reason of a refused move: that of an Event that was not there
// before, else what the status says about the cluster.
func (c *Cluster) whyRefused(ctx context.Context, eh *v1alpha1.ExposedHost, to string, before map[types.UID]string) string {
	var said string
	ctx, cancel := context.WithTimeout(ctx, eventWithin)
	defer cancel()
	_ = wait.PollUntilContextCancel(ctx, moveEvery, true, func(ctx context.Context) (bool, error) {
		list, err := c.refusals(ctx, eh)
		for i := range list {
			if before[list[i].UID] != list[i].ResourceVersion {
				said = list[i].Note
			}
		}
		return said != "", err
	}) // without an Event, the status says it
	if said != "" {
		return said
	}
	for _, rival := range eh.Status.Rivals {
		if rival.Cluster == to {
			return fmt.Sprintf("%s %s/%s of cluster %s may not publish it: %s; see docs/reasons.md", rival.Kind, rival.Namespace, rival.Name, to, rival.Reason)
		}
	}
	return fmt.Sprintf("usher refused it, see kubectl describe exposedhost %s", eh.Name)
}

// reportMoved prints the result of a move, and what to annotate so that it stays.
func reportMoved(o MoveOptions, before, after *v1alpha1.ExposedHost) error {
	from := before.Spec.Holder
	fmt.Fprintf(o.Out, "%s went from cluster %s to %s; open connections continue where they are\n", o.Host, from, o.To)
	if len(after.Spec.Backends) > 1 {
		_, err := fmt.Fprintf(o.Out, "clusters share the host, and cluster %s stays a backend while its objects have the annotations\n", from)
		return err
	}
	var commands []string
	for _, ref := range before.Status.Sources {
		if ref.Cluster == from {
			commands = append(commands, fmt.Sprintf("  kubectl --context %s annotate %s -n %s %s %s-", from, strings.ToLower(ref.Kind), ref.Namespace, ref.Name, v1alpha1.AnnotationExpose))
		}
	}
	if len(commands) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(o.Out, "cluster %s still claims it, and gets it back if cluster %s no longer claims it; to prevent that (--context is that of cluster %s):\n%s\n", from, o.To, from, strings.Join(commands, "\n"))
	return err
}
