package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	requestTimeout   = 5 * time.Second
	closeTimeout     = time.Second

	maxHeader    = 32 << 10 // bytes of a response's header
	maxBody      = 2 << 10  // bytes of a response's body that are read
	maxDiscarded = 64 << 10 // bytes that are read until the backend closes
	maxDials     = 12       // connections of one session
)

// dial connects to an address, and sends the header.
func (d *Doctor) dial(ctx context.Context, to netip.AddrPort, header string) (net.Conn, error) {
	if err := d.limit.Wait(ctx); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: -1}).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	if header == "" {
		return conn, nil
	}
	_ = conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if _, err := io.WriteString(conn, header); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("send the PROXY header: %w", err)
	}
	return conn, nil
}

// handshake connects to an address and completes a TLS handshake. Any certificate will do:
// the audits look at it.
func (d *Doctor) handshake(ctx context.Context, to netip.AddrPort, header string, config *tls.Config) (*tls.Conn, error) {
	raw, err := d.dial(ctx, to, header)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	_ = raw.SetDeadline(time.Time{})
	return conn, nil
}

// tlsConfig is that of a client for a host name. Old versions are accepted, since the
// backend may serve old clients.
func tlsConfig(name string) *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2", "http/1.1"}} //nolint:gosec // any certificate will do: see handshake
}

// end ends a connection as a client does, with a close_notify and without a reset, so
// that the backend has nothing to log.
func end(conn *tls.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(closeTimeout))
	raw, isTCP := conn.NetConn().(*net.TCPConn)
	if conn.CloseWrite() == nil && isTCP && raw.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, raw, maxDiscarded)
	}
}

// session sends requests to one address with one name in the TLS handshake.
type session struct {
	doctor    *Doctor
	to        netip.AddrPort
	header    string // PROXY header
	name      string // in the TLS handshake
	state     tls.ConnectionState
	transport *http.Transport

	mu    sync.Mutex
	first *tls.Conn // of the first handshake, until a request takes it
	conns []*tls.Conn
}

// open opens a session.
func (d *Doctor) open(ctx context.Context, to netip.AddrPort, header, name string) (*session, error) {
	conn, err := d.handshake(ctx, to, header, tlsConfig(name))
	if err != nil {
		return nil, err
	}
	s := &session{doctor: d, to: to, header: header, name: name, state: conn.ConnectionState(), first: conn, conns: []*tls.Conn{conn}}
	s.transport = &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true, MaxConnsPerHost: 1, MaxResponseHeaderBytes: maxHeader, ResponseHeaderTimeout: requestTimeout,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if conn := s.first; conn != nil {
				s.first = nil
				return conn, nil
			}
			if len(s.conns) == maxDials {
				return nil, fmt.Errorf("the backend has ended %d connections", maxDials)
			}
			conn, err := d.handshake(ctx, to, header, tlsConfig(name))
			if err != nil {
				return nil, err
			}
			s.conns = append(s.conns, conn)
			return conn, nil
		},
	}
	return s, nil
}

// close ends all connections of the session.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		end(conn)
	}
	s.transport.CloseIdleConnections()
}

// answer is what is read of a response.
type answer struct {
	status   int
	location string
	body     string // its beginning
}

// get requests the path / of a host on the session.
func (s *session) get(ctx context.Context, host string) (answer, error) {
	return s.doctor.request(ctx, s.transport, "https://"+s.name+"/", host, nil)
}

// request sends a GET request for a host to a URL, and does not follow redirects.
func (d *Doctor) request(ctx context.Context, transport *http.Transport, url, host string, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	maps.Copy(request.Header, header)
	request.Host = host
	request.Header.Set("User-Agent", "usher-doctor/"+d.Version)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
	return answer{response.StatusCode, response.Header.Get("Location"), string(body)}, nil
}
