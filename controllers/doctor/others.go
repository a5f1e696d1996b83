package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/proxy/routing"
)

// traefikNotFound is the body of Traefik's response for a host that it does not serve.
const traefikNotFound = "404 page not found\n"

// others asks, on connections with the name of the host, for other hosts: private ones,
// one that nobody serves, exposed ones with another allow-from list, and those of other
// clusters that the certificate covers.
func (d *Doctor) others(ctx context.Context, b *backend, s *session, all *Inventory) (findings []Finding) {
	nobody := unknownName()
	unserved, err := s.get(ctx, nobody)
	if err != nil {
		return nil // it does not speak HTTP, or not without a client certificate
	}
	if leaked := d.leaks(ctx, b, s, unserved, all); len(leaked) > 0 {
		findings = append(findings, b.found(reason.FrontingLeak, b.isolate(), "on a connection with the name %s, these other hosts are answered: %s", s.name, firstFew(leaked)))
	}
	return append(findings, d.coalescing(ctx, b, s, all)...)
}

// leaks returns the hosts that are answered and should not be.
func (d *Doctor) leaks(ctx context.Context, b *backend, s *session, unserved answer, all *Inventory) (leaked []string) {
	if serves(unserved) {
		leaked = append(leaked, fmt.Sprintf("any (a random one gets %d)", unserved.status))
	}
	var names []string
	if d.Private != nil && b.Cluster != "" {
		for _, name := range d.Private(b.Cluster, maxPrivate) {
			if name = routing.NameWithin(name); !all.Exposed(name) {
				names = append(names, name)
			}
		}
	}
	for _, other := range all.narrower(b.host, b.Backend, maxPaired) {
		names = append(names, other.asked())
	}
	for _, name := range names {
		if got, err := s.get(ctx, name); err == nil && got.differs(unserved) {
			leaked = append(leaked, fmt.Sprintf("%s (%d)", name, got.status))
		}
	}
	return leaked
}

// serves reports whether an app seems to have answered.
func serves(a answer) bool {
	return a.status < http.StatusBadRequest || a.status == http.StatusUnauthorized
}

// differs reports whether a response is another one than that for a host that nobody
// serves. Of two errors with the same status, the body decides only if that of Traefik is
// known: pages of errors may name the host.
func (a answer) differs(unserved answer) bool {
	switch {
	case a.status == http.StatusMisdirectedRequest:
		return false
	case a.status != unserved.status:
		return true
	}
	return serves(a) || unserved.body == traefikNotFound && a.body != unserved.body
}

// coalescing asks for hosts of other backends that the certificate covers.
func (d *Doctor) coalescing(ctx context.Context, b *backend, s *session, all *Inventory) []Finding {
	if s.state.NegotiatedProtocol != "h2" || len(s.state.PeerCertificates) == 0 {
		return nil
	}
	var answered []string
	for _, other := range all.elsewhere(b.host, b.Backend, certificateNames(s.state.PeerCertificates[0]), maxPaired) {
		if got, err := s.get(ctx, other.asked()); err == nil && got.status != http.StatusMisdirectedRequest {
			answered = append(answered, fmt.Sprintf("%s (%d)", other.asked(), got.status))
		}
	}
	if len(answered) == 0 {
		return nil
	}
	return []Finding{b.found(reason.CoalescingRisk, b.isolate(), "the backend offers HTTP/2, its certificate covers hosts of other backends, and it does not answer 421 for them: %s", firstFew(answered))}
}

func certificateNames(leaf *x509.Certificate) []string {
	return leaf.DNSNames[:min(len(leaf.DNSNames), maxCertificateNames)]
}

// firstFew joins the first names, and says how many more there are.
func firstFew(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
