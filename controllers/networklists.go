package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	// listsRetry is the pause after an error that does not show whether the edge cluster
	// has NetworkLists.
	listsRetry = time.Second
	// listsAgain is the pause while it has none that usher can read.
	listsAgain = 5 * time.Second
	// listsTimeout is how long such errors may delay the start. It is shorter than the
	// time that a controller waits for its sources, 2 minutes.
	listsTimeout = time.Minute
)

// listChanged enqueues what depends on a NetworkList. An empty name stands for all lists.
type listChanged func(ctx context.Context, queue hostQueue, name string, change listChange)

// listChange is what has changed of a NetworkList.
type listChange int

const (
	listExists   listChange = iota // it was created or deleted
	listNetworks                   // it has other networks
)

// networkLists are the NetworkLists of the edge cluster, for one controller. They are also
// a source of that controller's requests.
//
// The edge cluster may lack the kind, or usher the permission to read it, for example
// after an upgrade of usher alone. An ordinary watch would then prevent the controller
// from starting. So the lists are requested once before they are watched: while they
// cannot be read, the controller works without any list, and they are requested again.
type networkLists struct {
	api     client.Reader // of the API server itself
	cache   cache.Cache
	log     logr.Logger
	changed listChanged

	first firstRead

	mu         sync.Mutex
	watched    bool   // the cache has the lists
	unreadable string // why they cannot be read
}

var _ source.SyncingSource = (*networkLists)(nil)

func newNetworkLists(mgr manager.Manager, controller string, changed listChanged) *networkLists {
	return &networkLists{
		api: mgr.GetAPIReader(), cache: mgr.GetCache(), changed: changed, first: newFirstRead(),
		log: mgr.GetLogger().WithName("edge").WithValues("controller", controller),
	}
}

// read returns the lists, which are shared with the cache and must not be changed. If they
// cannot be read, it returns none, and why.
func (l *networkLists) read(ctx context.Context) (lists []v1alpha1.NetworkList, unreadable string, err error) {
	l.mu.Lock()
	watched, unreadable := l.watched, l.unreadable
	l.mu.Unlock()
	if !watched {
		return nil, unreadable, nil
	}
	var all v1alpha1.NetworkListList
	if err := l.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, "", fmt.Errorf("list NetworkLists: %w", err)
	}
	return all.Items, "", nil
}

// Start implements source.Source. The controller calls it once.
func (l *networkLists) Start(ctx context.Context, queue hostQueue) error {
	go l.follow(ctx, queue)
	return nil
}

// WaitForSync implements source.SyncingSource: it waits until the lists have been read, or
// cannot be read.
func (l *networkLists) WaitForSync(ctx context.Context) error {
	return l.first.wait(ctx, "NetworkLists")
}

// String returns the name of the source for logs.
func (l *networkLists) String() string { return "NetworkLists" }

// follow requests the lists until they can be read, and then watches them until ctx ends.
func (l *networkLists) follow(ctx context.Context, queue hostQueue) {
	for began := time.Now(); ctx.Err() == nil; {
		pause := listsRetry
		kindsRead, err := l.request(ctx)
		switch {
		case err == nil:
			if err = l.watch(ctx, queue); err == nil {
				return
			}
			l.log.Error(err, "Cannot watch NetworkLists, and try again")
		case kindsRead && (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)):
			l.note(err, "the edge cluster has no kind NetworkList; install usher's CustomResourceDefinitions: kubectl apply -f charts/usher/crds")
			pause = listsAgain
		case kindsRead && apierrors.IsForbidden(err):
			l.note(err, "usher may not read NetworkLists; upgrade usher's roles")
			pause = listsAgain
		case kindsRead && time.Since(began) > listsTimeout:
			l.note(err, "usher cannot read NetworkLists; its log has the error")
		default:
			l.log.Error(err, "Cannot read NetworkLists, and ask again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// request requests the lists, and reports whether the other kinds have been read. It waits
// for them first, since an API server that has just started may answer any request with
// Forbidden or NotFound.
func (l *networkLists) request(ctx context.Context) (kindsRead bool, err error) {
	for _, kind := range []client.Object{&v1alpha1.ExposedHost{}, &v1alpha1.MemberCluster{}} {
		if _, err := l.cache.GetInformer(ctx, kind); err != nil {
			return false, err
		}
	}
	return true, l.api.List(ctx, &v1alpha1.NetworkListList{}, client.Limit(1))
}

// note records why the lists cannot be read, and logs it once.
func (l *networkLists) note(err error, unreadable string) {
	l.mu.Lock()
	before := l.unreadable
	l.unreadable = unreadable
	l.mu.Unlock()
	if before != unreadable {
		l.log.Error(err, "Cannot read NetworkLists: hosts that name one are refused", "because", unreadable)
	}
	l.first.done()
}

// watch adds the lists to the cache, and returns when it has them. Their changes are
// enqueued until ctx ends.
func (l *networkLists) watch(ctx context.Context, queue hostQueue) error {
	informer, err := l.cache.GetInformer(ctx, &v1alpha1.NetworkList{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	events, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { l.enqueue(ctx, queue, o, listExists) },
		UpdateFunc: func(before, after any) {
			if before.(client.Object).GetGeneration() != after.(client.Object).GetGeneration() {
				l.enqueue(ctx, queue, after, listNetworks)
			}
		},
		DeleteFunc: func(o any) { l.enqueue(ctx, queue, o, listExists) },
	})
	if err != nil {
		return err
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), events.HasSynced) {
		return nil // ctx has ended
	}
	l.mu.Lock()
	l.watched, l.unreadable = true, ""
	l.mu.Unlock()
	l.first.done()
	l.changed(ctx, queue, "", listExists) // requests that came before were handled without the lists
	return nil
}

// enqueue enqueues what depends on a list of an event.
func (l *networkLists) enqueue(ctx context.Context, queue hostQueue, o any, change listChange) {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if list, ok := o.(client.Object); ok {
		l.changed(ctx, queue, list.GetName(), change)
	}
}
