package controllers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
)

// A wildcard and the names under it. The decision on a name uses the one on its wildcard,
// which it makes again from the same facts: it reads no status. A wildcard that changes
// what it is to the names under it has them decided again. Its status lists claims on
// names under it, and follows their changes.

const (
	// belowAgain is how often the status of a wildcard follows changes of the names
	// under it: there may be thousands.
	belowAgain = time.Second
	// olderAgain is the interval of the checks whether the names under a wildcard are
	// decided that clusters have claimed before it. A wildcard waits for them no longer
	// than olderWithin, so that a member cannot delay it for ever by new claims.
	olderAgain  = 200 * time.Millisecond
	olderWithin = 30 * time.Second
)

// indexOver is the index of ExposedHosts by the name of the ExposedHost of the wildcard
// over them.
const indexOver = "over"

// nameOver returns the name of the ExposedHost of the wildcard over a host; "" for a
// wildcard.
func nameOver(o client.Object) string {
	return v1alpha1.NameOfHost(v1alpha1.WildcardOver(v1alpha1.HostOfName(o.GetName())))
}

// wildcardsOver is the index function of indexOver.
func wildcardsOver(o client.Object) []string {
	if name := nameOver(o); name != "" {
		return []string{name}
	}
	return nil
}

// wildcards is what the wildcards are to the names under them.
type wildcards struct {
	mu      sync.Mutex
	over    map[string]*admission.Over // wildcard → what it was in its last decision
	waiting map[string]time.Time       // wildcard → since when it waits for older claims under it
}

// note notes what a wildcard is to the names under it, and returns what it was before.
func (w *wildcards) note(host string, over *admission.Over) (before *admission.Over) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before = w.over[host]
	switch {
	case over == nil:
		delete(w.over, host)
	case w.over == nil:
		w.over = map[string]*admission.Over{host: over}
	default:
		w.over[host] = over
	}
	return before
}

// mayWait reports whether a wildcard may wait longer for older claims under it.
func (w *wildcards) mayWait(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = map[string]time.Time{}
	}
	if w.waiting[host].IsZero() {
		w.waiting[host] = time.Now()
	}
	return time.Since(w.waiting[host]) < olderWithin
}

func (w *wildcards) waitNoLonger(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, host)
}

// over returns the wildcard over a host, if it limits which clusters may get the host.
func (r *ExposedHostReconciler) over(ctx context.Context, in admission.Input, policy admission.Policy, clusters map[string]*v1alpha1.MemberCluster) (*admission.Over, error) {
	wildcard := v1alpha1.WildcardOver(in.Host)
	if wildcard == "" {
		return nil, nil
	}
	eh, err := r.current(ctx, v1alpha1.NameOfHost(wildcard), client.UnsafeDisableDeepCopy)
	switch {
	case err != nil:
		return nil, err
	case isManual(eh):
		return admission.ManualOver(&eh.Spec), nil
	case in.HeldAlone(policy):
		return nil, nil
	}
	above, its := r.input(wildcard, eh, clusters)
	decision, err := r.decideClaims(above, eh, its)
	if err != nil {
		return nil, err
	}
	return above.AsOver(decision, its), nil
}

// settleBelow makes the names under a wildcard be decided again if the wildcard is
// something else to them than before. It returns how long the wildcard must wait: before
// a cluster gets it, the names under it are decided that other clusters have claimed
// before, so that the result does not depend on the order of the decisions.
func (r *ExposedHostReconciler) settleBelow(ctx context.Context, host string, over *admission.Over, clusters map[string]*v1alpha1.MemberCluster) (wait time.Duration, err error) {
	if before := r.wildcards.note(host, over); !over.Equal(before) {
		if err := r.decideBelow(ctx, host, before, over); err != nil {
			r.wildcards.note(host, before)
			return 0, err
		}
	}
	older, err := r.olderBelow(ctx, over, clusters)
	if err != nil {
		return 0, err
	}
	if older && r.wildcards.mayWait(host) {
		return olderAgain, nil
	}
	r.wildcards.waitNoLonger(host)
	return 0, nil
}

// decideBelow adds the names under a wildcard to the queue whose decisions may depend on
// it: those that no cluster holds, and those with rivals; if the wildcard is or was
// manually written, all.
func (r *ExposedHostReconciler) decideBelow(ctx context.Context, host string, before, over *admission.Over) error {
	below, err := r.listBelow(ctx, v1alpha1.NameOfHost(host))
	if err != nil {
		return err
	}
	every := before != nil && before.Manual || over != nil && over.Manual
	var names []string
	for i := range below {
		eh := &below[i]
		if !isManual(eh) && (every || admission.Recorded(eh).Holder == "" || len(eh.Status.Rivals) > 0) {
			names = append(names, eh.Name)
		}
	}
	r.DecideAgain(cmp.Or(before.Cluster(), over.Cluster()), names)
	return nil
}

