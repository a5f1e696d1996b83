package eventloop

import (
	"errors"
	"net/netip"

	"github.com/jovalle/usher/proxy/clienthello"
	"github.com/jovalle/usher/proxy/routing"
)

// opening holds what a connection needs until the ClientHello is sent to the backend.
type opening struct {
	received     *buffer // all bytes from the client so far
	awaitHeader  bool    // a PROXY header must come first
	parser       clienthello.Parser
	host         string
	routeRefusal string // why the route refuses the host on this port; empty unless it does
	targets      targets
	destination  netip.AddrPort // destination address in the PROXY header
	lookup       target         // the name that is being looked up, if any
	dials        [maxDials]dialAttempt
	latest       int64   // loop time at which the latest dial or lookup began
	racing       bool    // counted in Forwarder.races
	dialRefusal  refusal // why the latest address failed

	held           int  // bytes counted in helloMemory
	listed         bool // in loop.unrouted, between older and younger
	older, younger *conn
}

// openings is a pool, so that a busy loop creates little garbage.
type openings []*opening

func (p *openings) get() *opening {
	last := len(*p) - 1
	if last < 0 {
		return new(opening)
	}
	o := (*p)[last]
	*p = (*p)[:last]
	return o
}

func (p *openings) put(o *opening) {
	*o = opening{}
	if len(*p) < maxFreeBuffers {
		*p = append(*p, o)
	}
}

// parse parses the bytes so far, and calls decide when the host is known.
func (c *conn) parse() {
	o := c.opening
	if o.awaitHeader && !c.parseHeader() {
		return
	}
	host, err := o.parser.Parse(o.received.bytes())
	switch {
	case errors.Is(err, clienthello.ErrIncomplete):
		c.growReceived()
	case err != nil:
		c.refuse(helloRefusal(err))
	default:
		o.host = host
		c.decide()
	}
}

// parseHeader parses the PROXY header. It returns false if the header is not complete
// yet, or the connection was refused.
func (c *conn) parseHeader() bool {
	o := c.opening
	size, addrs, err := readProxyHeader(o.received.bytes())
	switch {
	case errors.Is(err, errHeaderIncomplete):
		c.growReceived()
		return false
	case err != nil:
		c.refuse(badProxyHeader)
		return false
	}
	o.awaitHeader = false
	o.received.start += size
	if addrs.client.IsValid() {
		c.client, o.destination = addrs.client, addrs.destination
	}
	return c.join()
}

// growReceived doubles the buffer if it is full. A client must thus send at least half
// of the bytes that the proxy holds for it.
func (c *conn) growReceived() {
	l, o := c.loop, c.opening
	size := min(2*len(o.received.data), maxReceived)
	if len(o.received.space()) > 0 || !c.reserveHello(size-len(o.received.data)) {
		return
	}
	larger := l.buffers.get(size)
	larger.end = copy(larger.data, o.received.bytes())
	l.buffers.put(o.received)
	o.received = larger
}

// firstBytes returns the first bytes for a backend: a PROXY header if it expects one,
// then the unchanged bytes of the client.
func (c *conn) firstBytes(b *routing.Backend) (*buffer, error) {
	o := c.opening
	version := b.ProxyProtocol
	if version == routing.None {
		received := o.received
		o.received = nil // the flow owns it now
		return received, nil
	}
	addrs := endpoints{c.client, o.destination}
	if !addrs.destination.IsValid() {
		addrs.destination = localAddr(c.up.src)
	}
	header, err := proxyHeader(version, addrs, o.host)
	if err != nil {
		return nil, err
	}
	return c.loop.buffers.copyOf(header, o.received.bytes()), nil
}

// dropOpening releases the opening, and closes the dials that are still in progress.
func (c *conn) dropOpening() {
	l, o := c.loop, c.opening
	if o == nil {
		return
	}
	for i := range o.dials {
		if d := &o.dials[i]; d.open {
			c.giveUp(d)
		}
	}
	if o.racing {
		l.races.Add(-1)
	}
	l.unrouted.remove(c)
	l.helloMemory.release(o.held)
	l.buffers.put(o.received)
	l.openings.put(o)
	c.opening = nil
}
