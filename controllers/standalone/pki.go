package standalone

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"slices"
	"time"
)

// Administrators is the group of the clients that may do everything, as in Kubernetes.
const Administrators = "system:masters"

const (
	caLife     = 10 * 365 * 24 * time.Hour
	clientLife = 365 * 24 * time.Hour
	// ServingLife is how long the certificate of the API server is valid. It is made at
	// each start, and its key is on no disk.
	ServingLife = 365 * 24 * time.Hour
	// clockSkew is how far the clock of a client may be behind.
	clockSkew = 24 * time.Hour
)

// A pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// renew makes the authority and the administrator's certificate, if they are missing,
// cannot be used, or have less than a third of their life left. A new authority needs a
// new certificate of the administrator.
func (d Dir) renew(now time.Time) error {
	ca, err := d.authority(now)
	if err != nil {
		return err
	}
	admin, err := readPair(d.admin(), d.admin())
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errUnreadable) {
		return err
	}
	if err == nil && admin.certificate.CheckSignatureFrom(ca.certificate) == nil && fresh(admin.certificate, now) {
		return nil
	}
	subject := pkix.Name{CommonName: "usher:admin", Organization: []string{Administrators}}
	made, err := ca.sign(&x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, now, clientLife)
	if err != nil {
		return err
	}
	text, key, err := made.encode()
	if err != nil {
		return err
	}
	return writeFile(d.admin(), append(text, key...))
}

// authority returns the authority. It is made once: another one would refuse each client.
// It is replaced only when it has ended.
func (d Dir) authority(now time.Time) (*pair, error) {
	ca, err := readPair(d.CA(), d.caKey())
	switch {
	case err == nil && now.Before(ca.certificate.NotAfter):
		return ca, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w; restore the directory pki from a backup, or remove ca.crt, ca.key and admin.pem there: then the certificates of all clients must be made again", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "usher edge " + now.UTC().Format(time.DateOnly)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, SerialNumber: serial(),
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(caLife),
	}
	ca, err = create(template, template, key, key)
	if err != nil {
		return nil, err
	}
	text, secret, err := ca.encode()
	if err != nil {
		return nil, err
	}
	if err := writeFile(d.caKey(), secret); err != nil {
		return nil, err
	}
	return ca, writeFile(d.CA(), text)
}

// fresh reports whether a third of the certificate's life is left.
func fresh(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) > c.NotAfter.Sub(c.NotBefore)/3
}

// Serving returns a certificate and its key for the API server, as PEM, for the addresses
// of a listener and for further names.
func (d Dir) Serving(listen net.Addr, names []string) (certificate, key []byte, _ error) {
	now := time.Now()
	ca, err := readPair(d.CA(), d.caKey())
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "usher"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"localhost"}}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		template.DNSNames = append(template.DNSNames, host)
	}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if bound, ok := listen.(*net.TCPAddr); ok && bound.IP.IsUnspecified() {
		template.IPAddresses = append(template.IPAddresses, ownAddresses()...)
	} else if ok {
		template.IPAddresses = append(template.IPAddresses, bound.IP)
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	made, err := ca.sign(template, now, ServingLife)
	if err != nil {
		return nil, nil, err
	}
	return made.encode()
}

// maxAddresses bounds the addresses in a certificate.
const maxAddresses = 64

func ownAddresses() []net.IP {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var ips []net.IP
	for _, address := range all[:min(len(all), maxAddresses)] {
		if network, ok := address.(*net.IPNet); ok && !slices.ContainsFunc(ips, network.IP.Equal) {
			ips = append(ips, network.IP)
		}
	}
	return ips
}

// sign makes a certificate.
func (p *pair) sign(template *x509.Certificate, now time.Time, life time.Duration) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.KeyUsage = serial(), x509.KeyUsageDigitalSignature
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), now.Add(life)
	return create(template, p.certificate, key, p.key)
}

func create(template, parent *x509.Certificate, key, signer crypto.Signer) (*pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &pair{certificate, key}, err
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand does not fail
	return n
}

const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// encode returns the certificate and the key as PEM.
func (p *pair) encode() (certificate, key []byte, _ error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: p.certificate.Raw}), pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), nil
}

// errUnreadable marks a file that is there and is no certificate or key.
var errUnreadable = errors.New("is damaged")

// readPair reads a certificate and its key from two files, or from one.
func readPair(certificateFile, keyFile string) (*pair, error) {
	certificateDER, err := readBlock(certificateFile, certificateBlock)
	if err != nil {
		return nil, err
	}
	keyDER, err := readBlock(keyFile, keyBlock)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(certificateDER)
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", certificateFile, errUnreadable, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("%s %w: %w", keyFile, errUnreadable, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, fmt.Errorf("%s %w: it is not the key of %s", keyFile, errUnreadable, certificateFile)
	}
	return &pair{certificate, key}, nil
}

func readBlock(file, kind string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("%s %w: it has no %s", file, errUnreadable, kind)
}
