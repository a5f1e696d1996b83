package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/informer"
	"github.com/jovalle/usher/controllers/member"
)

const (
	// hostWorkers is the number of concurrent decisions. With more of them a member with
	// many new hosts fills the API server's own queue, and the writes of other members wait.
	hostWorkers = 4
	countEvery  = 1 * time.Second // how often the number of a member's hosts is reported while it changes
	retryFirst  = 20 * time.Millisecond
	retryCap    = 5 * time.Second
)

// indexCluster is the index of ExposedHosts by the clusters in their spec and status.
const indexCluster = "cluster"

// Scheme returns the types of the edge cluster's kinds that usher reads and writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // two types under one name: a mistake in the API package
		}
	}
	return scheme
}

// CacheOptions returns the options of the edge cluster's cache. It has the Secrets of one
// namespace only.
func CacheOptions(namespace string) cache.Options {
	return cache.Options{
		DefaultTransform: cached,
		NewInformer:      informer.New(logFailure),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{namespace: {}}},
		},
	}
}

// logFailure logs that a kind of the edge cluster cannot be read. The informer retries
// without an end, and nothing else reports an unreachable API server or a missing role.
func logFailure(kind runtime.Object, err error) {
	if err != nil {
		ctrl.Log.WithName("edge").Error(err, "Cannot read the edge cluster, and ask again", "kind", fmt.Sprintf("%T", kind))
	}
}

// Several replicas elect the leader by a Lease.
//
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=usher-system,resources=leases,verbs=create;get;update
// +kubebuilder:rbac:groups="",namespace=usher-system,resources=events,verbs=create;patch

// An Option sets what the control plane cannot read from the edge cluster.
type Option func(*controlPlane)

// OwnAddress refuses addresses at which a connection would reach a listener of this
// process. The function must be safe for concurrent use.
func OwnAddress(leadsHere func(netip.AddrPort) bool) Option {
	return func(c *controlPlane) { c.ownAddress = leadsHere }
}

// TLSPorts sets the names of the edge's TLS ports other than https, so that a host's status
// says which of its ports nobody listens on. By default they are not known.
func TLSPorts(names []string) Option {
	return func(c *controlPlane) { c.tlsPorts = names }
}

// Lookup sets the function that resolves the DNS names in members' spec.ingress.addresses,
// so that no other member may use the addresses behind them. It works like
// net.Resolver.LookupNetIP. Without it, no name is resolved.
func Lookup(lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)) Option {
	return func(c *controlPlane) { c.names.lookup = lookup }
}

// Limits sets the limits on what each member publishes; the default is
// member.DefaultLimits.
func Limits(limits member.Limits) Option {
	return func(c *controlPlane) { c.limits = limits }
}

// HandoverGrace sets how long the holder must not have claimed a host before another
// cluster gets it. With 0 the other cluster gets it at once; the default is
// DefaultHandoverGrace.
func HandoverGrace(grace time.Duration) Option {
	return func(c *controlPlane) { c.handoverGrace = grace }
}

// Serving makes known which members serve a host. Served is called at each setup with a
// function that returns the members whose objects name a host and do not publish it; that
// function may be called by any goroutine, and knows no member unless this process leads.
func Serving(served func(func(host string) []string)) Option {
	return func(c *controlPlane) { c.serving = served }
}

// controlPlane has the values of the options.
type controlPlane struct {
	limits        member.Limits
	ownAddress    func(netip.AddrPort) bool // nil: no address reaches this process
	tlsPorts      []string                  // nil: not known
	names         pinnedNames               // without a lookup function no name is resolved
	handoverGrace time.Duration
	dns           dnsrecord.Config
	dnsLookup     LookupAddrs                      // nil: no resolver is asked
	serving       func(func(host string) []string) // nil: nobody asks
	explaining    func(HostFacts)                  // nil: nobody asks
	health        Health                           // nil: no address is checked
	doctor        *DoctorOptions                   // nil: nothing is audited
	audits        *audits                          // nil without doctor
}

