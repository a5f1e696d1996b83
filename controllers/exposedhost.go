package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/source"
)

// ExposedHostReconciler makes the decision on a host from the claims of all members, and
// creates, changes or withdraws the ExposedHost.
type ExposedHostReconciler struct {
	Client  client.Client
	Members *member.Set
	Events  events.EventRecorder
	// OwnAddress is as in MemberClusterReconciler.
	OwnAddress func(netip.AddrPort) bool
	// TLSPorts are the names of the edge's TLS ports other than https; nil if they are not
	// known.
	TLSPorts []string
	// HandoverGrace is how long the holder must not have claimed a host before another
	// cluster gets it; with 0 the other cluster gets it at once.
	HandoverGrace time.Duration
	// DecideAgain adds ExposedHosts to the queue, as requests of a share of it.
	DecideAgain func(share string, names []string)

	lists     *networkLists
	unclaimed unclaimedHosts
	wildcards wildcards
	audits    *audits
}

// setupExposedHosts registers the reconciler of ExposedHosts.
func (c *controlPlane) setupExposedHosts(mgr manager.Manager, members *member.Set, changed *trigger) error {
	withWorkers := options()
	withWorkers.MaxConcurrentReconciles = hostWorkers
	withWorkers.NewQueue = changed.fair.newQueue
	host := func(_ context.Context, o client.Object, q hostQueue) {
		changed.fair.add(q, shareOf(o), requestFor(o.GetName()))
	}
	hostsOfMember := func(ctx context.Context, o client.Object, q hostQueue) {
		changed.fair.add(q, o.GetName(), requestsFor(namesOfCluster(ctx, mgr.GetCache(), o.GetName()))...)
	}
	lists := newNetworkLists(mgr, "exposedhost", func(ctx context.Context, q hostQueue, name string, change listChange) {
		hosts := hostsWithList(ctx, mgr.GetCache(), name, change)
		for i := range hosts {
			host(ctx, &hosts[i], q)
		}
	})
	return builder.ControllerManagedBy(mgr).Named("exposedhost").
		Watches(&v1alpha1.ExposedHost{}, onEveryEvent(host)).
		Watches(&v1alpha1.ExposedHost{}, followBelow(mgr.GetCache())).
		Watches(&v1alpha1.MemberCluster{}, onEveryEvent(hostsOfMember), builder.WithPredicates(predicate.Funcs{
			UpdateFunc: func(e event.UpdateEvent) bool { return servesOtherwise(e) || refusedOtherwise(e) },
		})).
		WatchesRawSource(changed.source(func() map[string][]string {
			hosts := map[string][]string{}
			for _, name := range members.Names() {
				hosts[name] = namesOfHosts(members.Hosts(name))
			}
			return hosts
		})).
		WatchesRawSource(lists).
		WithOptions(withWorkers).
		Complete(&ExposedHostReconciler{Client: mgr.GetClient(), Members: members, Events: recorder{mgr.GetEventRecorder(v1alpha1.FieldManager)},
			OwnAddress: c.ownAddress, TLSPorts: c.tlsPorts, HandoverGrace: c.handoverGrace, DecideAgain: changed.add, lists: lists, audits: c.audits})
}

// hostQueue is the queue of the ExposedHost reconciler.
type hostQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// onEveryEvent calls enqueue with each object that is created, changed or deleted.
func onEveryEvent(enqueue func(ctx context.Context, o client.Object, q hostQueue)) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q hostQueue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q hostQueue) { enqueue(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q hostQueue) { enqueue(ctx, e.Object, q) },
	}
}

// shareOf returns the share of the queue for changes of an ExposedHost: that of the
// cluster that holds it, or a common one for all manually written hosts.
func shareOf(o client.Object) string {
	if held := holding(o.(*v1alpha1.ExposedHost)); held != nil {
		return held.Cluster
	}
	return ""
}

// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts/status,verbs=patch
// +kubebuilder:rbac:groups=usher.techn.is,resources=memberclusters;networklists,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile makes the decision on the named host and updates its ExposedHost.
func (r *ExposedHostReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	again, err := r.reconcile(ctx, req.Name)
	return requeue(again, unlessBehind(err))
}

