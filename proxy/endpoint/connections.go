package endpoint

import "sync"

// Backend is an address of a cluster as a route has it: an IP address or a name, without
// a port.
type Backend struct{ Cluster, Address string }

// Connections counts the connections that are open, or being opened, to addresses. It holds
// only addresses that have some, so that open connections bound its size. The zero value
// is empty. Its methods may be called from any goroutine.
type Connections struct {
	mu   sync.Mutex
	open map[Backend]*Open // addresses with at least one connection
}

// Open is the count of the connections to one address.
type Open struct {
	of    *Connections
	to    Backend
	count int // guarded by of.mu
}

// Begin counts a connection. The caller calls End of the result once.
func (c *Connections) Begin(to Backend) *Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.open[to]
	if o == nil {
		if c.open == nil {
			c.open = make(map[Backend]*Open)
		}
		o = &Open{of: c, to: to}
		c.open[to] = o
	}
	o.count++
	return o
}

// End ends the count of a connection.
func (o *Open) End() {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	if o.count--; o.count == 0 {
		delete(o.of.open, o.to)
	}
}

// Count returns how many connections to an address are open.
func (c *Connections) Count(to Backend) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.open[to]; o != nil {
		return o.count
	}
	return 0
}

// Len returns how many addresses have connections.
func (c *Connections) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
