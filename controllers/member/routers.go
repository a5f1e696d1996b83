package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// settledAfter is how long a Traefik must run before a router that it does not show counts as
// missing: its providers load one after another.
const settledAfter = 30 * time.Second

// errRestarted says that Traefik was started again. A new session waits until it has settled.
var errRestarted = errors.New("Traefik was restarted")

// routersByKind are routers as sources: kind → namespace and name → object.
type routersByKind map[schema.GroupVersionKind]map[string]client.Object

// routers reads the routers of a Traefik's API for a session, in place of a cache of
// Kubernetes' objects. Only the member's loop uses it, except for seen.
type routers struct {
	session *session
	client  *http.Client
	began   time.Time // when Traefik was started, by its own clock; zero before the first answer
	known   routersByKind

	applied atomic.Bool // all routers were handed to the reader once

	mu   sync.Mutex
	seen map[sourceID]time.Time // router → when it was first seen
}

func newRouters(s *session) *routers {
	r := &routers{session: s, client: s.config.Traefik.newClient(), known: routersByKind{}, seen: map[sourceID]time.Time{}}
	for _, gvk := range []schema.GroupVersionKind{routerKind, routerTCPKind} {
		r.known[gvk] = map[string]client.Object{}
		s.stores[gvk] = toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
		s.running[gvk] = watched{r.applied.Load} // before any object comes: the reader drops objects of other kinds
	}
	return r
}

// copySeen returns when each router was first seen.
func (r *routers) copySeen() map[sourceID]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.seen)
}

// syncRouters waits until all routers of a Traefik that has settled are read.
func (m *member) syncRouters(ctx context.Context, s *session) error {
	r := s.routers
	var last routersByKind
	for {
		is, uptime, err := r.version(ctx)
		if err != nil {
			return err
		}
		r.started(is)
		m.reached()
		found, _, err := r.fetch(ctx)
		if err != nil {
			return err
		}
		if uptime >= settledAfter && reflect.DeepEqual(found, last) {
			r.apply(found, true)
			break
		}
		last = found
		m.syncing(nil)
		if err := s.waitUnlessExceeded(ctx, min(s.config.Traefik.Interval, max(settledAfter-uptime, probeAgain))); err != nil {
			return err
		}
	}
	for !s.synced() {
		if err := s.waitUnlessExceeded(ctx, syncPoll); err != nil {
			return err
		}
	}
	return nil
}

// followRouters reads the routers again and again until a request fails twice, Traefik was
// restarted, or it sends too much, and returns the error.
func (m *member) followRouters(ctx context.Context, s *session) error {
	r := s.routers
	for {
		if err := s.waitUnlessExceeded(ctx, s.config.Traefik.Interval); err != nil {
			return err
		}
		found, err := r.poll(ctx)
		if err != nil && !errors.Is(err, errRestarted) {
			sleep(ctx, probeAgain)
			found, err = r.poll(ctx)
		}
		if err != nil {
			return err
		}
		m.reached()
		r.apply(found, false)
		m.followed(s, nil)
	}
}

// reached records that Traefik's API answered.
func (m *member) reached() {
	m.update(func(state *State) {
		state.Connected = Condition{True: true, Reason: reason.Connected, Message: "Traefik's API answers"}
	})
}

// started records the version of Traefik, and when it was started.
func (r *routers) started(is apiVersion) {
	r.began = is.StartDate
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.detected = traefikOfVersion(strings.TrimSpace(is.Version), "/api/version")
}

// poll reads all routers of the Traefik that the session has begun with.
func (r *routers) poll(ctx context.Context) (routersByKind, error) {
	is, _, err := r.version(ctx)
	if err != nil {
		return nil, err
	}
	if !is.StartDate.Equal(r.began) {
		return nil, errRestarted
	}
	found, pages, err := r.fetch(ctx)
	// Pages are not of one moment: a router that moves from one to the other is in neither.
	for tries := 0; err == nil && pages > 1 && tries < 3 && r.misses(found); tries++ {
		var again routersByKind
		if again, _, err = r.fetch(ctx); err == nil && reflect.DeepEqual(again, found) {
			return found, nil
		}
		found = again
	}
	if err == nil && pages > 1 && r.misses(found) {
		err = fmt.Errorf("%w: the pages of its routers do not fit together", errOtherProgram)
	}
	return found, err
}

