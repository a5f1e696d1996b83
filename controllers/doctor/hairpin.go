package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// hairpin audits whether clients of this network that are sent to the edge's public address
// reach it: a router without NAT loopback (RFC 4787, section 6: hairpinning) drops their
// connections, or answers itself. Found are the findings about the backends: where they have
// another certificate than the host's, none is expected here.
func (d *Doctor) hairpin(ctx context.Context, h *Host, answer DNSAnswer, found []Finding) []Finding {
	at := slices.IndexFunc(answer.Addrs, func(addr netip.Addr) bool { return d.Direct != nil && d.Direct(addr) && !addr.IsPrivate() })
	if d.PublicPort == 0 || h.PlainOnly || at < 0 {
		return nil
	}
	public := netip.AddrPortFrom(answer.Addrs[at], d.PublicPort)
	if d.isOwn(public.Addr(), public.Port()) {
		return nil // this machine has the address: no router is involved
	}
	conn, err := d.handshake(ctx, public, "", tlsConfig(h.asked()))
	var failed *net.OpError
	switch {
	case err != nil && errors.As(err, &failed) && failed.Op == "dial" && ctx.Err() == nil:
		return []Finding{h.unlooped("%s: %s", public, message.Of(err))}
	case err != nil:
		return nil // something has answered: an alert of usher, which may not serve this client
	}
	defer end(conn)
	leaf := conn.ConnectionState().PeerCertificates[0]
	if slices.ContainsFunc(found, isCertificate) || isOf(leaf, h.asked()) {
		return nil
	}
	return []Finding{h.unlooped("%s answers with the certificate of %s, as a router does that answers itself", public, message.Quote(nameOf(leaf)))}
}

// isCertificate reports whether a finding says that a backend has a certificate of other names.
func isCertificate(f Finding) bool {
	return f.Kind == reason.CertificateMismatch || f.Kind == reason.DefaultCertificate
}

func isOf(leaf *x509.Certificate, host string) bool { return leaf.VerifyHostname(host) == nil }

func nameOf(leaf *x509.Certificate) string {
	if len(leaf.DNSNames) > 0 {
		return leaf.DNSNames[0]
	}
	return leaf.Subject.CommonName
}

func (h *Host) unlooped(evidence string, parts ...any) Finding {
	return h.found(reason.HairpinNAT, "", []string{
		"dig " + h.asked() + "   # inside, the answer should be the edge's private address",
		"echo 'address=/" + h.asked() + "/EDGE-ADDRESS' >> /etc/dnsmasq.conf && systemctl restart dnsmasq   # or --dns-internal-target, as docs/dns.md says; or turn on NAT loopback in the router",
	}, "the resolver of this network answers %s with the edge's public address; from here, "+evidence, append([]any{h.asked()}, parts...)...)
}
