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
	name         string         // the name that is being looked up, or ""
	dialled      netip.AddrPort // the address that is being dialled
	dialRefusal  refusal        // why the latest address failed

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

// firstBytes returns the first bytes for the backend: a PROXY header if it expects
// one, then the unchanged bytes of the client.
func (c *conn) firstBytes() (*buffer, error) {
	o := c.opening
	version := o.targets.backend.ProxyProtocol
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

// dropOpening releases the opening.
func (c *conn) dropOpening() {
	if c.opening == nil {
		return
	}
	c.loop.unrouted.remove(c)
	c.loop.helloMemory.release(c.opening.held)
	c.loop.buffers.put(c.opening.received)
	c.loop.openings.put(c.opening)
	c.opening = nil
}
