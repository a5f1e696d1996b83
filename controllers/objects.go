package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Objects are the ExposedHosts and MemberClusters of the edge cluster, as the cache of the
// current manager has them. Its zero value has none. Any goroutine may use it.
type Objects struct {
	reader  atomic.Pointer[client.Reader]
	changes atomic.Uint64
}

// errNotRead means that no manager has read the edge cluster yet.
var errNotRead = errors.New("the edge cluster has not been read yet")

// Follow uses the cache of a manager from now on. It must be called before the manager
// starts.
func (o *Objects) Follow(ctx context.Context, mgr manager.Manager) error {
	count := func() { o.changes.Add(1) }
	changed := toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { count() },
		UpdateFunc: func(any, any) { count() },
		DeleteFunc: func(any) { count() },
	}
	for _, kind := range []client.Object{&v1alpha1.ExposedHost{}, &v1alpha1.MemberCluster{}} {
		informer, err := mgr.GetCache().GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		if _, err := informer.AddEventHandler(changed); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	reader := client.Reader(mgr.GetCache())
	o.reader.Store(&reader)
	count()
	return nil
}

// Changes returns a number that is another one after each change of an object.
func (o *Objects) Changes() uint64 { return o.changes.Load() }

// Read returns the objects. They are shared with the cache and must not be changed.
func (o *Objects) Read(ctx context.Context) ([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster, error) {
	reader := o.reader.Load()
	if reader == nil {
		return nil, nil, errNotRead
	}
	var hosts v1alpha1.ExposedHostList
	if err := (*reader).List(ctx, &hosts, client.UnsafeDisableDeepCopy); err != nil {
		if _, notStarted := errors.AsType[*cache.ErrCacheNotStarted](err); notStarted {
			err = errNotRead
		}
		return nil, nil, err
	}
	clusters, err := allClusters(ctx, *reader)
	return hosts.Items, clusters, err
}

// Host returns the ExposedHost of a host, or nil if there is none. It is shared with the
// cache and must not be changed.
func (o *Objects) Host(ctx context.Context, host string) (*v1alpha1.ExposedHost, error) {
	reader := o.reader.Load()
	if reader == nil {
		return nil, errNotRead
	}
	var eh v1alpha1.ExposedHost
	if err := (*reader).Get(ctx, client.ObjectKey{Name: v1alpha1.NameOfHost(host)}, &eh, client.UnsafeDisableDeepCopy); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return &eh, nil
}
