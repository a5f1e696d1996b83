package workload

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Backend serves the tests' connections on each address until ctx ends.
func Backend(ctx context.Context, addresses []string) error {
	certificate, err := selfSigned()
	if err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	for _, address := range addresses {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listen as a backend: %w", err)
		}
		context.AfterFunc(ctx, func() { listener.Close() })
		go accept(listener, config)
	}
	<-ctx.Done()
	return nil
}

// accept serves each connection in a goroutine of its own.
func accept(listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // most likely out of descriptors: do not spin
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go func() {
			defer conn.Close()
			if err := serve(conn.(*net.TCPConn), config); err != nil {
				fmt.Fprintln(os.Stderr, "backend:", err)
			}
		}()
	}
}

// selfSigned returns a certificate that nobody trusts; clients of the tests do
// not look at it.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// serve does what the ClientHello orders, or answers a real one by TLS.
func serve(conn *net.TCPConn, config *tls.Config) error {
	hello, err := readHello(conn, make([]byte, maxHello))
	if errors.Is(err, io.EOF) {
		return nil // a bare connection
	}
	if err != nil {
		return err
	}
	o, ok := orderOf(hello)
	if !ok {
		return serveTLS(conn, hello, config)
	}
	switch o.mode {
	case reply:
		_, err = conn.Write(hello[:replyBytes])
	case down:
		err = writeBytes(conn, o.count)
	case up:
		early := int64(len(hello) - helloBytes) // came with the ClientHello
		if err = discardBytes(conn, o.count-early); err == nil {
			_, err = conn.Write([]byte{up})
		}
	case rest:
		err = serveRest(conn)
	case echo:
		err = serveEcho(conn)
	default:
		err = fmt.Errorf("unknown order %q", o.mode)
	}
	return err
}

// serveTLS completes a handshake whose first bytes were read already, answers
// one request and closes.
func serveTLS(conn *net.TCPConn, hello []byte, config *tls.Config) error {
	server := tls.Server(&replayed{TCPConn: conn, first: *bytes.NewReader(hello)}, config)
	var request [64]byte
	n, err := server.Read(request[:])
	if err != nil {
		return fmt.Errorf("serve TLS: %w", err)
	}
	_, err = server.Write(request[:n])
	return err
}

// replayed is a connection that first yields bytes that were read before.
type replayed struct {
	*net.TCPConn
	first bytes.Reader
}

func (c *replayed) Read(p []byte) (int, error) {
	if c.first.Len() > 0 {
		return c.first.Read(p)
	}
	return c.TCPConn.Read(p)
}

// serveRest stays silent until the client is gone.
func serveRest(conn *net.TCPConn) error {
	if _, err := conn.Write([]byte{rest}); err != nil {
		return err
	}
	_, _ = conn.Read(make([]byte, 1)) // returns when the client is gone, however
	return conn.SetLinger(0)          // leave no TIME_WAIT socket to the next test
}

// serveEcho sends back what comes. It reads blocking, in a thread of its own, to
// keep Go's scheduler out of the round trips.
func serveEcho(conn *net.TCPConn) error {
	file, err := conn.File()
	if err != nil {
		return err
	}
	defer file.Close()
	fd := int(file.Fd()) // makes the descriptor blocking
	if _, err := unix.Write(fd, []byte{echo}); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case n <= 0:
			return nil // the client has ended, however
		default:
			if _, err := unix.Write(fd, buf[:n]); err != nil {
				return err
			}
		}
	}
}
