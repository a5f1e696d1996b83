//go:build linux

package main

import (
	"context"
	"net/netip"
	"os"

	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/health"
	"github.com/jovalle/usher/proxy/routing"
)

// whyFacts tells what this process knows of a host, for usher why.
type whyFacts struct {
	looks     *observed
	manifests bool // hosts come from files
	ready     func() error
	table     *routing.Live // nil without a proxy
	own       func(netip.AddrPort) bool
}

// of returns the facts about a host in canonical form. It dials the backends of its route.
func (w *whyFacts) of(ctx context.Context, host string) (explain.Facts, error) {
	is := explain.Facts{Host: host}
	if facts := w.looks.facts.Load(); facts != nil {
		var err error
		if is.Control, err = (*facts)(ctx, host); err != nil {
			return is, err
		}
	}
	if w.table != nil {
		is.Proxy = w.proxy(ctx, host)
	}
	return is, nil
}

// proxy returns what the data plane knows of a host.
func (w *whyFacts) proxy(ctx context.Context, host string) *explain.Proxy {
	name, _ := os.Hostname() // of a pod it is the pod's name
	is := &explain.Proxy{Process: name, Manifests: w.manifests}
	if err := w.ready(); err != nil {
		is.NotReady = message.Of(err)
	}
	table := w.table.Load()
	route := table.Own(host)
	if route == nil {
		route = table.Lookup(host)
	}
	if is.Route = explain.RouteOf(route); route != nil && route.Refusal == "" {
		attempts, more := health.Try(ctx, route, w.own, explain.MaxDials)
		is.MoreDials = more
		for i := range attempts {
			is.Dials = append(is.Dials, dialOf(&attempts[i]))
		}
	}
	if k, found := w.looks.knocks.Of(host); found {
		is.Knock = &explain.Knock{Count: k.Count, First: k.First, Last: k.Last, Reason: k.Reason}
		for _, network := range k.Networks {
			is.Knock.Networks = append(is.Knock.Networks, network.String())
		}
	}
	return is
}

func dialOf(a *health.Attempt) explain.Dial {
	d := explain.Dial{Cluster: a.Cluster, Address: a.Address, Milliseconds: a.Took.Milliseconds()}
	if a.To.IsValid() && a.To.String() != a.Address {
		d.To = a.To.String()
	}
	if a.Err != nil {
		d.Error = message.Of(a.Err)
	}
	return d
}
