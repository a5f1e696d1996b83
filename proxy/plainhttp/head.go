package plainhttp

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"net/textproto"
	"sync"
)

// headListener keeps the head of requests in absolute-form, because net/http
// drops their Host header.
type headListener struct{ net.Listener }

// Accept implements net.Listener.
func (l headListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn}, nil
}

// headConn keeps the head of its first request, up to maxHeader bytes, until the
// handler takes it. It keeps nothing if that request is in origin-form. Later
// requests in absolute-form are refused.
type headConn struct {
	net.Conn

	mu   sync.Mutex // net/http reads from the connection while the handler runs
	head []byte
	done bool // nothing more is kept
}

// Read implements net.Conn.
func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.keep(p[:n])
	return n, err
}

func (c *headConn) keep(read []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return
	}
	if originForm(c.head, read) || len(c.head)+len(read) > maxHeader {
		c.head, c.done = nil, true
		return
	}
	c.head = append(c.head, read...)
}

// originForm reports whether the target of the request line in head and more
// begins with a slash.
func originForm(head, more []byte) bool {
	if len(head) > 0 { // the line arrived in pieces, which is rare
		more = append(bytes.Clone(head), more...)
	}
	_, target, _ := bytes.Cut(more, []byte(" "))
	return len(target) > 0 && target[0] == '/'
}

// take returns the kept bytes once, and nil after that.
func (c *headConn) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := c.head
	c.head, c.done = nil, true
	return head
}

type headKey struct{} // context key of the *headConn

func withHead(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, headKey{}, conn)
}

// takeHead returns the head of the first request of a connection if it is not in
// origin-form, else nil. It may contain further bytes.
func takeHead(r *http.Request) []byte {
	if conn, ok := r.Context().Value(headKey{}).(*headConn); ok {
		return conn.take()
	}
	return nil
}

// hostHeader returns the Host header of a request's head. ok is false unless there
// is exactly one.
func hostHeader(head []byte) (host string, ok bool) {
	reader := textproto.NewReader(bufio.NewReader(bytes.NewReader(head)))
	if _, err := reader.ReadLine(); err != nil {
		return "", false
	}
	header, err := reader.ReadMIMEHeader()
	if err != nil || len(header["Host"]) != 1 {
		return "", false
	}
	return header.Get("Host"), true
}
