// Package limit bounds connections: how many may be open, in all and of one
// client, and how long each may take. Both listeners of the proxy share one count
// and the same timeouts.
//
// It must not import Kubernetes, nor anything else of usher.
package limit

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections counts open connections. Its fields are set before its first
// use; its methods may be called by any number of goroutines.
type Connections struct {
	// Max is how many may be open at once; 0: any number.
	Max int

	// PerClient is how many of them one client may have; 0: any number. A
	// client is an IPv4 address or an IPv6 /64, which is what one household
	// or host is commonly given.
	PerClient int

	open    atomic.Int64
	refused atomic.Uint64
	mu      sync.Mutex
	clients map[netip.Addr]int // client → its open connections
}

// Open counts a connection in, unless there are Max already. Each success
// needs a Close.
func (c *Connections) Open() bool {
	if open := c.open.Add(1); c.Max > 0 && open > int64(c.Max) {
		c.open.Add(-1)
		c.refused.Add(1)
		return false
	}
	return true
}

// Close counts a connection out.
func (c *Connections) Close() { c.open.Add(-1) }

// Count returns how many connections are open.
func (c *Connections) Count() int { return int(c.open.Load()) }

// Refused returns how many connections were not counted in, so far.
func (c *Connections) Refused() uint64 { return c.refused.Load() }

// Join counts one more connection of a client, unless it has PerClient
// already. Each success needs a Leave.
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

// Leave counts one connection of a client less.
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

// clientKey returns what stands for a client: its IPv4 address, or the first
// address of its IPv6 /64.
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
