package member

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// session is one connection to a member's API server, with its cache.
type session struct {
	config    Config
	client    *http.Client
	discovery *discovery.DiscoveryClient // nil: the member is a Traefik without Kubernetes
	cluster   cluster.Cluster            // nil as discovery
	routers   *routers                   // nil unless discovery is
	stop      context.CancelFunc
	life      <-chan struct{} // closed by stop
	serves    chan struct{}   // closed when all has been read, and the session serves

	listener listener
	reader   *reader   // only its goroutine changes names, marks and readings
	names    *names    // hosts that all objects name
	marks    *marks    // objects that use isolating TLS options without the annotation
	readings *readings // claims of the annotated objects

	holdings *holdings
	gateways gatewayCache
	unread   unreadObjects

	annotations sharedAnnotations
	listing     chan struct{} // has one element while a page of a list is read
	ending      sync.Once     // of exceed
	exceeded    chan struct{} // closed when the member has sent too much
	tooLarge    error         // the reason; set before exceeded is closed

	toRead     *int           // backlog of the reader when all objects had been read once; nil before that
	goroutines sync.WaitGroup // the cache, the reader, and waits for kinds that were served later

	mu      sync.Mutex
	running map[schema.GroupVersionKind]watched // what is watched now
	stores  map[schema.GroupVersionKind]toolscache.Store
	failing map[schema.GroupVersionKind]failing // kinds whose latest list or watch request failed
	denied  map[schema.GroupVersionKind]denial  // kinds that the member can be in sync without, and to which access was denied

	traefikKinds traefikKinds
	detected     Traefik            // without the rule syntax of the MemberCluster
	ports        map[int32][]string // port of the Service → entry points

	detecting sync.Mutex // held while detected is computed
}

// listener is notified of changes that a session reads. The session's goroutines call
// its methods, so that these must not wait for the session.
type listener interface {
	// rules returns the rules of the MemberCluster for its sources.
	rules() Rules
	// hostsChanged is called with the hosts whose claims, or whose Beside, have changed.
	// The list may be empty or have duplicates.
	hostsChanged(s *session, hosts []string)
	// allChanged is called when any claim may have changed.
	allChanged(s *session)
	// stateChanged is called when the refusals or the watched Service have changed.
	stateChanged(s *session)
}

// watched is a kind whose objects are read.
type watched struct {
	hasSynced func() bool // reports whether the handler got all objects of the first list
}

// newSession prepares a session. It does not connect yet.
func newSession(config Config, limits Limits, l listener) (*session, error) {
	s := &session{config: config, listener: l, names: newNames(), marks: newMarks(), readings: newReadings(limits), listing: make(chan struct{}, 1), serves: make(chan struct{}), exceeded: make(chan struct{}),
		running: map[schema.GroupVersionKind]watched{}, stores: map[schema.GroupVersionKind]toolscache.Store{}, failing: map[schema.GroupVersionKind]failing{}, denied: map[schema.GroupVersionKind]denial{}}
	s.reader = newReader(s)
	s.gateways.compute = s.knownGateways
	s.holdings = newHoldings(s.exceed)
	if config.Traefik != nil {
		s.routers = newRouters(s)
		s.client = s.routers.client
		return s, nil
	}
	restConfig := unshared(config.REST)
	watches := rate.NewLimiter(watchRate, watchBurst)
	restConfig.Wrap(func(next http.RoundTripper) http.RoundTripper { return &boundedTransport{next, s.exceed, watches} })
	httpClient, err := rest.HTTPClientFor(restConfig)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	s.client = httpClient
	if s.discovery, err = discovery.NewDiscoveryClientForConfigAndClient(restConfig, httpClient); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	s.cluster, err = cluster.New(restConfig, func(o *cluster.Options) {
		o.Scheme, o.HTTPClient, o.Cache = scheme, httpClient, s.cacheOptions()
		o.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper, nil }
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	return s, nil
}

func (s *session) cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform:            s.trim,
		NewInformer:                 s.newInformer,
		ReaderFailOnMissingInformer: true, // a read never starts a watch
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {
				Namespaces: map[string]cache.Config{s.config.Service.Namespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", s.config.Service.Name),
			},
		},
	}
}

