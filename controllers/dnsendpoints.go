package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/informer"
)

// dnsEndpoints are usher's own DNSEndpoints in its namespace of the edge cluster. They are
// also a source of requests: for the ExposedHosts that they belong to.
//
// The edge cluster may lack the kind, which is external-dns's, or usher the permission to
// read it, and both may come while usher runs. So they are requested once before they are
// watched, as NetworkLists are. They have a cache of their own, so that only one namespace
// is read, and nothing that usher has not written is kept.
type dnsEndpoints struct {
	api       client.Reader // of the API server itself
	hosts     cache.Cache   // of the manager
	config    *rest.Config
	http      *http.Client
	mapper    meta.RESTMapper
	namespace string
	log       logr.Logger
	// everyHost returns the names of all ExposedHosts.
	everyHost func(ctx context.Context) []string

	first firstRead

	mu          sync.Mutex
	cache       cache.Cache // nil until they have been read
	unavailable string      // why they cannot be read or written
	lastLost    string      // why they could not be written the last time

	lost chan struct{} // gets a value when they cannot be written
}

var _ source.SyncingSource = (*dnsEndpoints)(nil)

func newDNSEndpoints(mgr manager.Manager, namespace string) *dnsEndpoints {
	return &dnsEndpoints{
		api: mgr.GetAPIReader(), hosts: mgr.GetCache(), config: mgr.GetConfig(), http: mgr.GetHTTPClient(), mapper: mgr.GetRESTMapper(),
		namespace: namespace, log: mgr.GetLogger().WithName("dns"), first: newFirstRead(), lost: make(chan struct{}, 1),
		everyHost: func(ctx context.Context) []string { return namesListed(ctx, mgr.GetCache()) },
	}
}

// unread returns why DNSEndpoints cannot be read; empty if they can.
func (d *dnsEndpoints) unread() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.unavailable
}

// get returns a DNSEndpoint of usher by its name, which is shared with the cache and must
// not be changed; nil if there is none.
func (d *dnsEndpoints) get(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	d.mu.Lock()
	reader := d.cache
	d.mu.Unlock()
	if reader == nil {
		return nil, errors.New("the DNSEndpoints have not been read yet")
	}
	endpoint := emptyEndpoint()
	err := reader.Get(ctx, client.ObjectKey{Namespace: d.namespace, Name: name}, endpoint, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return endpoint, err
}

func emptyEndpoint() *unstructured.Unstructured {
	endpoint := &unstructured.Unstructured{}
	endpoint.SetGroupVersionKind(dnsrecord.Kind)
	return endpoint
}

func emptyEndpoints() *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(dnsrecord.Kind.GroupVersion().WithKind(dnsrecord.Kind.Kind + "List"))
	return list
}

// Start implements source.Source. The controller calls it once.
func (d *dnsEndpoints) Start(ctx context.Context, queue hostQueue) error {
	go d.follow(ctx, queue)
	return nil
}

// WaitForSync implements source.SyncingSource: it waits until the DNSEndpoints have been
// read, or cannot be read.
func (d *dnsEndpoints) WaitForSync(ctx context.Context) error {
	return d.first.wait(ctx, "DNSEndpoints")
}

// String returns the name of the source for logs.
func (d *dnsEndpoints) String() string { return "DNSEndpoints" }

