package reach

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"
)

// suffix is the suffix of the host names that probes use. Names under .invalid never
// exist: RFC 6761, section 6.4.
const suffix = ".usher.invalid"

// An expectation is the host name of the current probe.
type expectation struct {
	name string
	seen chan struct{} // closed when a listener of this process received the name
}

// newExpectation generates a name. Two of its labels are random, so that no wildcard
// in the routing table matches it: a wildcard matches one label.
func newExpectation() *expectation {
	label := func() string {
		random := make([]byte, 16)
		_, _ = rand.Read(random) // never fails: see its documentation
		return hex.EncodeToString(random)
	}
	return &expectation{name: label() + "." + label() + suffix, seen: make(chan struct{})}
}

// Seen reports whether a host is the name of the current probe, and if so, records
// that the probe reached this process. The listeners call it for hosts that are not
// in the routing table. It returns true once for each probe. Clients cannot guess
// the name, and the comparison takes constant time.
func (c *Check) Seen(host string) bool {
	if !strings.HasSuffix(host, suffix) {
		return false
	}
	e := c.expected.Load()
	if e == nil || subtle.ConstantTimeCompare([]byte(host), []byte(e.name)) == 0 {
		return false
	}
	if !c.expected.CompareAndSwap(e, nil) {
		return false
	}
	close(e.seen)
	return true
}

// outcome is the result of one probe.
type outcome uint8

const (
	seen     outcome = iota // the connection reached this process
	missed                  // the connection was accepted, but not by this process
	unknown                 // neither is certain
	outcomes                // the number of outcomes
)

// String returns the value of the metric's label result.
func (o outcome) String() string { return [outcomes]string{"seen", "missed", "unknown"}[o] }

// probe opens one connection to a target. certificate is the name in the certificate
// of the other program, if it has one. If the connection is not accepted, the result
// is unknown: a firewall may block it, or the address was removed.
func (c *Check) probe(ctx context.Context, t target) (result outcome, certificate string) {
	ctx, cancel := context.WithTimeout(ctx, c.timing.timeout)
	defer cancel()
	limited := c.limited()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.at.String())
	if err != nil {
		return unknown, ""
	}
	defer conn.Close()
	e := newExpectation()
	c.expected.Store(e)
	defer c.expected.Store(nil)
	certificate = c.send(ctx, conn, t, e)
	select {
	case <-e.seen:
		return seen, ""
	default:
	}
	// After a take-over, connections reach the new process, as they should.
	if errors.Is(ctx.Err(), context.Canceled) || c.limited() != limited || listeners(t.bound) > 1 {
		return unknown, ""
	}
	return missed, certificate
}

func (c *Check) limited() uint64 {
	if c.Limited == nil {
		return 0
	}
	return c.Limited()
}

// send sends the expected name. It returns when the peer responds or closes the
// connection, or when ctx ends. A listener of this process calls Seen before it
// closes the connection.
func (c *Check) send(ctx context.Context, conn net.Conn, t target, e *expectation) (certificate string) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if own, ok := conn.LocalAddr().(*net.TCPAddr); ok && c.ProxyProtocolFrom.Contain(own.AddrPort().Addr()) {
		// UNKNOWN: the connection is the sender's own. See proxy-protocol.txt of
		// HAProxy, section 2.1.
		if _, err := conn.Write([]byte("PROXY UNKNOWN\r\n")); err != nil {
			return ""
		}
	}
	if t.plain {
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: " + e.name + "\r\nConnection: close\r\n\r\n"))
		_, _ = conn.Read(make([]byte, 1))
		return ""
	}
	// There are no trusted CAs, so that the handshake fails at any certificate.
	config := &tls.Config{ServerName: e.name, RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	return certificateName(tls.Client(conn, config).HandshakeContext(ctx))
}

// certificateName returns the name in the certificate with which a handshake failed,
// or "".
func certificateName(err error) string {
	var refused *tls.CertificateVerificationError
	if !errors.As(err, &refused) || len(refused.UnverifiedCertificates) == 0 {
		return ""
	}
	certificate := refused.UnverifiedCertificates[0]
	name := certificate.Subject.CommonName
	if name == "" && len(certificate.DNSNames) > 0 {
		name = certificate.DNSNames[0]
	}
	const maxName = 64 // bytes; the name is untrusted, and appears in logs
	return name[:min(len(name), maxName)]
}

// withJitter returns d, up to 10 % shorter or longer.
func withJitter(d time.Duration) time.Duration {
	return d + time.Duration((mathrand.Float64()*0.2-0.1)*float64(d)) //nolint:gosec // the value need not be secret
}

// A target is an address to probe.
type target struct {
	at    netip.AddrPort
	bound netip.AddrPort // address of the listener that covers it
	plain bool           // probe by plain HTTP instead of TLS
}

// targets returns the targets of a round. They may change, because addresses of
// interfaces do.
func (c *Check) targets() []target {
	var all []target
	known := map[netip.AddrPort]bool{}
	for _, listeners := range []struct {
		bound []netip.AddrPort
		plain bool
	}{{c.HTTPS, false}, {c.HTTP, true}} {
		for _, bound := range listeners.bound {
			for _, addr := range c.Addresses.forListener(bound.Addr()) {
				at := netip.AddrPortFrom(addr, bound.Port())
				if !known[at] {
					known[at] = true
					all = append(all, target{at, bound, listeners.plain})
				}
			}
		}
	}
	return all[:min(len(all), maxTargets)]
}