// recordRequest records the result of a list or watch request. The informer tries
// again by itself until it succeeds.
func (s *session) recordRequest(object runtime.Object, err error) {
	gvk, _ := apiutil.GVKForObject(object, scheme) // only kinds of the scheme are watched
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failing, gvk)
		delete(s.denied, gvk)
		return
	}
	since := time.Now()
	if before, known := s.failing[gvk]; known {
		since = before.since
	}
	s.failing[gvk] = failing{since, fmt.Errorf("%s: %w", gvk.Kind, err)}
	if k, ok := kindWith(gvk); ok && apierrors.IsForbidden(err) && (s.optional(k) || k.added && !s.readBefore(gvk)) {
		s.denied[gvk] = denial{time.Now(), err}
	}
}

// denial is when and how access to a kind was denied.
type denial struct {
	at  time.Time
	err error
}

// readBefore reports whether all objects of a kind have been listed. The caller holds s.mu.
func (s *session) readBefore(gvk schema.GroupVersionKind) bool {
	w, ok := s.running[gvk]
	return ok && w.hasSynced()
}

// failing is the reason why a kind cannot be read, and the time since when.
type failing struct {
	since time.Time
	err   error
}

// start runs the cache until close.
func (s *session) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.life = ctx.Done()
	s.goroutines.Go(func() { s.reader.run(s.life) })
	if s.routers != nil {
		return
	}
	s.goroutines.Go(func() { _ = s.cluster.Start(ctx) }) // a cache's Start fails only when it is started twice
	s.goroutines.Go(func() {
		select {
		case <-s.serves:
			s.listUnread(ctx)
		case <-ctx.Done():
		}
	})
}

// close stops the cache and the reader, waits for them, and closes the connections.
func (s *session) close() {
	s.stop()
	s.goroutines.Wait()
	utilnet.CloseIdleConnectionsFor(s.client.Transport)
}

