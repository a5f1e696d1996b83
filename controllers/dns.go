package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/dnsrecord"
)

// DNSReconciler writes a DNSEndpoint for each accepted host and view, from which
// external-dns makes the records. It never changes a DNSEndpoint that is not its own. It
// writes status.dns and the DNSReady condition of ExposedHosts, and nothing else of them.
type DNSReconciler struct {
	Client client.Client
	// API reads from the API server itself.
	API    client.Reader
	Config dnsrecord.Config
	// Namespace is that of the DNSEndpoints.
	Namespace string

	endpoints *dnsEndpoints
	checks    *dnsChecks // nil if no resolver is asked
}

// DNS sets which DNS records the hosts get; by default none. Lookup returns the addresses
// of a name as the world sees them, to compare them with the public records; with nil,
// nothing is compared.
func DNS(config dnsrecord.Config, lookup LookupAddrs) Option {
	return func(c *controlPlane) { c.dns, c.dnsLookup = config, lookup }
}

// setupDNS registers the reconciler of DNS records. Without a target it only removes what
// an earlier configuration has left in the status of ExposedHosts.
func (c *controlPlane) setupDNS(mgr manager.Manager, namespace string) error {
	r := &DNSReconciler{Client: mgr.GetClient(), API: mgr.GetAPIReader(), Config: c.dns, Namespace: namespace}
	withWorkers := options()
	withWorkers.MaxConcurrentReconciles = hostWorkers
	controller := builder.ControllerManagedBy(mgr).Named("dns").WithOptions(withWorkers).
		Watches(&v1alpha1.ExposedHost{}, onEveryEvent(func(_ context.Context, o client.Object, q hostQueue) { q.Add(requestFor(o.GetName())) }))
	if !c.dns.Off() {
		r.endpoints = newDNSEndpoints(mgr, namespace)
		controller = controller.WatchesRawSource(r.endpoints)
	}
	if c.dnsLookup != nil && !c.dns.Off() {
		again := &trigger{}
		r.checks = newDNSChecks(c.dnsLookup, func(name string) { again.add("", []string{name}) })
		controller = controller.WatchesRawSource(again.source(func() map[string][]string { return nil }))
		if err := r.checks.setup(mgr); err != nil {
			return err
		}
	}
	return controller.Complete(r)
}

// The DNSEndpoints are in usher's own namespace.
//
// +kubebuilder:rbac:groups=externaldns.k8s.io,namespace=usher-system,resources=dnsendpoints,verbs=get;list;watch;create;patch;delete

// dnsAgain is the pause before usher looks again whether it can write a DNSEndpoint: it gets
// no event about one that is not its own.
const dnsAgain = time.Minute

// errNotOwn means that a DNSEndpoint has the name of usher's own and is not.
var errNotOwn = errors.New("it has no label or owner of usher's")

// Reconcile writes or removes the DNSEndpoints of the named host.
func (r *DNSReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	again, err := r.reconcile(ctx, req.Name)
	return requeue(again, unlessBehind(err))
}

func (r *DNSReconciler) reconcile(ctx context.Context, name string) (time.Duration, error) {
	var eh v1alpha1.ExposedHost
	switch err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &eh); {
	case apierrors.IsNotFound(err), err == nil && !eh.DeletionTimestamp.IsZero():
		r.checks.forget(name)
		return 0, r.removeAll(ctx, name)
	case err != nil:
		return 0, err
	}
	if findCondition(&eh, v1alpha1.ConditionAccepted) == nil {
		return 0, nil // not decided yet
	}
	is := dnsState{}
	for _, view := range dnsrecord.Views {
		if err := r.reconcileView(ctx, &eh, view, &is); err != nil {
			return 0, err
		}
	}
	is.note(r.checks, name)
	return is.again, r.report(ctx, &eh, is)
}

// removeAll removes the DNSEndpoints of a host that does not exist any more.
func (r *DNSReconciler) removeAll(ctx context.Context, name string) error {
	if !r.usable() {
		return nil
	}
	var errs []error
	for _, view := range dnsrecord.Views {
		errs = append(errs, r.remove(ctx, name, view))
	}
	return errors.Join(errs...)
}

// usable reports whether DNSEndpoints can be read now.
func (r *DNSReconciler) usable() bool { return r.endpoints != nil && r.endpoints.unread() == "" }