// misses reports whether a router that is known is not among those that were found.
func (r *routers) misses(found routersByKind) bool {
	for gvk, known := range r.known {
		for key := range known {
			if found[gvk][key] == nil {
				return true
			}
		}
	}
	return false
}

// fetch requests all routers.
func (r *routers) fetch(ctx context.Context) (found routersByKind, pages int, err error) {
	found = routersByKind{}
	for gvk, protocol := range map[schema.GroupVersionKind]string{routerKind: "http", routerTCPKind: "tcp"} {
		all, read, err := r.list(ctx, protocol)
		if err != nil {
			return nil, 0, err
		}
		pages = max(pages, read)
		found[gvk] = make(map[string]client.Object, len(all))
		for i := range all {
			if all[i].Provider == "internal" || strings.HasSuffix(all[i].Name, "@internal") {
				continue // Traefik's own
			}
			o := r.object(gvk, &all[i])
			found[gvk][o.GetNamespace()+"/"+o.GetName()] = o
		}
	}
	return found, pages, nil
}

// object returns a router as a source.
func (r *routers) object(gvk schema.GroupVersionKind, is *apiRouter) client.Object {
	api := r.session.config.Traefik
	namespace, name, problem := nameOfRouter(is)
	status := traefik.RouterStatus{Problem: problem}
	if said, off := problemOf(is); said != "" {
		status = traefik.RouterStatus{Problem: said, Off: off}
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
	entryPoints := servedOn(is)
	var options *traefik.TLSOptionRef
	if is.TLS != nil {
		options = optionsRef(is.TLS.Options, namespace)
	}
	if source.Consents(entryPoints, options, namespace, api.PublicEntryPoint, api.Isolating) {
		meta.Annotations = map[string]string{v1alpha1.AnnotationExpose: "true"}
	}
	syntax := is.RuleSyntax
	if syntax == "default" {
		syntax = ""
	}
	id := sourceID{kindIndex(gvk), nameOf(&meta)}
	r.mu.Lock()
	if _, known := r.seen[id]; !known {
		r.seen[id] = time.Now().Truncate(time.Second)
	}
	meta.CreationTimestamp = metav1.NewTime(r.seen[id])
	r.mu.Unlock()
	if gvk == routerTCPKind {
		o := &traefik.RouterTCP{Status: status}
		o.ObjectMeta = meta
		o.Spec = traefik.IngressRouteTCPSpec{EntryPoints: entryPoints, Routes: []traefik.RouteTCP{{Match: is.Rule, Syntax: syntax}}}
		if is.TLS != nil {
			o.Spec.TLS = &traefik.TLSTCP{Passthrough: is.TLS.Passthrough, Options: options}
		}
		return o
	}
	o := &traefik.Router{Status: status}
	o.ObjectMeta = meta
	o.Spec = traefik.IngressRouteSpec{EntryPoints: entryPoints, Routes: []traefik.Route{{Match: is.Rule, Syntax: syntax}}}
	if is.TLS != nil {
		o.Spec.TLS = &traefik.TLS{Options: options}
	}
	return o
}

// optionsRef returns the TLS options of a router; nil for Traefik's default ones. Without a
// provider they are those of the router's own one.
func optionsRef(options, provider string) *traefik.TLSOptionRef {
	name, of, qualified := strings.Cut(options, "@")
	if !qualified {
		of = provider
	}
	if name == "" || name == "default" {
		return nil
	}
	return &traefik.TLSOptionRef{Name: name, Namespace: of}
}

// apply hands what has changed to the reader of the session.
func (r *routers) apply(found routersByKind, first bool) {
	s := r.session
	for _, k := range sources {
		if !k.polled {
			continue
		}
		handler, store := s.handler(k).(toolscache.ResourceEventHandlerDetailedFuncs), s.store(k)
		before := r.known[k.gvk]
		for key, o := range found[k.gvk] {
			switch was := before[key]; {
			case was == nil:
				_ = store.Add(o) // a store in memory does not fail
				handler.AddFunc(o, first)
			case !readsSame(was, o):
				_ = store.Update(o)
				handler.UpdateFunc(was, o)
			}
		}
		for key, was := range before {
			if found[k.gvk][key] == nil {
				_ = store.Delete(was)
				handler.DeleteFunc(was)
				r.mu.Lock()
				delete(r.seen, sourceID{kindIndex(k.gvk), client.ObjectKeyFromObject(was)})
				r.mu.Unlock()
			}
		}
		r.known[k.gvk] = found[k.gvk]
	}
	r.applied.Store(true)
}