// SetupControlPlane registers what the leader runs: the members' connections
// and the reconcilers of MemberClusters and ExposedHosts.
func SetupControlPlane(ctx context.Context, mgr manager.Manager, namespace string, opts ...Option) error {
	plane := controlPlane{limits: member.DefaultLimits, handoverGrace: DefaultHandoverGrace}
	for _, set := range opts {
		set(&plane)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ExposedHost{}, indexCluster, clustersNamed); err != nil {
		return fmt.Errorf("index ExposedHosts: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ExposedHost{}, indexNetworkList, listsNamed); err != nil {
		return fmt.Errorf("index ExposedHosts: %w", err)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.ExposedHost{}, indexOver, wildcardsOver); err != nil {
		return fmt.Errorf("index ExposedHosts: %w", err)
	}
	members := member.NewSet(mgr.GetLogger().WithName("member"))
	members.Limits = plane.limits
	hosts, clusters := &trigger{fair: newFairQueue()}, &trigger{}
	members.StateChanged = func(name string) { clusters.add("", []string{name}) }
	members.HostsChanged = func(name string, changed []string) { hosts.add(name, namesOfHosts(changed)) }
	members.MemberChanged = func(name string) {
		hosts.add(name, namesOfHosts(members.Hosts(name)))
		hosts.add(name, namesOfCluster(ctx, mgr.GetCache(), name))
	}
	if plane.serving != nil {
		plane.serving(members.Serving)
	}
	if plane.explaining != nil {
		plane.explaining(newExplainer(mgr.GetClient(), members).facts)
	}
	if plane.health != nil {
		plane.health.HealthChanged(func(cluster string) { clusters.add("", []string{cluster}) })
	}
	if err := mgr.Add(members); err != nil {
		return fmt.Errorf("add the members: %w", err)
	}
	if plane.names.lookup != nil {
		plane.names.reader = mgr.GetClient()
		plane.names.changed = func() { clusters.add("", members.Names()) }
		if err := mgr.Add(&plane.names); err != nil {
			return fmt.Errorf("add the resolver of names: %w", err)
		}
	}
	var err error
	if plane.audits, err = plane.setupDoctor(mgr, members, hosts, clusters); err != nil {
		return fmt.Errorf("set up the audits: %w", err)
	}
	if err := plane.setupMemberClusters(mgr, members, clusters, namespace); err != nil {
		return fmt.Errorf("set up MemberClusters: %w", err)
	}
	if err := plane.setupExposedHosts(mgr, members, hosts); err != nil {
		return fmt.Errorf("set up ExposedHosts: %w", err)
	}
	if err := plane.setupDNS(mgr, namespace); err != nil {
		return fmt.Errorf("set up DNS records: %w", err)
	}
	if err := mgr.Add(publishMetrics(mgr)); err != nil {
		return fmt.Errorf("add the metrics: %w", err)
	}
	return nil
}

// options returns the options of every controller. Controller names are not checked to
// be unique, since a process may run one manager after another. Retries are frequent, so
// that everything is reconciled soon after an outage of the edge cluster.
func options() controller.Options {
	skip := true
	return controller.Options{
		SkipNameValidation: &skip,
		RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFirst, retryCap),
	}
}

// clustersNamed returns every cluster that an ExposedHost names.
func clustersNamed(o client.Object) []string {
	eh := o.(*v1alpha1.ExposedHost)
	var names []string
	if eh.Spec.Holder != "" {
		names = append(names, eh.Spec.Holder)
	}
	for _, b := range eh.Spec.Backends {
		if b.Cluster != "" {
			names = append(names, b.Cluster)
		}
	}
	for _, s := range eh.Status.Sources {
		names = append(names, s.Cluster)
	}
	for _, r := range eh.Status.Rivals {
		names = append(names, r.Cluster)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// logUnread logs that an event handler could not read the cache of the edge cluster. It
// ignores the errors of a cache that has not started or has stopped: every object is
// reconciled at the next start. Any other error is a defect.
func logUnread(ctx context.Context, err error) {
	if _, notStarted := errors.AsType[*cache.ErrCacheNotStarted](err); !notStarted && ctx.Err() == nil {
		ctrl.Log.WithName("edge").Error(err, "Cannot read the cache, so that a change may be missed")
	}
}

// namesOfCluster returns the ExposedHosts that name a cluster.
func namesOfCluster(ctx context.Context, reader client.Reader, cluster string) []string {
	return namesListed(ctx, reader, client.MatchingFields{indexCluster: cluster})
}

// namesListed returns the names of the ExposedHosts that a list has.
func namesListed(ctx context.Context, reader client.Reader, options ...client.ListOption) []string {
	var list v1alpha1.ExposedHostList
	if err := reader.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		logUnread(ctx, err)
		return nil
	}
	names := make([]string, len(list.Items))
	for i := range list.Items {
		names[i] = list.Items[i].Name
	}
	return names
}

func namesOfHosts(hosts []string) []string {
	names := make([]string, len(hosts))
	for i, host := range hosts {
		names[i] = v1alpha1.NameOfHost(host)
	}
	return names
}

func requestsFor(names []string) []reconcile.Request {
	requests := make([]reconcile.Request, len(names))
	for i, name := range names {
		requests[i] = requestFor(name)
	}
	return requests
}

// everyCluster returns all MemberClusters.
func everyCluster(ctx context.Context, reader client.Reader) []reconcile.Request {
	clusters, err := listClusters(ctx, reader)
	if err != nil {
		logUnread(ctx, err)
		return nil
	}
	return requestsFor(slices.Collect(maps.Keys(clusters)))
}

// servesOtherwise reports whether a change of a MemberCluster affects the hosts that it
// serves.
func servesOtherwise(e event.UpdateEvent) bool {
	before, after := e.ObjectOld.(*v1alpha1.MemberCluster), e.ObjectNew.(*v1alpha1.MemberCluster)
	return before.Generation != after.Generation || !equality.Semantic.DeepEqual(before.Status.Ingress, after.Status.Ingress) ||
		!equality.Semantic.DeepEqual(before.Status.Gateways, after.Status.Gateways) ||
		before.Annotations[v1alpha1.AnnotationDrain] != after.Annotations[v1alpha1.AnnotationDrain]
}

// refusedOtherwise reports whether the refused addresses of a MemberCluster have changed.
func refusedOtherwise(e event.UpdateEvent) bool {
	return addressRefusal(e.ObjectOld.(*v1alpha1.MemberCluster)) != addressRefusal(e.ObjectNew.(*v1alpha1.MemberCluster))
}

// acceptedOf returns an ExposedHost's Accepted condition; the zero value if it has none.
func acceptedOf(o client.Object) metav1.Condition {
	if c := meta.FindStatusCondition(o.(*v1alpha1.ExposedHost).Status.Conditions, v1alpha1.ConditionAccepted); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// isAccepted reports whether an ExposedHost is accepted.
func isAccepted(o client.Object) bool {
	return meta.IsStatusConditionTrue(o.(*v1alpha1.ExposedHost).Status.Conditions, v1alpha1.ConditionAccepted)
}
