package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// A hostGroup is all routes that must have the same TLS options: those of a published
// host, annotated or not, and those of the hosts that share a router with it. Traefik uses
// its default options for a host whose routers differ.
type hostGroup struct {
	hosts  []string // the published ones, sorted
	routes []*route
	lists  []string // the allow-from lists of the annotated routes, each once, sorted
	want   types.NamespacedName

	isolated bool    // whether the routes have the options that they need
	edits    []*edit // of the routes that have other options
	problem  string  // why editing the routes does not isolate the hosts; "" if it does
}

// planHosts plans the edits of a member's routes: ref is the TLSOption of published routes,
// and the TLSOptions of hosts with an allow-from list have names that start with its name.
func planHosts(routes []*route, ref v1alpha1.TLSOptionsRef, crossNamespace bool) []*hostGroup {
	groups := groupByHost(routes)
	for _, g := range groups {
		g.plan(ref, crossNamespace)
	}
	for _, g := range groups {
		used := g.options()
		if g.isolated = used != "" && (used == optionsID(g.want) || !usedOtherwise(groups, g, used)); g.isolated {
			g.problem = ""
			continue
		}
		g.edit()
	}
	return groups
}

// groupByHost returns the groups that have an annotated route.
func groupByHost(routes []*route) []*hostGroup {
	published := map[string]bool{} // host → true
	for _, r := range routes {
		for _, host := range r.hosts {
			published[host] = published[host] || r.annotated
		}
	}
	linked := linkedHosts(routes, published)
	var groups []*hostGroup
	for _, r := range routes {
		if slices.ContainsFunc(r.hosts, func(host string) bool { return linked[host] }) {
			groups = joined(groups, r, linked)
		}
	}
	for _, g := range groups {
		g.sum(published)
	}
	return groups
}

// linkedHosts are the published hosts, and those that a router serves beside one of them.
func linkedHosts(routes []*route, published map[string]bool) map[string]bool {
	linked := map[string]bool{}
	for _, r := range routes {
		for _, host := range r.hosts {
			if !published[host] {
				continue
			}
			linked[host] = true
			for _, other := range r.beside(host) {
				linked[other] = true
			}
		}
	}
	return linked
}

// joined adds a route to the groups, and makes one group of those that it shares a host with.
func joined(groups []*hostGroup, r *route, linked map[string]bool) []*hostGroup {
	with := &hostGroup{}
	shares := func(other *route) bool {
		return slices.ContainsFunc(r.hosts, func(host string) bool { return linked[host] && slices.Contains(other.hosts, host) })
	}
	groups = slices.DeleteFunc(groups, func(g *hostGroup) bool {
		if !slices.ContainsFunc(g.routes, shares) {
			return false
		}
		with.routes = append(with.routes, g.routes...)
		return true
	})
	with.routes = append(with.routes, r)
	return append(groups, with)
}

// sum collects what the routes of a group say.
func (g *hostGroup) sum(published map[string]bool) {
	for _, r := range g.routes {
		for _, host := range r.hosts {
			if published[host] {
				g.hosts = append(g.hosts, host)
			}
		}
		if r.annotated {
			g.lists = append(g.lists, strings.Join(r.allowFrom, ","))
		}
	}
	slices.Sort(g.hosts)
	g.hosts = slices.Compact(g.hosts)
	slices.Sort(g.lists)
	g.lists = slices.Compact(g.lists)
}

// plan chooses the TLSOption of a group. Without allowCrossNamespace Traefik drops an
// IngressRoute that refers to another namespace, so the TLSOption is in the namespace of
// the routes. An Ingress may refer to any namespace.
func (g *hostGroup) plan(ref v1alpha1.TLSOptionsRef, crossNamespace bool) {
	g.want = types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name + suffix(g.lists)}
	var namespaces []string
	for _, r := range g.routes {
		switch _, isIngress := r.object.(*networkingv1.Ingress); {
		case r.needsOptions() && r.fixed != "" && ingressRoute(r.object) == nil:
			g.problem = fmt.Sprintf("%s: %s", r, r.fixed)
		case r.needsOptions() && r.fixed == "" && !isIngress:
			namespaces = append(namespaces, r.object.GetNamespace())
		}
	}
	slices.Sort(namespaces)
	namespaces = slices.Compact(namespaces)
	switch {
	case crossNamespace || len(namespaces) == 0:
	case len(namespaces) == 1:
		if g.want.Namespace = namespaces[0]; strings.Contains(g.want.Namespace, "--") {
			g.problem = fmt.Sprintf("Traefik finds no TLSOption in namespace %s, since it makes one hyphen of two in a reference", g.want.Namespace)
		}
	default:
		g.problem = fmt.Sprintf("routes of the namespaces %s name it, and must have the same TLSOption: set providers.kubernetesCRD.allowCrossNamespace in Traefik, and add --cross-namespace", strings.Join(namespaces, ", "))
	}
}

// suffix ends the name of the TLSOption of hosts with allow-from lists: hosts with the
// same lists share one.
func suffix(lists []string) string {
	all := strings.Join(lists, "|")
	if all == "" {
		return ""
	}
	readable := strings.NewReplacer(".", "-", "/", "-", ",", "-").Replace(all)
	if len(lists) > 1 || len(readable) > 63 || !onlyIPv4(lists[0]) {
		sum := sha256.Sum256([]byte(all))
		readable = hex.EncodeToString(sum[:4])
	}
	return "-" + readable
}