// reconcileView brings the DNSEndpoint of one view to what is wanted, and notes the result.
func (r *DNSReconciler) reconcileView(ctx context.Context, eh *v1alpha1.ExposedHost, view v1alpha1.DNSView, is *dnsState) error {
	wanted := dnsrecord.Records{View: view, Host: eh.Spec.Host}
	if isAccepted(eh) {
		var err error
		if wanted, err = r.Config.Wanted(view, eh.Spec.Host, eh.Spec.DNS); err != nil {
			is.itself(err)
		}
	}
	is.wanted = append(is.wanted, wanted)
	switch {
	case r.endpoints == nil:
		return nil
	case !r.usable():
		is.unavailable(wanted, r.endpoints.unread()) // dnsEndpoints enqueues the host when it is available
		return nil
	case len(wanted.Sets) == 0:
		return r.remove(ctx, eh.Name, view)
	}
	endpoint, err := r.apply(ctx, wanted.Endpoint(r.Namespace, eh))
	switch why := unavailable(err); {
	case errors.Is(err, errNotOwn):
		is.taken(r.Namespace, dnsrecord.NameOf(view, eh.Name))
		return nil
	case why != "":
		r.endpoints.lose(err, why)
		is.unavailable(wanted, why)
		return nil
	case err != nil:
		return err
	}
	is.written(endpoint)
	return nil
}

// apply creates a DNSEndpoint or corrects it, if it differs, and returns it. The error is
// errNotOwn if another one has its name.
func (r *DNSReconciler) apply(ctx context.Context, wanted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	current, err := r.endpoints.get(ctx, wanted.GetName())
	switch {
	case err != nil:
		return nil, err
	case current == nil:
		return r.create(ctx, wanted)
	case dnsrecord.OwnerOf(current) != dnsrecord.OwnerOf(wanted):
		return nil, errNotOwn
	case sameEndpoint(current, wanted):
		return current, nil
	}
	after := current.DeepCopy()
	after.Object["spec"] = wanted.Object["spec"]
	labels := maps.Clone(after.GetLabels())
	maps.Copy(labels, wanted.GetLabels())
	after.SetLabels(labels)
	others := slices.DeleteFunc(after.GetOwnerReferences(), func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller })
	after.SetOwnerReferences(append(others, wanted.GetOwnerReferences()...))
	unchanged := client.MergeFromWithOptions(current, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, after, unchanged, client.FieldOwner(v1alpha1.FieldManager)); err != nil {
		if apierrors.IsNotFound(err) { // it was deleted, and the event comes
			err = apierrors.NewConflict(schema.GroupResource{Group: dnsrecord.Kind.Group, Resource: "dnsendpoints"}, after.GetName(), err)
		}
		return nil, fmt.Errorf("patch DNSEndpoint %s: %w", wanted.GetName(), err)
	}
	log.FromContext(ctx).Info("Changed DNSEndpoint", "dnsEndpoint", wanted.GetName())
	return after, nil
}

// create creates a DNSEndpoint.
func (r *DNSReconciler) create(ctx context.Context, wanted *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	err := r.Client.Create(ctx, wanted, client.FieldOwner(v1alpha1.FieldManager))
	if apierrors.IsAlreadyExists(err) {
		existing := emptyEndpoint()
		switch failed := r.API.Get(ctx, client.ObjectKeyFromObject(wanted), existing); {
		case failed != nil && !apierrors.IsNotFound(failed):
			return nil, failed
		case failed == nil && dnsrecord.OwnerOf(existing) != dnsrecord.OwnerOf(wanted):
			return nil, errNotOwn
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create DNSEndpoint %s: %w", wanted.GetName(), err)
	}
	log.FromContext(ctx).Info("Created DNSEndpoint", "dnsEndpoint", wanted.GetName())
	return wanted, nil
}

// sameEndpoint reports whether a DNSEndpoint has the records, the labels and the owner that
// are wanted.
func sameEndpoint(current, wanted *unstructured.Unstructured) bool {
	for key, value := range wanted.GetLabels() {
		if current.GetLabels()[key] != value {
			return false
		}
	}
	return equality.Semantic.DeepEqual(current.Object["spec"], wanted.Object["spec"]) &&
		equality.Semantic.DeepEqual(metav1.GetControllerOf(current), metav1.GetControllerOf(wanted))
}

// remove deletes the DNSEndpoint of a host in a view, if it is usher's own, and has not
// changed since it was read.
func (r *DNSReconciler) remove(ctx context.Context, exposedHost string, view v1alpha1.DNSView) error {
	current, err := r.endpoints.get(ctx, dnsrecord.NameOf(view, exposedHost))
	if err != nil || current == nil || dnsrecord.OwnerOf(current) != exposedHost {
		return err
	}
	uid, version := current.GetUID(), current.GetResourceVersion()
	if err := r.Client.Delete(ctx, current.DeepCopy(), client.Preconditions{UID: &uid, ResourceVersion: &version}); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("delete DNSEndpoint %s: %w", current.GetName(), err))
	}
	log.FromContext(ctx).Info("Removed DNSEndpoint", "dnsEndpoint", current.GetName())
	return nil
}