// probe requests the API server's version.
func (s *session) probe(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	info, err := s.discovery.ServerVersionWithContext(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%.*s", maxVersion, info.GitVersion), nil
}

// served returns the kinds to watch: those that the cluster serves. Kinds are left out
// only if the API server is ready and answers that it does not serve their group: while
// it starts, it does not know its CRDs yet.
func (s *session) served(ctx context.Context) ([]kind, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	byGroup := map[schema.GroupVersion][]string{} // group and version → kinds
	var served []kind
	for _, k := range kinds {
		if !s.wants(k, served) {
			continue
		}
		gv := k.gvk.GroupVersion()
		if _, known := byGroup[gv]; !known {
			var err error
			if byGroup[gv], err = s.kindsOf(ctx, gv); err != nil {
				return nil, fmt.Errorf("discover %s: %w", gv, err)
			}
		}
		switch {
		case !slices.Contains(byGroup[gv], k.gvk.Kind):
			s.mu.Lock()
			delete(s.denied, k.gvk)
			s.mu.Unlock()
		case !s.deniedRecently(k):
			served = append(served, k)
		}
	}
	return served, nil
}

// ready fails while the API server is not ready. If the account may not request
// /readyz, or there is none, the API server counts as ready.
func (s *session) ready(ctx context.Context) error {
	_, err := s.discovery.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// kindsOf returns the kinds of an API group's version; none if the cluster does not
// serve it.
func (s *session) kindsOf(ctx context.Context, gv schema.GroupVersion) ([]string, error) {
	resources, err := s.discovery.ServerResourcesForGroupVersionWithContext(ctx, gv.String())
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	names := make([]string, len(resources.APIResources))
	for i, r := range resources.APIResources {
		names[i] = r.Kind
	}
	return names, nil
}

// follow watches exactly the given kinds. It starts the watches of new kinds, stops
// those of other kinds, and returns the started kinds.
func (s *session) follow(ctx context.Context, served []kind) (started []kind, err error) {
	for _, k := range kinds {
		wanted := slices.ContainsFunc(served, func(o kind) bool { return o.gvk == k.gvk })
		runs := s.follows(k)
		switch {
		case wanted && !runs:
			if err := s.watch(ctx, k); err != nil {
				return nil, err
			}
			started = append(started, k)
		case runs && !wanted && !s.awaitsVersion(k, served):
			if err := s.unwatch(ctx, k); err != nil {
				return nil, err
			}
		}
	}
	return started, nil
}

// awaitsVersion reports whether another version of a kind will be watched, but has not
// been read yet. Until then the claims of this one count.
func (s *session) awaitsVersion(k kind, served []kind) bool {
	return slices.ContainsFunc(served, func(o kind) bool { return o.otherVersion(k) && !s.reads(o) })
}

// watch starts the informer of a kind.
func (s *session) watch(ctx context.Context, k kind) error {
	informer, err := s.cluster.GetCache().GetInformer(ctx, k.object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %s: %w", k.gvk.Kind, err)
	}
	registration, err := informer.AddEventHandler(s.handler(k))
	if err != nil {
		return fmt.Errorf("watch %s: %w", k.gvk.Kind, err)
	}
	s.mu.Lock()
	s.running[k.gvk] = watched{registration.HasSynced}
	s.mu.Unlock()
	return nil
}

// unwatch stops the informer of a kind that the cluster no longer serves, and forgets
// its objects: they were deleted with the CRD.
func (s *session) unwatch(ctx context.Context, k kind) error {
	if err := s.cluster.GetCache().RemoveInformer(ctx, k.object); err != nil {
		return fmt.Errorf("stop watching %s: %w", k.gvk.Kind, err)
	}
	s.mu.Lock()
	delete(s.running, k.gvk)
	delete(s.stores, k.gvk)
	delete(s.failing, k.gvk)
	s.mu.Unlock()
	if kind := kindIndex(k.gvk); kind >= 0 {
		s.reader.forget(kind)
	} else {
		s.referredChanged(k)
	}
	return nil
}

// notifyWhenRead reports all objects of kinds that were served later, once they have
// been read. Until then their claims are unknown.
func (s *session) notifyWhenRead(started []kind) {
	for _, k := range started {
		s.goroutines.Go(func() {
			if toolscache.WaitForCacheSync(s.life, func() bool { return s.reads(k) }) {
				s.listener.allChanged(s)
			}
		})
	}
}

// synced reports whether all watched objects have been read. One goroutine only may
// call it.
func (s *session) synced() bool {
	for _, k := range kinds {
		if s.follows(k) && !s.reads(k) && !s.dispensable(k) {
			return false
		}
	}
	// An object that was read before those that it refers to is read again. Wait for this.
	added, read, ok := s.reader.backlog()
	if ok && s.toRead == nil {
		s.toRead = &added
	}
	return s.toRead != nil && read >= *s.toRead
}

// problem returns an error if listing or watching a kind has failed for at least
// lasting, else nil.
func (s *session) problem(lasting time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		_, denied := s.denied[k.gvk]
		if f, fails := s.failing[k.gvk]; fails && time.Since(f.since) >= lasting && !s.optional(k) && !denied {
			return f.err
		}
	}
	return nil
}

// inSync returns the condition of a member whose sources are watched. Its message names
// the kinds that the cluster does not serve: their CRDs may be missing by mistake.
func (s *session) inSync() Condition {
	if s.routers != nil {
		return Condition{True: true, Reason: reason.Synced, Message: "the routers of Traefik's API are read and followed"}
	}
	var read, missing []string
	for _, k := range sources {
		if s.follows(k) && !slices.Contains(read, k.gvk.Kind) {
			read = append(read, k.gvk.Kind)
		}
	}
	denied, why := s.deniedKinds()
	for _, k := range sources {
		if kind := k.gvk.Kind; !k.polled && !slices.Contains(read, kind) && !slices.Contains(missing, kind) && !slices.Contains(denied, kind) {
			missing = append(missing, kind)
		}
	}
	text := "read and followed: " + strings.Join(read, ", ")
	if len(missing) > 0 {
		text += "; to publish any of these too, install its CRD in the cluster: " + strings.Join(missing, ", ")
	}
	if len(denied) > 0 {
		text += message.Format("; the kubeconfig's user may not read %s, so add the cluster again to renew its role: %s", strings.Join(denied, ", "), message.Of(why))
	}
	return Condition{True: true, Reason: reason.Synced, Message: message.Bound(text)}
}

// wants reports whether a kind should be watched, given the served kinds that precede it
// in kinds.
func (s *session) wants(k kind, served []kind) bool {
	if k.polled {
		return false
	}
	switch k.gvk {
	case serviceKind.gvk:
		return s.config.Service.Name != ""
	case namespaceKind.gvk: // only listeners of Gateways refer to it
		return slices.ContainsFunc(served, func(o kind) bool { return o.gvk == gatewayKind.gvk })
	}
	return !slices.ContainsFunc(served, k.otherVersion)
}

// deniedAgain is how long a kind is not watched after the member denied access to it, if
// the member can be in sync without it.
const deniedAgain = 5 * time.Minute

// deniedRecently reports whether access to a kind was denied less than deniedAgain ago.
func (s *session) deniedRecently(k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, denied := s.denied[k.gvk]
	return denied && time.Since(d.at) < deniedAgain
}

// deniedKinds returns the names of the added kinds that are served and may not be read,
// and the first reason.
func (s *session) deniedKinds() (names []string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		if d, denied := s.denied[k.gvk]; denied && k.added {
			names, why = append(names, k.gvk.Kind), cmp.Or(why, d.err)
		}
	}
	return names, why
}

