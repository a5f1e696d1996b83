package member

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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

	"github.com/jovalle/usher/controllers/informer"
	"github.com/jovalle/usher/controllers/message"
)

// session is one connection to a member's API server, and the cache that it fills.
type session struct {
	config    Config
	client    *http.Client
	discovery *discovery.DiscoveryClient
	cluster   cluster.Cluster
	stop      context.CancelFunc
	life      <-chan struct{} // closed by stop
	stopped   chan struct{}   // closed when the cache has ended

	changed func(kind, []client.Object) // called with an object's old and new state

	settling sync.WaitGroup // of the goroutines that wait for kinds that arrived late

	mu      sync.Mutex
	running map[schema.GroupVersionKind]cache.Informer // what is watched now
	failing map[schema.GroupVersionKind]failing        // the kinds whose latest list or start of a watch failed
}

// newSession prepares a connection and dials nothing yet.
func newSession(config Config, changed func(kind, []client.Object)) (*session, error) {
	restConfig := fresh(config.REST)
	httpClient, err := rest.HTTPClientFor(restConfig)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	s := &session{config: config, client: httpClient, changed: changed,
		running: map[schema.GroupVersionKind]cache.Informer{}, failing: map[schema.GroupVersionKind]failing{}}
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
		DefaultTransform:            trim,
		NewInformer:                 informer.New(s.asked),
		ReaderFailOnMissingInformer: true, // a read never starts a watch
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {
				Namespaces: map[string]cache.Config{s.config.Service.Namespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", s.config.Service.Name),
			},
		},
	}
}

// asked notes the outcome of a list or of a watch's start. The informer tries
// again by itself until it succeeds.
func (s *session) asked(object runtime.Object, err error) {
	gvk, _ := apiutil.GVKForObject(object, scheme) // only kinds of the scheme are watched
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failing, gvk)
		return
	}
	since := time.Now()
	if before, known := s.failing[gvk]; known {
		since = before.since
	}
	s.failing[gvk] = failing{since, fmt.Errorf("%s: %w", gvk.Kind, err)}
}

// failing is why a kind cannot be read, and since when.
type failing struct {
	since time.Time
	err   error
}

// start runs the cache until close.
func (s *session) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.life = ctx.Done()
	s.stopped = make(chan struct{})
	go func() {
		defer close(s.stopped)
		_ = s.cluster.Start(ctx) // a cache's Start fails only when it is started twice
	}()
}

// close ends the cache and its connections, and waits for it.
func (s *session) close() {
	s.stop()
	<-s.stopped
	s.settling.Wait()
	utilnet.CloseIdleConnectionsFor(s.client.Transport)
}

// probe asks the API server for its version.
func (s *session) probe(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	info, err := s.discovery.ServerVersionWithContext(ctx)
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

// served returns the kinds to watch: those that the cluster serves. Only the API
// server's own word that it does not know a group leaves its kinds out, and only
// once it is ready: while it starts, it does not know its CRDs.
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
		if _, asked := byGroup[gv]; !asked {
			var err error
			if byGroup[gv], err = s.kindsOf(ctx, gv); err != nil {
				return nil, fmt.Errorf("discover %s: %w", gv, err)
			}
		}
		if slices.Contains(byGroup[gv], k.gvk.Kind) {
			served = append(served, k)
		}
	}
	return served, nil
}

// ready fails while the API server says that it is not. Where the question is not
// allowed, it counts as ready.
func (s *session) ready(ctx context.Context) error {
	_, err := s.discovery.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// kindsOf returns the kinds of an API group's version; none where the cluster does not serve it.
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

// follow watches exactly the given kinds: it starts what is new, which it
// returns, and ends what is gone.
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
		case runs && !wanted:
			if err := s.unwatch(ctx, k); err != nil {
				return nil, err
			}
		}
	}
	return started, nil
}

// watch starts to follow a kind.
func (s *session) watch(ctx context.Context, k kind) error {
	objects := s.cluster.GetCache()
	if k.claims != nil {
		if err := objects.IndexField(ctx, k.object, indexClaims, indexKeys(k)); err != nil {
			return fmt.Errorf("index %s: %w", k.gvk.Kind, err)
		}
	}
	informer, err := objects.GetInformer(ctx, k.object, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch %s: %w", k.gvk.Kind, err)
	}
	if _, err := informer.AddEventHandler(s.handler(k)); err != nil {
		return fmt.Errorf("watch %s: %w", k.gvk.Kind, err)
	}
	s.mu.Lock()
	s.running[k.gvk] = informer
	s.mu.Unlock()
	return nil
}

// unwatch forgets a kind that the cluster no longer serves: its objects went with it.
func (s *session) unwatch(ctx context.Context, k kind) error {
	if err := s.cluster.GetCache().RemoveInformer(ctx, k.object); err != nil {
		return fmt.Errorf("stop watching %s: %w", k.gvk.Kind, err)
	}
	s.mu.Lock()
	delete(s.running, k.gvk)
	delete(s.failing, k.gvk)
	s.mu.Unlock()
	s.changed(k, nil)
	return nil
}

// tellWhenRead tells of all objects of kinds that were started late, once they
// have been read: until then no claim of theirs is known.
func (s *session) tellWhenRead(started []kind) {
	for _, k := range started {
		s.settling.Go(func() {
			if toolscache.WaitForCacheSync(s.life, func() bool { return s.reads(k) }) {
				s.changed(k, nil)
			}
		})
	}
}

// synced reports whether all that is watched has been read.
func (s *session) synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, informer := range s.running {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// problem returns why a kind cannot be listed or watched, for so long without a
// success, or nil.
func (s *session) problem(lasting time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		if f, fails := s.failing[k.gvk]; fails && time.Since(f.since) >= lasting {
			return f.err
		}
	}
	return nil
}

// inSync is the condition of a member whose sources are followed. It names the kinds
// that the cluster does not serve: their CRDs may be missing by mistake.
func (s *session) inSync() Condition {
	var read, missing []string
	for _, k := range sources {
		if s.follows(k) && !slices.Contains(read, k.gvk.Kind) {
			read = append(read, k.gvk.Kind)
		}
	}
	for _, k := range sources {
		if !slices.Contains(read, k.gvk.Kind) && !slices.Contains(missing, k.gvk.Kind) {
			missing = append(missing, k.gvk.Kind)
		}
	}
	said := "read and followed: " + strings.Join(read, ", ")
	if len(missing) > 0 {
		said += "; to publish any of these too, install its CRD in the cluster: " + strings.Join(missing, ", ")
	}
	return Condition{True: true, Reason: ReasonSynced, Message: message.Bound(said)}
}

// wants reports whether a kind is of use, given the kinds served that stand before it.
func (s *session) wants(k kind, served []kind) bool {
	switch k.gvk {
	case serviceKind.gvk:
		return s.config.Service.Name != ""
	case namespaceKind.gvk: // asked by Gateways' listeners only
		return slices.ContainsFunc(served, func(o kind) bool { return o.gvk == gatewayKind.gvk })
	}
	return true
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
	informer, ok := s.running[k.gvk]
	s.mu.Unlock()
	return ok && informer.HasSynced()
}

// handler tells events of a kind.
func (s *session) handler(k kind) toolscache.ResourceEventHandler {
	tell := func(events ...any) {
		objects := make([]client.Object, 0, len(events))
		for _, event := range events {
			if o := object(event); o != nil {
				objects = append(objects, o)
			}
		}
		s.changed(k, objects)
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(o) },
		UpdateFunc: func(old, o any) { tell(old, o) },
		DeleteFunc: func(o any) { tell(o) },
	}
}