// follow requests the DNSEndpoints until they can be read, and watches them until ctx ends.
// When they are lost, it requests them again.
func (d *dnsEndpoints) follow(ctx context.Context, queue hostQueue) {
	for began := time.Now(); ctx.Err() == nil; {
		pause := listsRetry
		kindsRead, err := d.request(ctx)
		switch why := unavailable(err); {
		case err == nil:
			if err = d.watch(ctx, queue); err != nil {
				d.log.Error(err, "Cannot watch DNSEndpoints, and try again")
				break
			}
			select {
			case <-ctx.Done():
			case <-d.lost:
			}
			pause = listsAgain
		case kindsRead && why != "":
			d.note(ctx, queue, err, why)
			pause = listsAgain
		case kindsRead && time.Since(began) > listsTimeout:
			d.note(ctx, queue, err, "usher cannot read DNSEndpoints; its log has the error")
		default:
			d.log.Error(err, "Cannot read DNSEndpoints, and ask again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// lose records that DNSEndpoints cannot be written, so that not every host tries to. All
// hosts are enqueued when it may be possible again.
func (d *dnsEndpoints) lose(err error, why string) {
	d.mu.Lock()
	first := d.unavailable == ""
	said := d.lastLost == why
	d.unavailable, d.lastLost = why, why
	d.mu.Unlock()
	if first && !said {
		d.log.Error(err, "Cannot write DNSEndpoints: no DNS record is made", "because", why)
	}
	select {
	case d.lost <- struct{}{}:
	default:
	}
}

// unavailable returns why an error of a request means that usher cannot use DNSEndpoints;
// empty for another error.
func unavailable(err error) string {
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return "the edge cluster has no kind DNSEndpoint; install external-dns with its CustomResourceDefinitions"
	case apierrors.IsForbidden(err):
		return "usher may not read and write DNSEndpoints in its namespace; upgrade usher's roles, of the chart with its values dns.target or dns.internalTarget"
	}
	return ""
}

// request requests the DNSEndpoints, and reports whether ExposedHosts have been read. It
// waits for them first, since an API server that has just started may answer any request
// with Forbidden or NotFound.
func (d *dnsEndpoints) request(ctx context.Context) (kindsRead bool, err error) {
	if _, err := d.hosts.GetInformer(ctx, &v1alpha1.ExposedHost{}); err != nil {
		return false, err
	}
	return true, d.api.List(ctx, emptyEndpoints(), client.InNamespace(d.namespace), client.Limit(1))
}

// note records why the DNSEndpoints cannot be read, logs it once, and enqueues the hosts,
// whose conditions say so.
func (d *dnsEndpoints) note(ctx context.Context, queue hostQueue, err error, why string) {
	d.mu.Lock()
	before := d.unavailable
	d.unavailable = why
	d.mu.Unlock()
	d.first.done()
	if before != why {
		d.log.Error(err, "Cannot use DNSEndpoints: no DNS record is made", "because", why)
		enqueueHosts(queue, d.everyHost(ctx))
	}
}

func enqueueHosts(queue hostQueue, names []string) {
	for _, name := range names {
		queue.Add(requestFor(name))
	}
}

// watch starts the cache of the DNSEndpoints, unless it runs, and returns when it has them.
// Their changes are enqueued until ctx ends. Then it enqueues all hosts: requests that came
// before were handled without DNSEndpoints.
func (d *dnsEndpoints) watch(ctx context.Context, queue hostQueue) error {
	d.mu.Lock()
	own := d.cache
	d.mu.Unlock()
	if own == nil {
		var err error
		if own, err = d.start(ctx, queue); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.cache, d.unavailable = own, ""
	d.mu.Unlock()
	d.first.done()
	enqueueHosts(queue, d.everyHost(ctx))
	enqueueHosts(queue, d.everyOwner(ctx, own))
	return nil
}

// everyOwner returns the names of the ExposedHosts that have a DNSEndpoint. Some may not
// exist any more.
func (d *dnsEndpoints) everyOwner(ctx context.Context, reader client.Reader) []string {
	list := emptyEndpoints()
	if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		logUnread(ctx, err)
		return nil
	}
	var owners []string
	for i := range list.Items {
		if owner := dnsrecord.OwnerOf(&list.Items[i]); owner != "" {
			owners = append(owners, owner)
		}
	}
	return owners
}

// start starts a cache of the DNSEndpoints, and returns when it has them.
func (d *dnsEndpoints) start(ctx context.Context, queue hostQueue) (cache.Cache, error) {
	own, err := cache.New(d.config, cache.Options{
		HTTPClient: d.http, Scheme: runtime.NewScheme(), Mapper: d.mapper,
		DefaultNamespaces:    map[string]cache.Config{d.namespace: {}},
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{v1alpha1.LabelManaged: "true"}),
		DefaultTransform:     cached,
		NewInformer:          informer.New(func(_ runtime.Object, err error) { d.logFailure(err) }),
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of DNSEndpoints: %w", err)
	}
	running, stop := context.WithCancel(ctx)
	go func() { _ = own.Start(running) }() // its errors are those of its informer
	if err := d.follows(ctx, own, queue); err != nil {
		stop()
		return nil, err
	}
	context.AfterFunc(ctx, stop)
	return own, nil
}

// follows adds the handler of changes to the cache, and waits until it has been read.
func (d *dnsEndpoints) follows(ctx context.Context, own cache.Cache, queue hostQueue) error {
	watched, err := own.GetInformer(ctx, emptyEndpoint(), cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	changed := func(o any) {
		if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if endpoint, ok := o.(client.Object); ok {
			if owner := dnsrecord.OwnerOf(endpoint); owner != "" {
				queue.Add(requestFor(owner))
			}
		}
	}
	events, err := watched.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: changed, DeleteFunc: changed, UpdateFunc: func(before, after any) { changed(before); changed(after) },
	})
	if err != nil {
		return err
	}
	toolscache.WaitForCacheSync(ctx.Done(), events.HasSynced) // false if ctx has ended
	return nil
}

// logFailure logs that the DNSEndpoints cannot be read any more. The informer retries
// without an end.
func (d *dnsEndpoints) logFailure(err error) {
	if err != nil {
		d.log.Error(err, "Cannot read DNSEndpoints, and ask again")
	}
}
