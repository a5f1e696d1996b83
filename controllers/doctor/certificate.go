package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

const (
	// expirySoon is how long before its end a certificate is reported.
	expirySoon = 14 * 24 * time.Hour

	// traefikDefault is the common name of the certificate that Traefik makes for names
	// for which it has none.
	traefikDefault = "TRAEFIK DEFAULT CERT"

	maxCertificateNames = 100
)

// certificate audits the certificate that a backend has shown for the name of the host.
// Who has signed it is not looked at: a CDN may accept a private authority.
func certificate(b *backend, state *tls.ConnectionState, now time.Time) []Finding {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	asked := b.host.asked()
	switch {
	case leaf.Subject.CommonName == traefikDefault:
		return []Finding{b.found(reason.DefaultCertificate, b.setCertificate(), "for %s the backend shows Traefik's own certificate, %q", asked, traefikDefault)}
	case leaf.VerifyHostname(asked) != nil:
		return []Finding{b.found(reason.CertificateMismatch, b.setCertificate(), "for %s the backend shows a certificate of %s", asked, namesOf(leaf))}
	case now.Add(expirySoon).After(leaf.NotAfter):
		is := "ends"
		if now.After(leaf.NotAfter) {
			is = "has ended"
		}
		return []Finding{b.found(reason.CertificateExpiry, b.setCertificate(), "the certificate for %s %s at %s", asked, is, leaf.NotAfter.UTC().Format(time.RFC3339))}
	case now.Before(leaf.NotBefore):
		return []Finding{b.found(reason.CertificateExpiry, b.setCertificate(), "the certificate for %s begins at %s", asked, leaf.NotBefore.UTC().Format(time.RFC3339))}
	}
	return nil
}

// namesOf returns the first names of a certificate, for a sentence.
func namesOf(leaf *x509.Certificate) string {
	switch names := leaf.DNSNames; {
	case len(names) == 0:
		return "no host"
	default:
		return strings.Join(names[:min(len(names), maxNamed)], ", ")
	}
}
