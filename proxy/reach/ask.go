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

// suffix ends the names that checks ask for. RFC 6761, section 6.4, keeps
// .invalid from ever being a name that exists.
const suffix = ".usher.invalid"

// An expectation is the name that the connection under way asks for.
type expectation struct {
	name string
	seen chan struct{} // closed when a listener of this process has heard it
}

// expect makes a name. Two of its labels are random, so that no wildcard of the
// routing table, which stands for one label, can cover it.
func expect() *expectation {
	label := func() string {
		random := make([]byte, 16)
		_, _ = rand.Read(random) // never fails: see its documentation
		return hex.EncodeToString(random)
	}
	return &expectation{name: label() + "." + label() + suffix, seen: make(chan struct{})}
}

// Seen reports whether a host is the one that the check's own connection asks
// for now, and lets the check know. The listeners ask it for hosts that are not
// in the routing table. It is true once for each connection; nobody can guess
// the name, and how long it takes tells nothing of it.
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

// outcome is what one connection shows.
type outcome uint8

const (
	seen     outcome = iota // it came to this process
	missed                  // somebody took it, and this process has not heard of it
	unknown                 // neither is certain
	outcomes                // how many there are
)

// String returns the value of the metric's label result.
func (o outcome) String() string { return [outcomes]string{"seen", "missed", "unknown"}[o] }

// ask makes one connection. by names the certificate of another that has it.
// Only a connection that somebody took can be missed: none at all is a matter of
// firewalls and of addresses that come and go.
func (c *Check) ask(ctx context.Context, t target) (result outcome, by string) {
	ctx, cancel := context.WithTimeout(ctx, c.pace.patience)
	defer cancel()
	limited := c.limited()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.at.String())
	if err != nil {
		return unknown, ""
	}
	defer conn.Close()
	e := expect()
	c.expected.Store(e)
	defer c.expected.Store(nil)
	by = c.say(ctx, conn, t, e)
	select {
	case <-e.seen:
		return seen, ""
	default:
	}
	// A newcomer that has taken over from this process has its connections, and so it should.
	if errors.Is(ctx.Err(), context.Canceled) || c.limited() != limited || listeners(t.bound) > 1 {
		return unknown, ""
	}
	return missed, by
}

func (c *Check) limited() uint64 {
	if c.Limited == nil {
		return 0
	}
	return c.Limited()
}

// say asks for the expected name and returns once it was seen, answered or
// refused, or ctx is over. Our listener is done with the name before it closes.
func (c *Check) say(ctx context.Context, conn net.Conn, t target, e *expectation) (by string) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if own, ok := conn.LocalAddr().(*net.TCPAddr); ok && c.ProxyProtocolFrom.Contain(own.AddrPort().Addr()) {
		// A connection of the sender's own: HAProxy's proxy-protocol.txt, section 2.1.
		if _, err := conn.Write([]byte("PROXY UNKNOWN\r\n")); err != nil {
			return ""
		}
	}
	if t.plain {
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: " + e.name + "\r\nConnection: close\r\n\r\n"))
		_, _ = conn.Read(make([]byte, 1))
		return ""
	}
	// No authority is trusted: whatever answers, the handshake goes no further.
	config := &tls.Config{ServerName: e.name, RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	return certificateName(tls.Client(conn, config).HandshakeContext(ctx))
}

// certificateName returns whom the certificate names that a handshake failed of.
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
	const longest = 64 // bytes of a stranger's that a log line or an answer may hold
	return name[:min(len(name), longest)]
}

// jitter returns a duration that is up to a tenth less or more.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((mathrand.Float64()*0.2-0.1)*float64(d)) //nolint:gosec // nothing depends on its being guessed
}

// A target is an address that is asked.
type target struct {
	at    netip.AddrPort
	bound netip.AddrPort // the listener's, which covers it
	plain bool           // it is asked by plain HTTP
}

// targets returns what is asked in a round: interfaces come and go.
func (c *Check) targets() []target {
	var all []target
	known := map[netip.AddrPort]bool{}
	for _, listeners := range []struct {
		bound []netip.AddrPort
		plain bool
	}{{c.HTTPS, false}, {c.HTTP, true}} {
		for _, bound := range listeners.bound {
			for _, addr := range c.Addresses.of(bound.Addr()) {
				at := netip.AddrPortFrom(addr, bound.Port())
				if !known[at] {
					known[at] = true
					all = append(all, target{at, bound, listeners.plain})
				}
			}
		}
	}
	return all[:min(len(all), mostAsked)]
}
