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

// ExposedHostReconciler decides about one host: it asks the members who claims
// it, and writes, rewrites or withdraws its ExposedHost.
type ExposedHostReconciler struct {
	Client  client.Client
	Members *member.Set
	Events  events.EventRecorder
	// OwnAddress is as in MemberClusterReconciler.
	OwnAddress func(netip.AddrPort) bool
	// HandoverGrace is how long the holder of a host must have claimed it no more
	// before another cluster gets it. 0 is at once.
	HandoverGrace time.Duration

	unclaimed unclaimedHosts
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
	return builder.ControllerManagedBy(mgr).Named("exposedhost").
		Watches(&v1alpha1.ExposedHost{}, onEveryEvent(host)).
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
		WithOptions(withWorkers).
		Complete(&ExposedHostReconciler{Client: mgr.GetClient(), Members: members, Events: recorder{mgr.GetEventRecorder(v1alpha1.FieldManager)},
			OwnAddress: c.ownAddress, HandoverGrace: c.handoverGrace})
}

// hostQueue is the queue of the reconciler of ExposedHosts.
type hostQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// onEveryEvent calls enqueue with each object that is created, changed or deleted.
func onEveryEvent(enqueue func(ctx context.Context, o client.Object, q hostQueue)) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q hostQueue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q hostQueue) { enqueue(ctx, e.ObjectNew, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q hostQueue) { enqueue(ctx, e.Object, q) },
	}
}

// shareOf returns the share of the queue that an ExposedHost's own changes belong to:
// that of the cluster that holds it, or one for all hosts by hand.
func shareOf(o client.Object) string {
	if held := holding(o.(*v1alpha1.ExposedHost)); held != nil {
		return held.Cluster
	}
	return ""
}

// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts/status,verbs=patch
// +kubebuilder:rbac:groups=usher.techn.is,resources=memberclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile brings the ExposedHost of the named host in line with the claims on it.
func (r *ExposedHostReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	again, err := r.reconcile(ctx, req.Name)
	return requeue(again, unlessBehind(err))
}

// reconcile is Reconcile. It returns after how long to decide again; 0 is at the next event.
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
	decision, err := r.decide(host, current, clusters)
	if err != nil {
		return 0, err
	}
	again := soonest(r.unasked(current, clusters), r.noteUnclaimed(host, decision))
	switch {
	case isManual(current):
		return again, r.report(ctx, current, current, decision, clusters)
	case decision.Withdraw:
		return again, r.withdraw(ctx, current)
	}
	applied, err := r.apply(ctx, host, current, decision)
	if err != nil {
		return 0, err
	}
	return again, r.report(ctx, current, applied, decision, clusters)
}

// unlessBehind drops the errors of a cache that is behind: what it lacks comes as
// an event.
func unlessBehind(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// current returns the host's object, or nil where there is none.
func (r *ExposedHostReconciler) current(ctx context.Context, name string) (*v1alpha1.ExposedHost, error) {
	var eh v1alpha1.ExposedHost
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &eh); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return &eh, nil
}

// input gathers what is known of the host.
func (r *ExposedHostReconciler) input(host string, current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (admission.Input, admission.Policy) {
	claims, known := r.Members.Claims(host)
	// A cluster whose MemberCluster is deleted has no say, connected or not.
	claims = slices.DeleteFunc(claims, func(c source.Claim) bool { return clusters[c.Source.Cluster] == nil })
	policy := admission.Policy{Clusters: map[string]admission.Cluster{}, HandoverGrace: r.HandoverGrace}
	for name, cluster := range clusters {
		policy.Clusters[name] = admission.Cluster{
			AllowedDomains: cluster.Spec.AllowedDomains,
			RequireAll:     cluster.Spec.RequireAll,
			InSync:         slices.Contains(known, name),
		}
	}
	input := admission.Input{Host: host, Claims: claims, Manual: isManual(current), Current: holding(current)}
	r.recallUnclaimed(&input, policy)
	return input, policy
}

// withdraw deletes usher's own object, unless somebody has changed it meanwhile.
func (r *ExposedHostReconciler) withdraw(ctx context.Context, current *v1alpha1.ExposedHost) error {
	if current == nil || !current.DeletionTimestamp.IsZero() {
		return nil
	}
	unchanged := client.Preconditions{UID: &current.UID, ResourceVersion: &current.ResourceVersion}
	if err := r.Client.Delete(ctx, current, unchanged); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("withdraw ExposedHost %s: %w", current.Name, err))
	}
	log.FromContext(ctx).Info("Withdrew host: no source claims it")
	return nil
}

// apply writes the object's spec where it differs, and returns the object as it
// then is. It writes over the very object that was decided about, and creates one
// where there was none: never over one that a person has made, or made theirs,
// meanwhile.
func (r *ExposedHostReconciler) apply(ctx context.Context, host string, current *v1alpha1.ExposedHost, decision admission.Decision) (*v1alpha1.ExposedHost, error) {
	spec := admission.Spec(host, decision)
	if current == nil {
		return r.create(ctx, v1alpha1.NameOfHost(host), spec)
	}
	if equality.Semantic.DeepEqual(current.Spec, spec) {
		return current, nil
	}
	after := current.DeepCopy()
	after.Spec = spec
	if err := r.patch(ctx, current, after); err != nil {
		return nil, err
	}
	return after, nil
}

// create makes the object, which nobody serves until its status says so.
func (r *ExposedHostReconciler) create(ctx context.Context, name string, spec v1alpha1.ExposedHostSpec) (*v1alpha1.ExposedHost, error) {
	eh := &v1alpha1.ExposedHost{Spec: spec}
	eh.Name, eh.Labels = name, map[string]string{v1alpha1.LabelManaged: "true"}
	if err := r.Client.Create(ctx, eh, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		return nil, notWritten("create", name, err)
	}
	return eh, nil
}

// patch writes what differs between two states of an object, unless it has
// changed since the first. Lists are written whole.
func (r *ExposedHostReconciler) patch(ctx context.Context, before, after *v1alpha1.ExposedHost) error {
	unchanged := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, after, unchanged, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		return notWritten("patch", after.Name, err)
	}
	return nil
}

// leaveTo makes usher's object the one of a person who wrote its spec. Nothing is
// undone, and no source changes it from then on.
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

// notWritten wraps an error of a write. What the API server will never take is not tried again.
func notWritten(verb, name string, err error) error {
	wrapped := fmt.Errorf("%s ExposedHost %s: %w", verb, name, err)
	if apierrors.IsInvalid(err) {
		return reconcile.TerminalError(wrapped)
	}
	return wrapped
}

// report writes the object's status where it differs, with Events on what changed.
func (r *ExposedHostReconciler) report(ctx context.Context, before, eh *v1alpha1.ExposedHost, decision admission.Decision, clusters map[string]*v1alpha1.MemberCluster) error {
	after := eh.DeepCopy()
	after.Status = statusOf(eh, decision, clusters, r.OwnAddress)
	if r.unasked(eh, clusters) > 0 {
		keepRivals(eh.Status, &after.Status)
	}
	if equality.Semantic.DeepEqual(eh.Status, after.Status) {
		return nil
	}
	written := after.Status
	least := func() { after.Status = v1alpha1.ExposedHostStatus{Conditions: written.Conditions} }
	if err := writeStatus(ctx, r.Client, eh, after, least); err != nil {
		return err
	}
	after.Status = written
	r.recordEvents(ctx, before, after, decision)
	return nil
}

// holding is usher's own decision as its object records it; nil where there is none.
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
