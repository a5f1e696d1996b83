package eventloop

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/clienthello"
)

// refusal is the reason why a connection was not forwarded to a backend.
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
	echOuter
	refusals // the number of refusals
)

// String returns the value of the metric label reason.
func (r refusal) String() string {
	return [refusals]string{
		"too_many_connections", "too_many_of_client", "bad_proxy_header",
		"not_tls", "malformed_hello", "hello_too_long", "hello_timeout", "left_before_hello",
		"no_server_name", "bad_server_name", "unknown_host", "refused_host", "client_not_allowed",
		"no_backend", "no_resources", "loop", "left_before_backend", "hello_memory", "ech_outer",
	}[r]
}

// isKnock reports whether the client was refused because of what it has asked for: not
// because it sent nothing, a limit was reached or a backend does not answer.
func (r refusal) isKnock() bool {
	switch r {
	case notTLS, malformedHello, helloTooLong, noServerName, badServerName, unknownHost, refusedHost, clientNotAllowed, echOuter:
		return true
	}
	return false
}

// echPublicName is the public name of all ECH configurations that Cloudflare publishes in
// the DNS records of its customers' hosts. Clients that have got such a record send it
// instead of the host that they want.
const echPublicName = "cloudflare-ech.com"

// unknownRefusal returns the refusal of a host that is not in the table. It is echOuter
// only for the known public name: most browsers send the extension in every ClientHello, so
// that it says nothing about another name.
func (o *opening) unknownRefusal() refusal {
	if o.host == echPublicName && o.parser.OuterECH() {
		return echOuter
	}
	return unknownHost
}

// Alert descriptions of RFC 8446, section 6.
const (
	noAlert          = 0 // close_notify, which is not used for refusals
	decodeError      = 50
	internalError    = 80
	unrecognizedName = 112
)

// alert returns the TLS alert for a refused client. For a client outside of allowFrom,
// and for a refused host, the alert is the same as for an unknown host.
func (r refusal) alert() byte {
	switch r {
	case malformedHello, helloTooLong:
		return decodeError
	case noServerName, badServerName, unknownHost, refusedHost, clientNotAllowed, echOuter:
		return unrecognizedName
	case noBackend, noResources, routeLoops:
		return internalError
	}
	return noAlert
}

// alertRecord returns the record of a fatal alert: RFC 8446, sections 5.1 and 6.
func alertRecord(description byte) []byte {
	return []byte{21, 3, 3, 0, 2, 2, description}
}

// maxDiscarded bounds the bytes that are read from a refused client.
const maxDiscarded = 64 << 10

// refuse sends the client an alert and counts the reason. If the socket were closed
// with unread bytes, the kernel would send a reset, and the client might not read the
// alert. Therefore bytes of the client are read and discarded for a while: see
// discard.
func (c *conn) refuse(why refusal) {
	l := c.loop
	defer l.counters.refuse(why, c.port)
	if why.isKnock() {
		l.knocks.Add(c.client.Addr(), c.opening.host, why.String())
	}
	l.logQueue.logRefused(c.client, c.opening.host, why.String(), c.opening.routeRefusal, l.ports[c.port])
	c.dropOpening()
	c.closeBackend()
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

// discard reads and discards what a refused client still sends, up to maxDiscarded
// bytes.
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

// helloRefusal returns the refusal for an error of the parser.
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
