package history

import (
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// Event is what a line of the journal is about.
type Event string

// The events.
const (
	Exposed   Event = "exposed"   // the host is public from now on
	Withdrawn Event = "withdrawn" // the host is not public any more
	Moved     Event = "moved"     // other clusters or endpoints serve the host
	Changed   Event = "changed"   // how the host is served: addresses, ports, who may connect
	Source    Event = "source"    // another object publishes the host now, or somebody else has annotated it
	Held      Event = "held"      // the host has been public since Since; a file begins with these
	Started   Event = "started"   // usher started
	Stopped   Event = "stopped"   // usher stopped
	Dropped   Event = "dropped"   // Count changes have no line
)

// Line is a line of the journal.
type Line struct {
	Time  time.Time `json:"time"`
	Event Event     `json:"event"`
	Host  string    `json:"host,omitempty"`
	// By is the object by whose word the host is, or was, public.
	By *routing.Source `json:"by,omitempty"`
	// Clusters are the clusters, and the endpoints outside of them, that serve the host.
	Clusters []string `json:"clusters,omitempty"`
	// Backends are their addresses, as address:port.
	Backends []string `json:"backends,omitempty"`
	// AllowFrom are the networks of the clients that may connect; empty for all. Lists
	// and intersections of them are resolved.
	AllowFrom []string `json:"allowFrom,omitempty"`
	// Ports are the TLS ports on which the host is served, if they are not just https.
	Ports []string `json:"ports,omitempty"`
	// PlainHTTP is what port 80 does: Redirect, Forward or Deny.
	PlainHTTP string `json:"plainHTTP,omitempty"`
	// Reason is why the host is not public any more, if it is refused; otherwise nothing
	// publishes it any more.
	Reason string `json:"reason,omitempty"`
	// Away means that the change happened while usher did not run, or was not recorded
	// when it happened: at some time before Time.
	Away bool `json:"away,omitempty"`
	// Since is when the host became public; of withdrawn and held lines.
	Since *time.Time `json:"since,omitempty"`
	// Connections and Requests are the TLS connections and forwarded plain HTTP requests
	// that reached a backend since the host became public; of withdrawn and held lines.
	Connections uint64 `json:"connections,omitempty"`
	Requests    uint64 `json:"requests,omitempty"`
	// Count and Cluster are the number of changes that have no line, and whose they were.
	Count   uint64 `json:"count,omitempty"`
	Cluster string `json:"cluster,omitempty"`
}

// Bounds of the lists in a line.
const (
	maxListed   = 32
	maxNetworks = 64
)

// describe sets the fields of a line that say how a route is served.
func (l *Line) describe(route *routing.Route) {
	l.By = route.Source
	l.PlainHTTP = [...]string{routing.Redirect: "Redirect", routing.Forward: "Forward", routing.Deny: "Deny"}[route.PlainHTTP]
	backends := route.Backends
	for _, port := range route.Ports {
		l.Ports = append(l.Ports, port.Name)
		backends = slices.Concat(backends, port.Backends)
	}
	switch {
	case route.PlainOnly:
		l.Ports = []string{"http"}
	case len(l.Ports) > 0 && !route.NotHTTPS:
		l.Ports = append([]string{routing.PortHTTPS}, l.Ports...)
	}
	for i := range backends {
		b := &backends[i]
		for _, address := range b.Addresses {
			l.Backends = append(l.Backends, net.JoinHostPort(address, strconv.Itoa(int(b.HTTPSPort))))
			l.Clusters = append(l.Clusters, orElse(b.Cluster, address))
		}
	}
	l.Clusters, l.Backends = distinct(l.Clusters), distinct(l.Backends)
	for _, network := range route.AllowFrom {
		l.AllowFrom = append(l.AllowFrom, network.String())
	}
	for range route.AllowWithin {
		l.AllowFrom = append(l.AllowFrom, "an intersection of lists")
	}
	l.AllowFrom = l.AllowFrom[:min(len(l.AllowFrom), maxNetworks)]
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// distinct returns the first maxListed values, each once, sorted.
func distinct(values []string) []string {
	slices.Sort(values)
	values = slices.Compact(values)
	return values[:min(len(values), maxListed)]
}

// cluster returns the cluster whose changes a line counts as.
func (l *Line) cluster() string {
	if l.By != nil && l.By.Cluster != "" {
		return l.By.Cluster
	}
	if len(l.Clusters) > 0 {
		return l.Clusters[0]
	}
	return ""
}

// eventBetween returns the event between two states of a public host; "" if nothing has
// changed. A source that is not known is no change.
func eventBetween(was, is *Line) Event {
	switch {
	case !slices.Equal(was.Clusters, is.Clusters):
		return Moved
	case !slices.Equal(was.Backends, is.Backends) || !slices.Equal(was.AllowFrom, is.AllowFrom) ||
		!slices.Equal(was.Ports, is.Ports) || was.PlainHTTP != is.PlainHTTP:
		return Changed
	case is.By != nil && (was.By == nil || *was.By != *is.By):
		return Source
	}
	return ""
}
