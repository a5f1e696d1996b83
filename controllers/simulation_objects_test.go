package controllers_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/proxy/routing"
)

// The simulation's objects, and what they mean by docs/concepts.md. Neither this
// file nor the oracle shares code with the reconcilers.

// clients is a set of probes: bit i stands for probes[i].
type clients uint8

// probes are client addresses, at least one in each part into which networks divide
// all addresses.
var probes = []netip.Addr{
	netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("192.168.1.9"), netip.MustParseAddr("192.168.2.9"), netip.MustParseAddr("10.9.9.9"),
	netip.MustParseAddr("2001:db9::9"), netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8:1::9"),
}

const everyone clients = 1<<7 - 1

// networks are the CIDRs that objects use: CIDR → the probes in it.
var networks = map[string]clients{
	"0.0.0.0/0": 0b0001111, "192.168.0.0/16": 0b0000110, "192.168.1.0/24": 0b0000010, "10.0.0.0/8": 0b0001000,
	"::/0": 0b1110000, "2001:db8::/32": 0b1100000, "2001:db8:1::/48": 0b1000000,
}

// clientsIn returns the clients in a comma-separated list of networks.
func clientsIn(list string) (allowed clients, ok bool) {
	for item := range strings.SplitSeq(list, ",") {
		in, known := networks[strings.TrimSpace(item)]
		if !known {
			return 0, false
		}
		allowed |= in
	}
	return allowed, true
}

// plainHTTP are the values of the plain-http annotation, the strictest last.
var plainHTTP = []string{"forward", "redirect", "deny"}

func stricter(a, b string) string {
	return plainHTTP[max(slices.Index(plainHTTP, a), slices.Index(plainHTTP, b))]
}

// outcome is how connections to a name are served. The zero value: they are refused.
type outcome struct {
	cluster   string // "" where a person gave an address
	addresses string
	clients   clients
	plain     string
}

func (o outcome) String() string {
	if o == (outcome{}) {
		return "refused"
	}
	return fmt.Sprintf("%q at %s for clients %07b, plain HTTP %s", o.cluster, o.addresses, o.clients, o.plain)
}

// at returns the outcome with its addresses. Without an address it is a refusal.
func (o outcome) at(addresses string) outcome {
	if addresses == "" {
		return outcome{}
	}
	o.addresses = addresses
	return o
}

// outcomeOf returns how a route serves connections.
func outcomeOf(route *routing.Route) outcome {
	if route == nil || route.Refusal != "" || len(route.Backends) == 0 {
		return outcome{}
	}
	o := outcome{cluster: route.Backends[0].Cluster, plain: strings.ToLower(route.PlainHTTP.String())}
	var addresses []string
	for _, b := range route.Backends {
		if b.Cluster != o.cluster {
			o.cluster += "," + b.Cluster
		}
		addresses = append(addresses, b.Addresses...)
	}
	for i, probe := range probes {
		if route.Allows(probe) {
			o.clients |= 1 << i
		}
	}
	return o.at(strings.Join(addresses, " "))
}

// ref names an object of a member.
type ref struct{ member, kind, namespace, name string }

// object is an object of a member.
type object struct {
	ref
	created     time.Time // as its API server reports it
	hosts       []string
	annotations map[string]string
	class       string // ingress class; "" is none
	unattached  bool   // an IngressRouteTCP without TLS, or an HTTPRoute that no Gateway has accepted
	solver      bool   // cert-manager made it for a challenge
}

// simKinds are the kinds of sources: kind → API version.
var simKinds = map[string]string{
	"Ingress": "networking.k8s.io/v1", "IngressRoute": "traefik.io/v1alpha1", "IngressRouteTCP": "traefik.io/v1alpha1", "HTTPRoute": "gateway.networking.k8s.io/v1",
}

// manifest returns the object as the simulation applies it.
func (o object) manifest() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": o.spec()}}
	u.SetAPIVersion(simKinds[o.kind])
	u.SetKind(o.kind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	u.SetAnnotations(o.annotations)
	if o.solver {
		u.SetLabels(map[string]string{"acme.cert-manager.io/http01-solver": "true"})
	}
	return u
}

func (o object) spec() map[string]any {
	spec := map[string]any{}
	if o.class != "" {
		spec["ingressClassName"] = o.class
	}
	switch o.kind {
	case "Ingress":
		backend := map[string]any{"service": map[string]any{"name": "app", "port": map[string]any{"number": int64(80)}}}
		paths := []any{map[string]any{"path": "/", "pathType": "Prefix", "backend": backend}}
		var rules []any
		for _, host := range o.hosts {
			rules = append(rules, map[string]any{"host": host, "http": map[string]any{"paths": paths}})
		}
		spec["rules"] = rules
	case "IngressRoute":
		spec["routes"] = []any{map[string]any{"match": o.rule("Host"), "kind": "Rule", "syntax": "v3"}}
	case "IngressRouteTCP":
		spec["routes"] = []any{map[string]any{"match": o.rule("HostSNI"), "syntax": "v3"}}
		if !o.unattached {
			spec["tls"] = map[string]any{"passthrough": true}
		}
	case "HTTPRoute":
		var hosts []any
		for _, host := range o.hosts {
			hosts = append(hosts, host)
		}
		spec["hostnames"], spec["parentRefs"] = hosts, []any{map[string]any{"name": "front"}}
	}
	return spec
}

// rule is a Traefik rule that matches the hosts.
func (o object) rule(matcher string) string {
	matchers := make([]string, len(o.hosts))
	for i, host := range o.hosts {
		matchers[i] = matcher + "(`" + host + "`)"
	}
	return strings.Join(matchers, " || ")
}