// reconcile implements Reconcile. It returns the time until the next decision; 0 means
// at the next event.
func (r *ExposedHostReconciler) reconcile(ctx context.Context, name string) (time.Duration, error) {
	host := v1alpha1.HostOfName(name)
	current, err := r.current(ctx, name)
	if err != nil {
		return 0, err
	}
	if writer := otherWriter(current); writer != "" && !isManual(current) {
		return 0, client.IgnoreNotFound(r.leaveTo(ctx, writer, current))
	}
	clusters, err := listClusters(ctx, r.Client)
	if err != nil {
		return 0, err
	}
	if wait := r.pending(current, clusters); wait > 0 {
		return wait, nil
	}
	decision, over, err := r.decide(ctx, host, current, clusters)
	if err != nil {
		return 0, err
	}
	if wait, err := r.settleBelow(ctx, host, over, clusters); wait > 0 || err != nil {
		return wait, err
	}
	again := soonest(r.unreached(current, clusters), r.noteUnclaimed(host, current, decision))
	switch {
	case isManual(current):
		after, err := r.endMove(ctx, current)
		if err != nil {
			return 0, err
		}
		r.recordMove(current, decision)
		return again, r.report(ctx, current, after, decision, clusters)
	case decision.Withdraw:
		return again, r.withdraw(ctx, current)
	}
	applied, err := r.apply(ctx, host, current, decision)
	if apierrors.IsInvalid(err) && decision.Accepted {
		// The old spec may allow clients that the sources no longer allow.
		decision, again = admission.Unwritable(decision, err), soonest(again, unwritableAgain)
		applied, err = r.apply(ctx, host, current, decision)
	}
	if err != nil {
		return 0, err
	}
	r.recordMove(current, decision)
	return again, r.report(ctx, current, applied, decision, clusters)
}

// unwritableAgain is the pause before a spec that the API server refuses is written again.
const unwritableAgain = time.Minute

// unlessBehind drops the errors of a write from an outdated cache: the missing change
// arrives as an event and is reconciled.
func unlessBehind(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// current returns the host's ExposedHost; nil if there is none.
func (r *ExposedHostReconciler) current(ctx context.Context, name string, opts ...client.GetOption) (*v1alpha1.ExposedHost, error) {
	var eh v1alpha1.ExposedHost
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &eh, opts...); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return &eh, nil
}

// input returns the input of a decision on the host.
func (r *ExposedHostReconciler) input(host string, current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (admission.Input, admission.Policy) {
	claims, known := r.Members.Claims(host)
	// The claims of a cluster do not count after its MemberCluster was deleted.
	claims = slices.DeleteFunc(claims, func(c source.Claim) bool { return clusters[c.Source.Cluster] == nil })
	recorded := recordedClaims(current)
	policy := admission.Policy{Clusters: map[string]admission.Cluster{}, HandoverGrace: r.HandoverGrace}
	for name, cluster := range clusters {
		policy.Clusters[name] = admission.Cluster{
			AllowedDomains: cluster.Spec.AllowedDomains,
			RequireAll:     cluster.Spec.RequireAll,
			InSync:         slices.Contains(known, name) && !r.Members.Denied(name, recorded),
		}
	}
	input := admission.Input{Host: host, Claims: claims, Manual: isManual(current), Current: holding(current)}
	r.recallUnclaimed(&input, policy)
	return input, policy
}

// recordedClaims returns the objects that an ExposedHost, which may be nil, records as its
// sources and rivals.
func recordedClaims(eh *v1alpha1.ExposedHost) []v1alpha1.SourceRef {
	if eh == nil {
		return nil
	}
	refs := slices.Clone(eh.Status.Sources)
	for _, rival := range eh.Status.Rivals {
		refs = append(refs, rival.SourceRef)
	}
	return refs
}

// withdraw deletes usher's own object, unless it has changed since it was read.
func (r *ExposedHostReconciler) withdraw(ctx context.Context, current *v1alpha1.ExposedHost) error {
	if current == nil || !current.DeletionTimestamp.IsZero() {
		return nil
	}
	unchanged := client.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion}
	if err := r.Client.Delete(ctx, current, unchanged); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("withdraw ExposedHost %s: %w", current.Name, err))
	}
	r.Events.Eventf(current, nil, corev1.EventTypeNormal, reason.Withdrawn, "Decide", "no source claims host %s any more%s", current.Spec.Host, lastRequestedBy(current))
	log.FromContext(ctx).Info("Withdrew host: no source claims it")
	return nil
}

