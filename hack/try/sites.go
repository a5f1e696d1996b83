package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

// serveSites starts the sites of both clusters and writes the certificate that curl must
// trust. It returns their ports on 127.0.0.1. They run until the process ends.
func serveSites(caFile string) (hades, illmatic int, err error) {
	certificate, encoded, err := selfSigned("*.techn.is")
	if err != nil {
		return 0, 0, err
	}
	if err := os.WriteFile(caFile, encoded, 0o644); err != nil {
		return 0, 0, err
	}
	if hades, err = serveSite("hades", certificate); err != nil {
		return 0, 0, err
	}
	illmatic, err = serveSite("illmatic", certificate)
	return hades, illmatic, err
}

// serveSite serves HTTPS on a free port. Its answers name the cluster and the host.
func serveSite(cluster string, certificate tls.Certificate) (port int, err error) {
	//nolint:noctx // the listener is open until the process ends
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s answers for %s\n", cluster, r.TLS.ServerName)
		}),
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// selfSigned returns a certificate for a name, valid for a day, and its PEM form.
func selfSigned(name string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, encoded, nil
}
