package member

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// unreadKind is a kind that usher reads no hosts of, and whose objects people annotate.
type unreadKind struct {
	group, resource, kind string
	advice                string // what to annotate instead
}

// The advice for an annotation on an object of a kind that is not read.
const (
	adviceRoute   = "annotate the Ingress, the IngressRoute or the route of the Gateway API that leads to it"
	adviceUser    = "annotate the IngressRoute, or the Ingress, that uses it"
	adviceRoutes  = "annotate the routes that are attached to it"
	adviceMembers = "annotate each Ingress, IngressRoute or route of the namespace"
	adviceHosts   = "publish its hosts by an Ingress, an IngressRoute or a route of the Gateway API, or write an ExposedHost by hand"
	adviceNoTLS   = "usher publishes TLS connections that have a server name: use an IngressRouteTCP or a TLSRoute"
)

// Neither this role nor the account of usher cluster add may list Deployments, StatefulSets and
// DaemonSets: their environment often holds passwords, and RBAC cannot limit an account
// to metadata.
//
// +kubebuilder:rbac:groups=traefik.io;traefik.containo.us,resources=ingressrouteudps;middlewares;middlewaretcps;traefikservices,verbs=list,roleName=usher-member
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=tcproutes;udproutes,verbs=list,roleName=usher-member
// +kubebuilder:rbac:groups=projectcontour.io,resources=httpproxies,verbs=list,roleName=usher-member
// +kubebuilder:rbac:groups=networking.istio.io,resources=virtualservices,verbs=list,roleName=usher-member

// unreadKinds are looked through for annotations of usher, so that none is without an
// effect and without a word. They are what people take for the object that usher reads:
// the parents and the children of a route, the workload and the Service behind it, the
// namespace around it, and the routes of other ingress controllers. A cluster serves few
// of the last ones. The list is fixed, since each kind costs a permission and a request
// for each look; a kind that may not be listed is left out silently.
var unreadKinds = inBothGroups(
	unreadKind{"", "namespaces", "Namespace", adviceMembers},
	unreadKind{"", "services", "Service", adviceRoute},
	unreadKind{"apps", "deployments", "Deployment", adviceRoute},
	unreadKind{"apps", "statefulsets", "StatefulSet", adviceRoute},
	unreadKind{"apps", "daemonsets", "DaemonSet", adviceRoute},
	unreadKind{"traefik.io", "middlewares", "Middleware", adviceUser},
	unreadKind{"traefik.io", "middlewaretcps", "MiddlewareTCP", adviceUser},
	unreadKind{"traefik.io", "traefikservices", "TraefikService", adviceUser},
	unreadKind{"traefik.io", "ingressrouteudps", "IngressRouteUDP", adviceNoTLS},
	unreadKind{"gateway.networking.k8s.io", "gateways", "Gateway", adviceRoutes},
	unreadKind{"gateway.networking.k8s.io", "listenersets", "ListenerSet", adviceRoutes},
	unreadKind{"gateway.networking.x-k8s.io", "xlistenersets", "XListenerSet", adviceRoutes},
	unreadKind{"gateway.networking.k8s.io", "tcproutes", "TCPRoute", adviceNoTLS},
	unreadKind{"gateway.networking.k8s.io", "udproutes", "UDPRoute", adviceNoTLS},
	unreadKind{"projectcontour.io", "httpproxies", "HTTPProxy", adviceHosts},
	unreadKind{"networking.istio.io", "virtualservices", "VirtualService", adviceHosts},
)

