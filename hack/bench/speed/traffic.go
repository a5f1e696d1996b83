package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	serveTimeout   = 5 * time.Minute // for everything to be served
	pollEvery      = time.Millisecond
)

// serveEveryHost starts the TLS server behind usher, and returns its address.
func serveEveryHost(ctx context.Context) (netip.AddrPort, error) {
	certificate, err := selfSigned()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen for the ingress: %w", err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	serves := &tls.Config{Certificates: []tls.Certificate{certificate}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = tls.Server(conn, serves).HandshakeContext(ctx)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort(), nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// visitor connects to one host, with the same ClientHello at each attempt: since all
// processes share the machine, the visitor must use little CPU time.
type visitor struct{ hello []byte }

func newVisitor(ctx context.Context, host string) (*visitor, error) {
	var r recorder
	_ = tls.Client(&r, &tls.Config{ServerName: host, InsecureSkipVerify: true}).HandshakeContext(ctx) // ends at the first write
	if len(r.hello) == 0 {
		return nil, fmt.Errorf("no ClientHello for %s", host)
	}
	return &visitor{r.hello}, nil
}

// recorder is a connection that stores a ClientHello, and then fails.
type recorder struct {
	net.Conn
	hello []byte
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.hello == nil {
		r.hello = slices.Clone(p)
	}
	return 0, io.ErrClosedPipe
}

// Types of TLS records (RFC 8446, section 5.1): the first begins the ServerHello of the
// ingress, the second the alert of usher's refusal.
const (
	recordAlert     = 21
	recordHandshake = 22
)

// connect reports whether usher routes a connection, so that the ingress answers its
// ClientHello. It returns an error if neither the ingress nor usher answers.
func (v *visitor) connect(ctx context.Context, usher netip.AddrPort) (routed bool, err error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", usher.String())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(connectTimeout)); err != nil {
		return false, err
	}
	if _, err := conn.Write(v.hello); err != nil {
		return false, err
	}
	record := make([]byte, 1)
	if _, err := io.ReadFull(conn, record); err != nil {
		return false, err
	}
	switch record[0] {
	case recordHandshake:
		return true, nil
	case recordAlert:
		return false, nil
	}
	return false, fmt.Errorf("the answer begins with %d, which is neither a ServerHello nor an alert", record[0])
}

// awaitRouted waits until a connection is routed, or refused, and returns how many
// attempts that took.
func (v *visitor) awaitRouted(ctx context.Context, usher netip.AddrPort, routed bool) (attempts int, err error) {
	for began := time.Now(); ; {
		is, err := v.connect(ctx, usher)
		attempts++
		switch {
		case err == nil && is == routed:
			return attempts, nil
		case ctx.Err() != nil:
			return attempts, ctx.Err()
		case time.Since(began) > serveTimeout:
			return attempts, fmt.Errorf("routed should be %v within %v: is %v, %w", routed, serveTimeout, is, err)
		}
		time.Sleep(pollEvery)
	}
}