// apply writes the object's spec if it differs, and returns the resulting object. The same
// write removes an annotation that asks for a move, which the decision has answered. It
// changes only the version of the object that the decision was made from, and creates
// one only if there was none. So it never overwrites an object that a person has
// created or changed since.
func (r *ExposedHostReconciler) apply(ctx context.Context, host string, current *v1alpha1.ExposedHost, decision admission.Decision) (*v1alpha1.ExposedHost, error) {
	spec := admission.Spec(host, decision)
	if current == nil {
		return r.create(ctx, v1alpha1.NameOfHost(host), spec)
	}
	if _, moving := moveTo(current); !moving && equality.Semantic.DeepEqual(current.Spec, spec) {
		return current, nil
	}
	after := current.DeepCopy()
	after.Spec = spec
	delete(after.Annotations, v1alpha1.AnnotationMoveTo)
	if err := r.patch(ctx, current, after); err != nil {
		return nil, err
	}
	return after, nil
}

// create creates the object. No proxy serves it until its status says that it is accepted.
func (r *ExposedHostReconciler) create(ctx context.Context, name string, spec v1alpha1.ExposedHostSpec) (*v1alpha1.ExposedHost, error) {
	eh := &v1alpha1.ExposedHost{Spec: spec}
	eh.Name, eh.Labels = name, map[string]string{v1alpha1.LabelManaged: "true"}
	if err := r.Client.Create(ctx, eh, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		return nil, notWritten("create", name, err)
	}
	return eh, nil
}

// patch writes the differences between two versions of an object. It fails if the object
// has changed since before was read. Lists are written as a whole.
func (r *ExposedHostReconciler) patch(ctx context.Context, before, after *v1alpha1.ExposedHost) error {
	unchanged := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, after, unchanged, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		return notWritten("patch", after.Name, err)
	}
	return nil
}

// leaveTo turns usher's object into a manual one, since another writer changed its spec.
// It undoes nothing, and sources no longer change the object.
func (r *ExposedHostReconciler) leaveTo(ctx context.Context, writer string, current *v1alpha1.ExposedHost) error {
	after := current.DeepCopy()
	delete(after.Labels, v1alpha1.LabelManaged)
	if err := r.patch(ctx, current, after); err != nil {
		return err
	}
	r.Events.Eventf(after, nil, corev1.EventTypeNormal, reason.TakenOver, "Decide",
		"%s wrote spec: usher no longer changes this ExposedHost; delete it to return the host to its annotated sources", writer)
	log.FromContext(ctx).Info("Left the host to its editor: another client wrote its spec", "writer", writer)
	return nil
}

// notWritten wraps an error of a write. A write that the API server will never accept is
// not retried.
func notWritten(verb, name string, err error) error {
	wrapped := fmt.Errorf("%s ExposedHost %s: %w", verb, name, err)
	if apierrors.IsInvalid(err) {
		return reconcile.TerminalError(wrapped)
	}
	return wrapped
}

// report writes the object's status if it differs, and records Events for the changes.
func (r *ExposedHostReconciler) report(ctx context.Context, before, eh *v1alpha1.ExposedHost, decision admission.Decision, clusters map[string]*v1alpha1.MemberCluster) error {
	after := eh.DeepCopy()
	clients, err := r.clientsProblem(ctx, eh.Spec.AllowFrom)
	if err != nil {
		return err
	}
	after.Status = statusOf(eh, decision, clusters, clients, r.OwnAddress, r.TLSPorts)
	r.audits.setAudited(&after.Status, eh)
	if after.Status.Below, after.Status.BelowTotal, err = r.below(ctx, eh); err != nil {
		return err
	}
	if r.unreached(eh, clusters) > 0 {
		keepRivals(eh.Status, &after.Status)
	}
	if equality.Semantic.DeepEqual(eh.Status, after.Status) {
		return nil
	}
	written := after.Status
	least := func() { after.Status = v1alpha1.ExposedHostStatus{Conditions: written.Conditions, DNS: written.DNS} }
	if err := writeStatus(ctx, r.Client, eh, after, least); err != nil {
		return err
	}
	after.Status = written
	r.recordEvents(ctx, before, after, decision)
	return nil
}

// holding returns the decision that usher's own object records; nil if there is none.
func holding(eh *v1alpha1.ExposedHost) *admission.Holding {
	if eh == nil || isManual(eh) {
		return nil
	}
	return admission.Recorded(eh)
}

// isManual reports whether a person wrote the object.
func isManual(eh *v1alpha1.ExposedHost) bool {
	return eh != nil && eh.Labels[v1alpha1.LabelManaged] != "true"
}
