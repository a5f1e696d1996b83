package member

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
)

// session is one connection to a member's API server, and the cache that it fills.
type session struct {
	config    Config
	client    *http.Client
	discovery *discovery.DiscoveryClient
	cluster   cluster.Cluster
	stop      context.CancelFunc
	stopped   chan struct{} // closed when the cache has ended

	changed func(kind, []client.Object) // called with an object's old and new state

	mu      sync.Mutex
	running map[schema.GroupVersionKind]cache.Informer // what is watched now
	problem error                                      // the latest error of a list or watch; nil after a sync
}

// newSession prepares a connection and dials nothing yet.
func newSession(config Config, changed func(kind, []client.Object)) (*session, error) {
	restConfig := fresh(config.REST)
	httpClient, err := rest.HTTPClientFor(restConfig)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	s := &session{config: config, client: httpClient, changed: changed, running: map[schema.GroupVersionKind]cache.Informer{}}
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
		DefaultWatchErrorHandler:    s.watchFailed,
		ReaderFailOnMissingInformer: true, // a read never starts a watch
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}: {
				Namespaces: map[string]cache.Config{s.config.Service.Namespace: {}},
				Field:      fields.OneTermEqualSelector("metadata.name", s.config.Service.Name),
			},
		},
	}
}

// watchFailed notes why a list or a watch failed; the reflector tries again by itself.
func (s *session) watchFailed(_ context.Context, r *toolscache.Reflector, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !apierrors.IsResourceExpired(err) {
		s.problem = fmt.Errorf("%s: %w", r.TypeDescription(), err)
	}
}

// start runs the cache until close.
func (s *session) start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
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
// server's own word that it does not know a group leaves its kinds out.
func (s *session) served(ctx context.Context) ([]kind, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
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

// follow watches exactly the given kinds: it starts what is new and ends what is gone.
func (s *session) follow(ctx context.Context, served []kind) error {
	for _, k := range kinds {
		wanted := slices.ContainsFunc(served, func(o kind) bool { return o.gvk == k.gvk })
		runs := s.follows(k)
		switch {
		case wanted && !runs:
			if err := s.watch(ctx, k); err != nil {
				return err
			}
		case runs && !wanted:
			if err := s.unwatch(ctx, k); err != nil {
				return err
			}
		}
	}
	return nil
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
	s.mu.Unlock()
	s.changed(k, nil)
	return nil
}

// synced reports whether all that is watched has been read, and else the latest error.
func (s *session) synced() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, informer := range s.running {
		if !informer.HasSynced() {
			return false, s.problem
		}
	}
	return true, nil
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
