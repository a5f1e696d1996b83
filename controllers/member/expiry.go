package member

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Expiry is when a certificate or the token of a kubeconfig ends. The zero value stands
// for one that does not end.
type Expiry struct {
	// Field of the kubeconfig, such as client-certificate-data.
	Field string
	// At is the end, in seconds of UTC.
	At time.Time
}

// The fields of a kubeconfig whose content may end.
const (
	fieldAuthority   = "certificate-authority-data"
	fieldCertificate = "client-certificate-data"
	fieldToken       = "token"
)

// expiryOf returns the first end among the certificates and the token of a client
// configuration. The error names the field whose content is malformed, and does not
// quote it.
func expiryOf(config *rest.Config) (Expiry, error) {
	var first Expiry
	for _, field := range []struct {
		name string
		end  func(*rest.Config) (time.Time, error)
	}{{fieldCertificate, certificateEnd}, {fieldAuthority, authorityEnd}, {fieldToken, tokenEnd}} {
		end, err := field.end(config)
		if err != nil {
			return Expiry{}, fmt.Errorf("%s: %w", field.name, err)
		}
		if end = end.UTC().Truncate(time.Second); !end.IsZero() && (first.At.IsZero() || end.Before(first.At)) {
			first = Expiry{Field: field.name, At: end}
		}
	}
	return first, nil
}

// certificateEnd returns the first end among the certificates of the client's chain.
func certificateEnd(config *rest.Config) (time.Time, error) {
	if len(config.CertData) == 0 {
		return time.Time{}, nil
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		return time.Time{}, fmt.Errorf("it is not usable with client-key-data: %w", err)
	}
	var first time.Time
	for _, der := range pair.Certificate {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return time.Time{}, err
		}
		if first.IsZero() || certificate.NotAfter.Before(first) {
			first = certificate.NotAfter
		}
	}
	return first, nil
}

// authorityEnd returns the last end among the CA certificates: one of them is enough, and
// a cluster that renews its CA has two. As in client-go, others may be unreadable.
func authorityEnd(config *rest.Config) (time.Time, error) {
	if len(config.CAData) == 0 {
		return time.Time{}, nil
	}
	var last time.Time
	for block, rest := pem.Decode(config.CAData); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			continue
		}
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil && certificate.NotAfter.After(last) {
			last = certificate.NotAfter
		}
	}
	if last.IsZero() {
		return time.Time{}, errors.New("it has no certificate in PEM that can be read")
	}
	return last, nil
}

// maxTokenEnd is the end of the year 9999, the last that a status can have.
const maxTokenEnd = 253402300799

// tokenEnd returns the end of a token that is a JWT (RFC 7519, section 4.1.4), such as
// one that was requested for a ServiceAccount. Another token says nothing of its end.
func tokenEnd(config *rest.Config) (time.Time, error) {
	parts := strings.Split(config.BearerToken, ".")
	if len(parts) != 3 {
		return time.Time{}, nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // a token may have any form
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expiry < 1 || claims.Expiry > maxTokenEnd {
		return time.Time{}, nil
	}
	return time.Unix(int64(claims.Expiry), 0), nil
}
