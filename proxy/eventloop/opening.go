package eventloop

import (
	"errors"
	"net/netip"

	"github.com/jovalle/usher/proxy/clienthello"
	"github.com/jovalle/usher/proxy/routing"
)

// opening is what a connection needs until its backend has the hello.
type opening struct {
	received     *buffer // every byte from the client so far
	awaitHeader  bool    // a PROXY header comes first
	parser       clienthello.Parser
	host         string
	routeRefusal string // of a host that is refused: what its route says
	targets      targets
	destination  netip.AddrPort // where a PROXY header says that the client connected to
	name         string         // the name that is being looked up, else ""
	dialled      netip.AddrPort // the address that is being dialled
	dialRefusal  refusal        // why the latest address was no use

	held           int  // bytes that are counted in helloMemory
	listed         bool // it is in loop.unrouted, between these two
	older, younger *conn
}

// openings are used again, so that a busy loop makes little garbage.
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

// parse looks for the host in the bytes so far, and decides once it is known.
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

// parseHeader reads the PROXY header; it reports whether the hello can follow.
func (c *conn) parseHeader() bool {
	o := c.opening
	size, says, err := readProxyHeader(o.received.bytes())
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
	if says.client.IsValid() {
		c.client, o.destination = says.client, says.destination
	}
	return c.join()
}

// growReceived makes room for more of the hello, as much again at a time: a
// client must send what it makes the proxy hold.
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

// firstBytes returns what the backend gets first: a PROXY header if it wants
// one, then the client's bytes exactly as they came.
func (c *conn) firstBytes() (*buffer, error) {
	o := c.opening
	version := o.targets.backend.ProxyProtocol
	if version == routing.None {
		received := o.received
		o.received = nil // it is the flow's now
		return received, nil
	}
	says := endpoints{c.client, o.destination}
	if !says.destination.IsValid() {
		says.destination = localAddr(c.up.src)
	}
	header, err := proxyHeader(version, says, o.host)
	if err != nil {
		return nil, err
	}
	return c.loop.buffers.copyOf(header, o.received.bytes()), nil
}

// dropOpening gives back what only the opening needed.
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
