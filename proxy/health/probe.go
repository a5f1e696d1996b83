package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxDiscarded bounds the bytes that are read after a handshake, such as session
	// tickets. A handshake itself is bounded by crypto/tls, at 256 KiB a message.
	maxDiscarded = 64 << 10

	// closeTimeout bounds the wait for the backend's end after a handshake.
	closeTimeout = time.Second
)

// probe checks an address: nil means that it passes.
func (p *plan) probe(ctx context.Context, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if header := p.backend.ProxyProtocol.LocalHeader(); header != "" {
		if _, err := io.WriteString(conn, header); err != nil {
			return fmt.Errorf("send the PROXY header: %w", err)
		}
	}
	if p.Type == routing.CheckTLS {
		return handshake(ctx, conn, p.host)
	}
	return nil
}

// handshake completes a TLS handshake and ends the connection as a client does: with a
// close_notify and without a reset, so that the backend has nothing to log.
func handshake(ctx context.Context, conn net.Conn, host string) error {
	// Any certificate will do: the client checks it, and usher forwards its bytes. Old
	// versions too, since the backend may serve old clients.
	session := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}) //nolint:gosec // see above
	if err := session.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake for %s: %w", host, err)
	}
	_ = conn.SetDeadline(time.Now().Add(closeTimeout))
	if session.CloseWrite() == nil && conn.(*net.TCPConn).CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, maxDiscarded)
	}
	return nil
}