// onlyIPv4 reports whether all networks of a list are IPv4: no two such lists have the
// same readable name.
func onlyIPv4(list string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if p, err := netip.ParsePrefix(item); err != nil || !p.Addr().Is4() {
			return false
		}
	}
	return true
}

// options returns the TLS options that all routes of a group have, as NAMESPACE-NAME; ""
// if one has others. A group that needs none has those that it is to have.
func (g *hostGroup) options() string {
	used := optionsID(g.want)
	for _, r := range g.routes {
		if r.needsOptions() {
			used = r.mark.Options
			break
		}
	}
	if slices.ContainsFunc(g.routes, func(r *route) bool { return !r.mark.Keeps(used) }) {
		return ""
	}
	return used
}

// usedOtherwise reports whether routes with other allow-from lists have the same options.
func usedOtherwise(groups []*hostGroup, own *hostGroup, options string) bool {
	return slices.ContainsFunc(groups, func(g *hostGroup) bool {
		return !slices.Equal(g.lists, own.lists) && slices.ContainsFunc(g.routes, func(r *route) bool { return r.mark.Options == options })
	})
}

// optionsID is the name that Traefik gives a TLSOption.
func optionsID(key types.NamespacedName) string { return key.Namespace + "-" + key.Name }

// edit plans the edit of each route of a group that has other options.
func (g *hostGroup) edit() {
	if g.problem != "" {
		return
	}
	for _, r := range g.routes {
		if r.fixed == "" && !r.mark.Keeps(optionsID(g.want)) {
			g.edits = append(g.edits, newEdit(r, g.want))
		}
	}
}

// annotationOptions is Traefik's annotation for the TLS options of an Ingress.
const annotationOptions = source.AnnotationRouterTLS + ".options"

// An edit gives a route its TLS options.
type edit struct {
	route *route
	value string // of annotationOptions; "" for another kind than Ingress
	patch []byte // JSON merge patch (RFC 7386)
}

func newEdit(r *route, want types.NamespacedName) *edit {
	e := &edit{route: r}
	if _, isIngress := r.object.(*networkingv1.Ingress); isIngress {
		e.value = optionsID(want) + "@kubernetescrd"
		e.patch = encode(map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationOptions: e.value}}})
		return e
	}
	options := map[string]any{"name": want.Name}
	switch namespaced := r.refersElsewhere(); {
	case want.Namespace != r.object.GetNamespace():
		options["namespace"] = want.Namespace
	case namespaced:
		options["namespace"] = nil
	}
	e.patch = encode(map[string]any{"spec": map[string]any{"tls": map[string]any{"options": options}}})
	return e
}

// refersElsewhere reports whether a route of Traefik's kinds names the namespace of its
// TLSOption.
func (r *route) refersElsewhere() bool {
	var ref *traefik.TLSOptionRef
	if t := ingressRoute(r.object); t != nil && t.Spec.TLS != nil {
		ref = t.Spec.TLS.Options
	}
	if t := ingressRouteTCP(r.object); t != nil && t.Spec.TLS != nil {
		ref = t.Spec.TLS.Options
	}
	return ref != nil && ref.Namespace != ""
}

func encode(patch map[string]any) []byte {
	encoded, err := json.Marshal(patch)
	if err != nil {
		panic(fmt.Sprintf("maps of strings have a JSON form: %v", err))
	}
	return encoded
}

// command is what a person types for the edit.
func (e *edit) command(context string) string {
	o := e.route.object
	kubectl := fmt.Sprintf("kubectl --context %s --namespace %s", context, o.GetNamespace())
	if e.value != "" {
		return fmt.Sprintf("%s annotate --overwrite ingress %s %s=%s", kubectl, o.GetName(), annotationOptions, e.value)
	}
	gvk := o.GetObjectKind().GroupVersionKind()
	return fmt.Sprintf("%s patch %s.%s %s --type merge --patch '%s'", kubectl, strings.ToLower(gvk.Kind), gvk.Group, o.GetName(), e.patch)
}

// note says what a person should know before the edit.
func (e *edit) note() string {
	note := ""
	if !e.route.annotated {
		note += "; it is not annotated, and names a published host or shares a router with one"
	}
	if e.endsPlainHTTP() {
		note += "; it then serves TLS only, also on entry points of plain HTTP"
	}
	return note
}

// endsPlainHTTP reports whether a route that has no TLS section, and so takes TLS or plain
// HTTP as its entry points do, may be on an entry point of plain HTTP.
func (e *edit) endsPlainHTTP() bool {
	if ingress, ok := e.route.object.(*networkingv1.Ingress); ok {
		for name := range ingress.Annotations {
			if strings.HasPrefix(name, source.AnnotationRouterTLS) {
				return false
			}
		}
		return true
	}
	t := ingressRoute(e.route.object)
	return t != nil && t.Spec.TLS == nil && !slices.Equal(t.Spec.EntryPoints, []string{portHTTPS})
}