// String writes the manifest as JSON, shortened where it is long.
func (o object) String() string {
	if len(o.hosts) > 20 {
		o.hosts = slices.Concat(o.hosts[:2], []string{fmt.Sprintf("and-%d-more", len(o.hosts)-2)})
	}
	o.annotations = maps.Clone(o.annotations)
	for key, value := range o.annotations {
		o.annotations[key] = fmt.Sprintf("%.200s", value)
	}
	text, err := o.manifest().MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// foreignClass is an ingress class that no member publishes.
const foreignClass = "nginx"

// reading is a parsed object. It never changes.
type reading struct {
	object
	annotated bool
	only      map[string]bool // host → true, of the hosts annotation; nil without one
	claimed   map[string]bool // host → true, of the hosts that it publishes up to the limit
	clients   clients
	plain     string
	whole     bool // wildcard: all
	share     bool // share-below: true
	malformed bool // an annotation is
}

func parse(o object) *reading {
	r := &reading{object: o, annotated: o.annotations["usher.techn.is/expose"] == "true" && !o.solver, clients: everyone, plain: "redirect"}
	for key, value := range o.annotations {
		ok := true
		switch name, usher := strings.CutPrefix(key, "usher.techn.is/"); {
		case !usher || name == "expose":
		case name == "hosts":
			r.only = map[string]bool{}
			for host := range strings.SplitSeq(value, ",") {
				r.only[strings.TrimSpace(host)] = true
			}
		case name == "plain-http":
			r.plain, ok = value, slices.Contains(plainHTTP, value)
		case name == "allow-from":
			r.clients, ok = clientsIn(value)
		case name == "wildcard":
			r.whole, ok = true, value == "all"
		case name == "share-below":
			r.share, ok = value == "true", value == "true" || value == "false"
		default:
			ok = false
		}
		r.malformed = r.malformed || !ok
	}
	published := slices.Sorted(slices.Values(o.hosts))
	if r.only != nil {
		published = slices.Sorted(maps.Keys(r.only))
	}
	r.claimed = map[string]bool{}
	for _, host := range published[:min(len(published), simLimits.SourceHosts)] {
		r.claimed[host] = r.annotated
	}
	return r
}

// names reports whether the object serves a host by name.
func (r *reading) names(host string) bool {
	nameless := r == nil || r.solver || r.kind == "IngressRouteTCP" && r.unattached
	return !nameless && slices.Contains(r.hosts, host)
}

// publishes reports whether the object names a host, and its annotations publish it.
func (r *reading) publishes(host string) bool {
	return r.names(host) && r.annotated && (r.only == nil || r.only[host])
}

// fault returns why the object's own claim on a host is refused; "" where it is sound.
func (r *reading) fault(host string) string {
	switch {
	case !slices.Contains(r.hosts, host) && !slices.Contains(r.hosts, wildcardOver(host)):
		return "not covered"
	case r.class == foreignClass:
		return "foreign class"
	case r.malformed:
		return "malformed"
	case r.unattached:
		return "unattached"
	}
	return ""
}

// age sorts claims as usher prefers them: the smallest first.
func (r *reading) age() string {
	return strings.Join([]string{r.created.Format(time.RFC3339), r.member, r.kind, r.namespace, r.name}, " ")
}

// wildcardOver returns the wildcard that covers a name; "" for a wildcard.
func wildcardOver(name string) string {
	label, parent, _ := strings.Cut(name, ".")
	if label == "*" {
		return ""
	}
	return "*." + parent
}

// manual is an ExposedHost that a person wrote.
type manual struct {
	cluster, address string // of its backend; both empty: it has none
	allowFrom        string // comma list
	plain            string
	except           string // labels, comma list
	share            bool   // of the names under it
}

// policy is what the edge configures of a member.
type policy struct {
	exists     bool
	domain     string // in allowedDomains; "" allows all
	requireAll bool
	// recorded is nil where the member's objects are known. Of a member that is away
	// when the controllers start, only what ExposedHosts record is known.
	recorded *record
}

// record is what ExposedHosts record of a member: host → whether it is accepted.
type record struct{ hosts map[string]bool }

// timeline is a value, and its former values that a decision in flight may rest on.
type timeline[T comparable] struct {
	values []T         // the current one first
	until  []time.Time // until when each may be relied on; zero: until the round ends
}

// set changes the current value.
func (l *timeline[T]) set(v T) {
	if i := slices.Index(l.values, v); i >= 0 {
		l.values, l.until = slices.Delete(l.values, i, i+1), slices.Delete(l.until, i, i+1)
	}
	l.values, l.until = slices.Insert(l.values, 0, v), slices.Insert(l.until, 0, time.Time{})
}

// settle ends a round: the former values are relied on by what is in flight only.
func (l *timeline[T]) settle(now time.Time) {
	for i := len(l.values) - 1; i > 0; i-- {
		switch {
		case l.until[i].IsZero():
			l.until[i] = now.Add(inFlight())
		case l.until[i].Before(now):
			l.values, l.until = slices.Delete(l.values, i, i+1), slices.Delete(l.until, i, i+1)
		}
	}
}

// valid returns the current value, and with recent the former ones too.
func (l *timeline[T]) valid(recent bool) []T {
	if recent {
		return l.values
	}
	return l.values[:1]
}

// timelines: key → its timeline, which begins with the zero value.
type timelines[K, V comparable] map[K]*timeline[V]

func (t timelines[K, V]) of(key K) *timeline[V] {
	line := t[key]
	if line == nil {
		line = &timeline[V]{values: make([]V, 1), until: make([]time.Time, 1)}
		t[key] = line
	}
	return line
}

func (t timelines[K, V]) now(key K) V { return t.of(key).values[0] }

func (t timelines[K, V]) settle(now time.Time) {
	for _, line := range t {
		line.settle(now)
	}
}