// inBothGroups adds each kind of Traefik in Traefik's old API group too.
func inBothGroups(kinds ...unreadKind) []unreadKind {
	for _, k := range kinds {
		if k.group == traefik.GroupVersion.Group {
			k.group = traefik.ContainousGroupVersion.Group
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// The pace of looking through the unread kinds: with a few hundred objects every 20 s,
// with many less often. The objects are listed and not watched: a watch would deliver
// every change of each Service and Deployment, and nothing depends on a fast answer.
const (
	unreadEvery     = 15 * time.Second
	unreadPerObject = 20 * time.Millisecond // more for each object that was listed
	unreadAtMost    = 10 * time.Minute
	maxUnreadPages  = 10 // of firstPage objects, for each kind
	unreadTimeout   = 30 * time.Second
)

// unreadObject is an annotated object of a kind that is not read.
type unreadObject struct {
	created time.Time
	refusal v1alpha1.SourceRefusal
}

// unreadObjects are the newest annotated objects of kinds that are not read.
type unreadObjects struct {
	mu   sync.Mutex
	kept []unreadObject // the newest first
}

func (u *unreadObjects) list() []unreadObject {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.kept
}

// newestUnread returns the newest keptRefusals objects. It sorts the list itself.
func newestUnread(objects []unreadObject) []unreadObject {
	slices.SortFunc(objects, func(a, b unreadObject) int {
		return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.refusal.Kind, b.refusal.Kind),
			cmp.Compare(a.refusal.Namespace, b.refusal.Namespace), cmp.Compare(a.refusal.Name, b.refusal.Name))
	})
	objects = slices.CompactFunc(objects, func(a, b unreadObject) bool { return a.refusal == b.refusal }) // in both of Traefik's API groups
	return slices.Clip(objects[:min(len(objects), keptRefusals)])
}

// set replaces the objects, and reports whether they are others.
func (u *unreadObjects) set(found []unreadObject) bool {
	found = newestUnread(found)
	u.mu.Lock()
	defer u.mu.Unlock()
	same := slices.EqualFunc(u.kept, found, func(a, b unreadObject) bool { return a.refusal == b.refusal })
	u.kept = found
	return !same
}

// refusalsWith returns at most keptRefusals refusals: those of sources, and of objects of
// kinds that are not read. Each sort leaves some room for the other.
func refusalsWith(refusals []v1alpha1.SourceRefusal, unread []unreadObject) []v1alpha1.SourceRefusal {
	const room = 3
	most := keptRefusals - min(len(unread), room)
	all := slices.Clone(refusals[:min(len(refusals), most)])
	for _, o := range unread[:min(len(unread), keptRefusals-len(all))] {
		all = append(all, o.refusal)
	}
	return all
}

// listUnread looks through the unread kinds again and again until ctx ends.
func (s *session) listUnread(ctx context.Context) {
	look := unreadLook{session: s, denied: map[unreadKind]time.Time{}, found: map[unreadKind][]unreadObject{}}
	for ctx.Err() == nil {
		objects := look.all(ctx)
		if s.unread.set(slices.Concat(slices.Collect(maps.Values(look.found))...)) {
			s.listener.stateChanged(s)
		}
		sleep(ctx, min(unreadEvery+time.Duration(objects)*unreadPerObject, unreadAtMost))
	}
}

// unreadLook looks through the unread kinds. What it has found stays until the kind has
// been listed again: an error does not show that an annotation is gone.
type unreadLook struct {
	session *session
	denied  map[unreadKind]time.Time      // kind → when listing it was denied
	found   map[unreadKind][]unreadObject // kind → its annotated objects, at most keptRefusals
}

// all looks through all kinds that the cluster serves, and returns how many objects it
// has listed.
func (l *unreadLook) all(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, unreadTimeout)
	defer cancel()
	versions, err := l.versions(ctx)
	if err != nil {
		return 0
	}
	served := map[schema.GroupVersion][]string{} // group and version → kinds
	objects := 0
	for _, k := range unreadKinds {
		gv, ok, err := l.version(ctx, k, versions[k.group], served)
		switch {
		case err != nil:
		case !ok:
			delete(l.found, k)
			delete(l.denied, k)
		case time.Since(l.denied[k]) >= deniedAgain:
			objects += l.kind(ctx, k, gv)
		}
	}
	return objects
}

