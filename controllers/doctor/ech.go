package doctor

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// Code points of RFC 9849 and of the registries of HPKE (RFC 9180, section 7).
const (
	echVersion    = 0xfe0d
	kemX25519     = 0x0020
	kdfHKDFSHA256 = 0x0001
	aeadAES128GCM = 0x0001
)

// ech offers an encrypted ClientHello whose key nobody has, as browsers do without a
// configuration (GREASE). A backend with keys of its own answers with retry_configs.
func (d *Doctor) ech(ctx context.Context, b *backend, s *session) []Finding {
	if s.state.Version < tls.VersionTLS13 {
		return nil
	}
	config := tlsConfig(s.name)
	config.MinVersion = tls.VersionTLS13
	config.EncryptedClientHelloRejectionVerify = func(tls.ConnectionState) error { return nil } // see handshake
	var err error
	if config.EncryptedClientHelloConfigList, err = greaseConfigs(s.name); err != nil {
		return nil
	}
	conn, err := d.handshake(ctx, s.to, s.header, config)
	if err == nil {
		end(conn)
	}
	if rejected, ok := errors.AsType[*tls.ECHRejectionError](err); ok && len(rejected.RetryConfigList) > 0 {
		return []Finding{b.found(reason.ECHBackend, b.withdraw(), "%s answers an encrypted ClientHello of unknown key with retry_configs of %d bytes: it has keys of its own", s.to, len(rejected.RetryConfigList))}
	}
	return nil
}

// greaseConfigs returns an ECHConfigList with a random key: RFC 9849, section 4.
func greaseConfigs(public string) ([]byte, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var list cryptobyte.Builder
	list.AddUint16LengthPrefixed(func(list *cryptobyte.Builder) {
		list.AddUint16(echVersion)
		list.AddUint16LengthPrefixed(func(config *cryptobyte.Builder) {
			config.AddUint8(0) // config_id
			config.AddUint16(kemX25519)
			config.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
			config.AddUint16LengthPrefixed(func(suites *cryptobyte.Builder) {
				suites.AddUint16(kdfHKDFSHA256)
				suites.AddUint16(aeadAES128GCM)
			})
			config.AddUint8(0) // maximum_name_length
			config.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(public)) })
			config.AddUint16(0) // extensions
		})
	})
	return list.Bytes()
}
