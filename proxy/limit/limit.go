// Package limit bounds connections: how many may be open, in total and for each
// client, and how long each may take. The TLS and the plain HTTP listeners share one
// count and the same timeouts.
//
// It must not import Kubernetes, nor anything else of usher.
package limit

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections counts open connections. Set its fields before the first use. Its
// methods may be called by any number of goroutines.
type Connections struct {
	// Max is how many connections may be open at once; 0 means no limit.
	Max int

	// PerClient is how many of them one client may have; 0 means no limit. A client
	// is an IPv4 address or an IPv6 /64, which is the usual prefix of a household or
	// host.
	PerClient int

	open    atomic.Int64
	refused atomic.Uint64
	mu      sync.Mutex
	clients map[netip.Addr]int // clientKey → open connections
}

// Open adds a connection and returns true, or returns false if there are Max already.
// The caller must call Close after each success.
func (c *Connections) Open() bool {
	if open := c.open.Add(1); c.Max > 0 && open > int64(c.Max) {
		c.open.Add(-1)
		c.refused.Add(1)
		return false
	}
	return true
}

// Close removes a connection.
func (c *Connections) Close() { c.open.Add(-1) }

// Count returns how many connections are open.
func (c *Connections) Count() int { return int(c.open.Load()) }

// Refused returns how many calls of Open and Join have returned false so far.
func (c *Connections) Refused() uint64 { return c.refused.Load() }

// Join adds a connection of a client and returns true, or returns false if the client
// has PerClient already. The caller must call Leave after each success.
func (c *Connections) Join(client netip.Addr) bool {
	if c.PerClient <= 0 {
		return true
	}
	key := clientKey(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[key] >= c.PerClient {
		c.refused.Add(1)
		return false
	}
	if c.clients == nil {
		c.clients = make(map[netip.Addr]int)
	}
	c.clients[key]++
	return true
}

// Leave removes a connection of a client.
func (c *Connections) Leave(client netip.Addr) {
	if c.PerClient <= 0 {
		return
	}
	key := clientKey(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[key]--; c.clients[key] <= 0 {
		delete(c.clients, key)
	}
}

// clientKey returns the key of a client: its IPv4 address, or the first address of its
// IPv6 /64.
func clientKey(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	const household = 64
	prefix, err := addr.Prefix(household)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}