// listBelow returns the ExposedHosts of the names under a wildcard. They are shared with
// the cache and must not be changed.
func (r *ExposedHostReconciler) listBelow(ctx context.Context, wildcard string) ([]v1alpha1.ExposedHost, error) {
	var list v1alpha1.ExposedHostList
	if err := r.Client.List(ctx, &list, client.MatchingFields{indexOver: wildcard}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the ExposedHosts under %s: %w", wildcard, err)
	}
	return list.Items, nil
}

// olderBelow reports whether another cluster gets a name under a wildcard by a claim that
// is older than the one by which the wildcard gets its holder, and has not got it yet.
func (r *ExposedHostReconciler) olderBelow(ctx context.Context, over *admission.Over, clusters map[string]*v1alpha1.MemberCluster) (bool, error) {
	if over == nil || over.First == nil {
		return false, nil
	}
	for _, host := range r.Members.Under(over.Host) {
		if claims, _ := r.Members.Claims(host); !slices.ContainsFunc(claims, over.OlderThan) {
			continue
		}
		eh, err := r.current(ctx, v1alpha1.NameOfHost(host), client.UnsafeDisableDeepCopy)
		if err != nil {
			return false, err
		}
		if isManual(eh) {
			continue
		}
		input, policy := r.input(host, eh, clusters)
		input.Over = over
		decision, err := r.decideClaims(input, eh, policy)
		if err != nil {
			return false, err
		}
		if over.Awaits(input, decision) {
			return true, nil
		}
	}
	return false, nil
}

// below returns what the status of a wildcard lists of the names under it, and their
// number. The refused ones come first.
func (r *ExposedHostReconciler) below(ctx context.Context, eh *v1alpha1.ExposedHost) ([]v1alpha1.NameBelow, int32, error) {
	if !strings.HasPrefix(eh.Spec.Host, "*.") {
		return nil, 0, nil
	}
	hosts, err := r.listBelow(ctx, eh.Name)
	if err != nil {
		return nil, 0, err
	}
	own := func(b v1alpha1.NameBelow) bool {
		return b.Reason != reason.UnderWildcard && (b.Cluster == eh.Spec.Holder ||
			slices.ContainsFunc(eh.Spec.Backends, func(backend v1alpha1.HostBackend) bool { return backend.Cluster == b.Cluster }))
	}
	var below []v1alpha1.NameBelow
	for i := range hosts {
		below = append(below, slices.DeleteFunc(claimsBelow(&hosts[i]), own)...)
	}
	slices.SortFunc(below, func(a, b v1alpha1.NameBelow) int {
		return cmp.Or(-cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Cluster, b.Cluster)) // UnderWildcard before Admitted
	})
	return slices.Clip(below[:min(len(below), keptSources)]), total(len(below)), nil
}

// claimsBelow returns what a name under a wildcard adds to the status of the wildcard: the
// first refused claim of each cluster, and the first source of the cluster that publishes
// the name. A manually written name adds nothing.
func claimsBelow(o client.Object) []v1alpha1.NameBelow {
	eh, _ := o.(*v1alpha1.ExposedHost)
	if eh == nil || isManual(eh) {
		return nil
	}
	var below []v1alpha1.NameBelow
	add := func(ref v1alpha1.SourceRef, why string) {
		if !slices.ContainsFunc(below, func(b v1alpha1.NameBelow) bool { return b.Cluster == ref.Cluster }) {
			below = append(below, v1alpha1.NameBelow{Host: eh.Spec.Host, Rival: v1alpha1.Rival{SourceRef: ref, Reason: why}})
		}
	}
	accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	if accepted != nil && len(eh.Status.Sources) > 0 && (accepted.Reason == reason.Admitted || accepted.Reason == reason.UnderWildcard) {
		add(eh.Status.Sources[0], accepted.Reason)
	}
	for _, rival := range eh.Status.Rivals {
		if rival.Reason == reason.UnderWildcard {
			add(rival.SourceRef, rival.Reason)
		}
	}
	return below
}

// followBelow adds the wildcard over a host to the queue when its status must list
// something else of the host than before.
func followBelow(reader client.Reader) handler.EventHandler {
	changed := func(ctx context.Context, name string, before, after client.Object, q hostQueue) {
		if name == "" || slices.Equal(claimsBelow(before), claimsBelow(after)) {
			return
		}
		err := reader.Get(ctx, client.ObjectKey{Name: name}, &v1alpha1.ExposedHost{}, client.UnsafeDisableDeepCopy)
		if err == nil {
			q.AddAfter(requestFor(name), belowAgain)
		} else if client.IgnoreNotFound(err) != nil {
			logUnread(ctx, err)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q hostQueue) {
			changed(ctx, nameOver(e.Object), nil, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q hostQueue) {
			changed(ctx, nameOver(e.ObjectNew), e.ObjectOld, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q hostQueue) {
			changed(ctx, nameOver(e.Object), e.Object, nil, q)
		},
	}
}
