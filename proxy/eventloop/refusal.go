package eventloop

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/clienthello"
)

// refusal is why a connection never reached a backend.
type refusal uint8

const (
	tooManyConnections refusal = iota
	tooManyFromClient
	badProxyHeader
	notTLS
	malformedHello
	helloTooLong
	helloTimeout
	leftBeforeHello
	noServerName
	badServerName
	unknownHost
	refusedHost
	clientNotAllowed
	noBackend
	noResources
	routeLoops
	leftBeforeBackend
	outOfHelloMemory
	refusals // how many there are
)

// String returns the value of the metrics' label reason.
func (r refusal) String() string {
	return [refusals]string{
		"too_many_connections", "too_many_of_client", "bad_proxy_header",
		"not_tls", "malformed_hello", "hello_too_long", "hello_timeout", "left_before_hello",
		"no_server_name", "bad_server_name", "unknown_host", "refused_host", "client_not_allowed",
		"no_backend", "no_resources", "loop", "left_before_backend", "hello_memory",
	}[r]
}

// Alert descriptions of RFC 8446, section 6.
const (
	noAlert          = 0 // close_notify, which no refusal is
	decodeError      = 50
	internalError    = 80
	unrecognizedName = 112
)

// alert returns the TLS alert that a refused client is told. A client outside
// allowFrom, and one that asks for a refused host, is told what it would be
// told if the host did not exist.
func (r refusal) alert() byte {
	switch r {
	case malformedHello, helloTooLong:
		return decodeError
	case noServerName, badServerName, unknownHost, refusedHost, clientNotAllowed:
		return unrecognizedName
	case noBackend, noResources, routeLoops:
		return internalError
	}
	return noAlert
}

// alertRecord is a fatal alert: RFC 8446, sections 5.1 and 6.
func alertRecord(description byte) []byte {
	return []byte{21, 3, 3, 0, 2, 2, description}
}

// maxDiscarded bounds, in bytes, what a refused client may go on to send.
const maxDiscarded = 64 << 10

// refuse tells the client no and counts why. A reset would overtake the alert
// if bytes of the client's were left unread, so the client is heard out for a
// while: see discard.
func (c *conn) refuse(why refusal) {
	l := c.loop
	l.counters.refused[why].Add(1)
	l.logQueue.logRefused(c.client, c.opening.host, why.String(), c.opening.routeRefusal)
	c.dropOpening()
	c.dropBackend()
	alert := why.alert()
	if alert == noAlert {
		c.end()
		return
	}
	record := alertRecord(alert)
	if n, errno := l.kernel.write(int(c.down.dst), record, true); errno != 0 || n < len(record) {
		c.end()
		return
	}
	shutdownWrite(c.down.dst)
	c.enter(refusing)
	c.watchClient()
	c.up.readable = true
	c.discard()
}

// discard throws away what a refused client still sends, so much and no more.
func (c *conn) discard() {
	l := c.loop
	for c.up.readable {
		n, errno := l.kernel.read(int(c.up.src), l.scratch)
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			c.up.readable = false
		case errno != 0 || n == 0 || c.up.moved > maxDiscarded:
			c.end()
			return
		default:
			c.up.moved += uint64(n)
		}
	}
}

// helloRefusal translates what the parser says.
func helloRefusal(err error) refusal {
	var r clienthello.Refusal
	if !errors.As(err, &r) {
		return malformedHello
	}
	switch r {
	case clienthello.NotTLS:
		return notTLS
	case clienthello.TooLong:
		return helloTooLong
	case clienthello.NoServerName:
		return noServerName
	case clienthello.BadServerName:
		return badServerName
	}
	return malformedHello
}
