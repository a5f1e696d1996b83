package controllers

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	resolveEvery   = 15 * time.Second
	resolveTimeout = 5 * time.Second // of one name
)

// pinnedNames resolves the DNS names in spec.ingress.addresses of all members: no other
// member may use the addresses behind them. It is a Runnable of the elected leader, so
// that a reconciler never waits for a name server.
type pinnedNames struct {
	reader client.Reader
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// changed is called when a name resolves to something else.
	changed func()

	mu    sync.Mutex
	known map[string][]netip.Addr // name → addresses, sorted
}

// Start resolves the names until ctx ends.
func (n *pinnedNames) Start(ctx context.Context) error {
	for {
		if clusters, err := listClusters(ctx, n.reader); err == nil {
			n.resolve(ctx, clusters)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(resolveEvery):
		}
	}
}

// resolve resolves every name. A name that cannot be resolved keeps its last addresses.
func (n *pinnedNames) resolve(ctx context.Context, clusters map[string]*v1alpha1.MemberCluster) {
	before, after := n.all(), map[string][]netip.Addr{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, name := range namesOf(clusters) {
		asking.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
			defer cancel()
			addrs, err := n.lookup(ctx, "ip", name)
			if err != nil {
				addrs = before[name]
			}
			addrs = slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
			mu.Lock()
			defer mu.Unlock()
			after[name] = addrs
		})
	}
	asking.Wait()
	n.mu.Lock()
	n.known = after
	n.mu.Unlock()
	if !maps.EqualFunc(before, after, slices.Equal) {
		n.changed()
	}
}

// all returns the addresses of every name. They must not be changed.
func (n *pinnedNames) all() map[string][]netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known
}

// namesOf returns the DNS names in spec.ingress.addresses of all clusters, without
// duplicates.
func namesOf(clusters map[string]*v1alpha1.MemberCluster) []string {
	var names []string
	for _, cluster := range clusters {
		for _, address := range cluster.Spec.Ingress.Addresses {
			if _, err := netip.ParseAddr(address); err != nil {
				names = append(names, address)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
