package explain

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// The bounds of the facts about one host.
const (
	// MaxObjects bounds the objects of one member, and MaxClaims the claims of all.
	MaxObjects = 50
	MaxClaims  = 50
	// MaxDials bounds the addresses that one process dials.
	MaxDials = 32
)

// Facts are what one process knows of a host. Both halves may be missing.
type Facts struct {
	// Host is canonical, and may be a wildcard.
	Host string `json:"host"`
	// Control is set if the process leads, or if the facts come from the API server.
	Control *Control `json:"control,omitempty"`
	// Proxy is set if the process has a data plane.
	Proxy *Proxy `json:"proxy,omitempty"`
}

// Control is what the control plane knows.
type Control struct {
	// Leads means that a leader tells what it knows. Otherwise the facts are what the
	// objects of the edge cluster say: Objects and Claims are then not known.
	Leads   bool     `json:"leads"`
	Members []Member `json:"members,omitempty"`
	Objects []Object `json:"objects,omitempty"`
	// MoreObjects is how many objects are left out.
	MoreObjects int `json:"moreObjects,omitempty"`
	// Claims are those on the host, and on the wildcard directly over it.
	Claims     []Claim `json:"claims,omitempty"`
	MoreClaims int     `json:"moreClaims,omitempty"`
	// ExposedHost is that of the host, and Over that of the wildcard directly over it; nil
	// if there is none.
	ExposedHost *v1alpha1.ExposedHost `json:"exposedHost,omitempty"`
	Over        *v1alpha1.ExposedHost `json:"over,omitempty"`
}

// Member is a member cluster.
type Member struct {
	Name string `json:"name"`
	// Edge means that the member is the edge cluster itself.
	Edge bool `json:"edge,omitempty"`
	// Conditions are those of the MemberCluster. If the leader tells them, Connected and
	// Synced are as of now.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Read means that the objects of the member were read at least once.
	Read bool `json:"read"`
	// SyncedAt is when the member last came in sync; nil if it never did.
	SyncedAt *time.Time `json:"syncedAt,omitempty"`
	// Service is the Service of its Traefik, as NAMESPACE/NAME; empty if it is not known.
	Service string `json:"service,omitempty"`
	// Isolation means that the MemberCluster has spec.isolation.
	Isolation bool `json:"isolation,omitempty"`
}

// Object is an object that names the host.
type Object struct {
	v1alpha1.SourceRef `json:",inline"`
	// Group is its API group.
	Group string `json:"group,omitempty"`
	// Names is the host as the object names it: it may be a wildcard over the host. It is
	// empty for an object that may serve any host.
	Names string `json:"names,omitempty"`
	// Rule is the field that names the host, with its value.
	Rule string `json:"rule,omitempty"`
	// Through is the IngressRoute, as NAMESPACE/NAME, whose descendant the object is.
	Through string `json:"through,omitempty"`
	// Expose is the value of the annotation; Publishes means that the object asks usher to
	// publish what it names.
	Expose    string `json:"expose,omitempty"`
	Publishes bool   `json:"publishes"`
	// Refusal is why usher publishes none or not all of the object's hosts.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// Refusal is why something is refused.
type Refusal struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Claim is the request of an annotated object to publish a host.
type Claim struct {
	v1alpha1.SourceRef `json:",inline"`
	Host               string    `json:"host"`
	Created            time.Time `json:"created"`
	Checks             []Check   `json:"checks"`
}

// Check is the result of one check of a claim.
type Check struct {
	// Asks is what the check asks for.
	Asks string `json:"asks"`
	// Refusal is nil if the claim passes.
	Refusal *Refusal `json:"refusal,omitempty"`
}

// Proxy is what one process with a data plane knows.
type Proxy struct {
	// Process names the process, such as "pod usher-7c9".
	Process string `json:"process,omitempty"`
	// NotReady is why the process does not serve yet; empty if it does.
	NotReady string `json:"notReady,omitempty"`
	// Manifests means that the routes come from files and not from an edge cluster.
	Manifests bool `json:"manifests,omitempty"`
	// Route is the route of the host; nil if there is none.
	Route *Route `json:"route,omitempty"`
	// Dials are the addresses of the route's backends that were dialled.
	Dials []Dial `json:"dials,omitempty"`
	// MoreDials is how many addresses were not dialled, since there are too many.
	MoreDials int `json:"moreDials,omitempty"`
	// Knock is what was refused for this name; nil if nothing was.
	Knock *Knock `json:"knock,omitempty"`
}

// Route is a route of the routing table.
type Route struct {
	// Host is that of the route: the host, or the wildcard over it.
	Host string `json:"host"`
	// Refusal is the reason why the host is refused; empty if it is served.
	Refusal string `json:"refusal,omitempty"`
	// PlainOnly means that TLS is refused, and Ports are the TLS ports on which the host is
	// served.
	PlainOnly bool     `json:"plainOnly,omitempty"`
	Ports     []string `json:"ports,omitempty"`
	PlainHTTP string   `json:"plainHTTP,omitempty"`
	// AllowFrom are the clients that may connect, unless Everyone.
	AllowFrom []string `json:"allowFrom,omitempty"`
	Everyone  bool     `json:"everyone"`
	// By is the object that publishes it; empty if it is not known.
	By string `json:"by,omitempty"`
	// Backends is how many backends the route has.
	Backends int `json:"backends"`
}

// Dial is the attempt to open a TCP connection to an address of a backend.
type Dial struct {
	// Cluster is empty for a configured endpoint.
	Cluster string `json:"cluster,omitempty"`
	// Address is the address as it is configured, with the port, and To is what was
	// dialled, if that differs.
	Address string `json:"address"`
	To      string `json:"to,omitempty"`
	// Error is empty if the connection was accepted.
	Error string `json:"error,omitempty"`
	// Milliseconds are how long it took.
	Milliseconds int64 `json:"milliseconds"`
}

// Knock is what clients were refused who asked for the name.
type Knock struct {
	Count    uint64    `json:"count"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Reason   string    `json:"reason"`
	Networks []string  `json:"networks,omitempty"`
}

// maxAllowFrom bounds the networks of a Route.
const maxAllowFrom = 20

// RouteOf returns the facts of a route; nil for nil.
func RouteOf(r *routing.Route) *Route {
	if r == nil {
		return nil
	}
	is := &Route{Host: r.Host, Refusal: r.Refusal}
	if r.Refusal != "" {
		return is
	}
	is.PlainOnly, is.PlainHTTP, is.Backends = r.PlainOnly, r.PlainHTTP.String(), len(r.Backends)
	if !r.PlainOnly && !r.NotHTTPS {
		is.Ports = []string{routing.PortHTTPS}
	}
	if !r.PlainOnly {
		for _, port := range r.Ports {
			is.Ports = append(is.Ports, port.Name)
			is.Backends = max(is.Backends, len(port.Backends))
		}
	}
	is.Everyone = len(r.AllowFrom) == 0 && len(r.AllowWithin) == 0
	for _, network := range r.AllowFrom[:min(len(r.AllowFrom), maxAllowFrom)] {
		is.AllowFrom = append(is.AllowFrom, network.String())
	}
	if more := len(r.AllowFrom) - len(is.AllowFrom) + len(r.AllowWithin); more > 0 {
		is.AllowFrom = append(is.AllowFrom, "and others")
	}
	if r.Source != nil {
		is.By = r.Source.String()
	}
	return is
}