// versions returns the versions of each API group, the preferred one first.
func (l *unreadLook) versions(ctx context.Context) (map[string][]string, error) {
	var groups metav1.APIGroupList
	answer, err := l.session.discovery.RESTClient().Get().AbsPath("/apis").SetHeader("Accept", "application/json").DoRaw(ctx)
	if err == nil {
		err = json.Unmarshal(answer, &groups)
	}
	if err != nil {
		return nil, err
	}
	versions := map[string][]string{corev1.GroupName: {"v1"}}
	for _, group := range groups.Groups {
		if !slices.ContainsFunc(unreadKinds, func(k unreadKind) bool { return k.group == group.Name }) {
			continue
		}
		names := []string{group.PreferredVersion.Version}
		for _, v := range group.Versions {
			names = append(names, v.Version)
		}
		versions[group.Name] = names[:min(len(names), maxVersions)]
	}
	return versions, nil
}

// maxVersions bounds the versions of an API group that are asked about.
const maxVersions = 8

// version returns the first version in which the cluster serves a kind; false if none does.
func (l *unreadLook) version(ctx context.Context, k unreadKind, versions []string, served map[schema.GroupVersion][]string) (schema.GroupVersion, bool, error) {
	for _, version := range versions {
		gv := schema.GroupVersion{Group: k.group, Version: version}
		if _, known := served[gv]; !known {
			kinds, err := l.session.kindsOf(ctx, gv)
			if err != nil {
				return gv, false, err
			}
			served[gv] = kinds
		}
		if slices.Contains(served[gv], k.kind) {
			return gv, true, nil
		}
	}
	return schema.GroupVersion{}, false, nil
}

// metadataList is the part of a list of objects that usher reads.
type metadataList struct {
	Metadata metav1.ListMeta `json:"metadata"`
	Items    []struct {
		Metadata struct {
			Namespace         string            `json:"namespace"`
			Name              string            `json:"name"`
			CreationTimestamp metav1.Time       `json:"creationTimestamp"`
			Annotations       map[string]string `json:"annotations"`
		} `json:"metadata"`
	} `json:"items"`
}

// kind looks through the objects of a kind, and returns how many it has listed. Beyond
// maxUnreadPages it stops: objects that are listed later may be annotated unnoticed.
func (l *unreadLook) kind(ctx context.Context, k unreadKind, gv schema.GroupVersion) (objects int) {
	var found []unreadObject
	limit, next := firstPage, ""
	for range maxUnreadPages {
		page, err := l.page(ctx, k, gv, limit, next)
		switch {
		case errors.Is(err, errTooLarge) && limit > 1:
			limit = max(1, limit/8)
			continue
		case apierrors.IsForbidden(err):
			l.denied[k] = time.Now()
			delete(l.found, k)
			return objects
		case err != nil:
			return objects
		}
		objects += len(page.Items)
		for _, item := range page.Items {
			o := item.Metadata
			if refusal := source.Unread(k.kind, o.Namespace, o.Name, o.Annotations, k.advice); refusal != nil {
				found = append(found, unreadObject{o.CreationTimestamp.Time, v1alpha1.SourceRefusal{
					Kind: k.kind, Namespace: o.Namespace, Name: o.Name, Reason: refusal.Reason, Message: refusal.Message,
				}})
			}
		}
		found = newestUnread(found)
		if next = page.Metadata.Continue; next == "" {
			break
		}
	}
	delete(l.denied, k)
	l.found[k] = found
	return objects
}

// page lists a page of the metadata of a kind. As with the pages of the watched kinds,
// one page at a time is in memory.
func (l *unreadLook) page(ctx context.Context, k unreadKind, gv schema.GroupVersion, limit int, next string) (page metadataList, err error) {
	select {
	case l.session.listing <- struct{}{}:
		defer func() { <-l.session.listing }()
	case <-ctx.Done():
		return page, ctx.Err()
	}
	path := []string{"/apis", gv.Group, gv.Version, k.resource}
	if gv.Group == corev1.GroupName {
		path = []string{"/api", gv.Version, k.resource}
	}
	request := l.session.discovery.RESTClient().Get().AbsPath(path...).Param("limit", strconv.Itoa(limit)).
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	if next != "" {
		request.Param("continue", next)
	}
	answer, err := request.DoRaw(ctx)
	if err != nil {
		return page, err
	}
	return page, json.Unmarshal(answer, &page)
}