// optional reports whether a member can be in sync without a kind.
func (s *session) optional(k kind) bool {
	return k.gvk == serviceKind.gvk && s.config.ServiceOptional
}

// dispensable reports whether the member can be in sync without a kind that cannot be
// read at the moment.
func (s *session) dispensable(k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, fails := s.failing[k.gvk]
	_, denied := s.denied[k.gvk]
	return fails && (s.optional(k) || denied)
}

// follows reports whether a kind is watched now.
func (s *session) follows(k kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.running[k.gvk]
	return ok
}

// reads reports whether a kind is watched, and its objects have been read.
func (s *session) reads(k kind) bool {
	s.mu.Lock()
	w, ok := s.running[k.gvk]
	s.mu.Unlock()
	return ok && w.hasSynced() && s.reader.hasRead(kindIndex(k.gvk))
}

// store returns the cache of a kind's objects; nil if the kind is not watched.
func (s *session) store(k kind) toolscache.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stores[k.gvk]
}

// handler returns the handler of a kind's events. It queues changed sources for the
// reader. For a kind that sources refer to, it queues the sources that the change
// affects.
func (s *session) handler(k kind) toolscache.ResourceEventHandler {
	kind := kindIndex(k.gvk)
	enqueue := func(before, after client.Object, first bool) {
		if kind < 0 {
			s.referredChanged(k)
			return
		}
		o := after
		if o == nil {
			o = before
		}
		if o != nil {
			s.reader.changed(sourceID{kind, client.ObjectKeyFromObject(o)}, before, after, first)
		}
	}
	// keep counts an object again, although the transform has counted it: if an object
	// was deleted and created again, the event of the deletion arrives after the
	// transform and subtracts the new object.
	keep := func(o client.Object) {
		if o != nil {
			_ = s.holdings.keep(k.gvk, o) // too much ends the session
		}
	}
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(o any, first bool) {
			keep(object(o))
			enqueue(nil, object(o), first)
		},
		UpdateFunc: func(old, o any) {
			keep(object(o))
			if !readsSame(object(old), object(o)) {
				enqueue(object(old), object(o), false)
			}
		},
		DeleteFunc: func(o any) {
			gone := object(o)
			if gone != nil {
				s.holdings.drop(k.gvk, gone)
			}
			enqueue(gone, nil, false)
		},
	}
}

// referredChanged has read again what refers to objects of a kind that claims nothing itself.
func (s *session) referredChanged(k kind) {
	switch k.gvk {
	case serviceKind.gvk:
		s.detect()
		s.gatewaysChanged()
		s.listener.stateChanged(s)
	case ingressClassKind.gvk:
		s.reader.readKindsAgain(kindIndex(networkingv1.SchemeGroupVersion.WithKind(source.KindIngress)))
	default: // Gateways, their ListenerSets, and the namespaces that they select
		s.gatewaysChanged()
	}
}

// all returns all sources in the cache.
func (s *session) all() []sourceID {
	var ids []sourceID
	for kind, k := range sources {
		store := s.store(k)
		if store == nil {
			continue
		}
		for _, o := range store.List() {
			ids = append(ids, sourceID{kind, client.ObjectKeyFromObject(o.(client.Object))})
		}
	}
	return ids
}
