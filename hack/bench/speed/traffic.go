package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	patience       = 5 * time.Minute // for everything to be served
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
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}}).HandshakeContext(ctx)
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

// connect shakes hands with whatever usher routes a host to.
func connect(ctx context.Context, usher netip.AddrPort, host string) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", usher.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

// awaitRouted waits until a connection to the host is routed, or refused.
func awaitRouted(ctx context.Context, usher netip.AddrPort, host string, routed bool) error {
	for began := time.Now(); ; {
		err := connect(ctx, usher, host)
		switch {
		case (err == nil) == routed:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Since(began) > patience:
			return fmt.Errorf("%s should be routed (%v) within %v: %w", host, routed, patience, err)
		}
		time.Sleep(pollEvery)
	}
}
