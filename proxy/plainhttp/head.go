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

// headListener lets the Host header of requests in absolute-form be read, which
// net/http drops.
type headListener struct{ net.Listener }

// Accept implements net.Listener.
func (l headListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn}, nil
}

// headConn keeps the head of its first request until the handler takes it, at
// most maxHeader bytes, unless that request is in origin-form. Later requests in
// absolute-form are refused.
type headConn struct {
	net.Conn

	mu   sync.Mutex // net/http reads on while the handler runs
	head []byte
	over bool // nothing is kept any more
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
	if c.over {
		return
	}
	if originForm(c.head, read) || len(c.head)+len(read) > maxHeader {
		c.head, c.over = nil, true
		return
	}
	c.head = append(c.head, read...)
}

// originForm reports whether the request line in head and more has a target that
// begins with a slash.
func originForm(head, more []byte) bool {
	if len(head) > 0 { // the line came in pieces, which is rare
		more = append(bytes.Clone(head), more...)
	}
	_, target, _ := bytes.Cut(more, []byte(" "))
	return len(target) > 0 && target[0] == '/'
}

// take returns what was kept, once.
func (c *headConn) take() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := c.head
	c.head, c.over = nil, true
	return head
}

type headKey struct{} // of a connection's context: its *headConn

func withHead(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, headKey{}, conn)
}

// takeHead returns the head of a request that is its connection's first, and
// perhaps not in origin-form; else nil.
func takeHead(r *http.Request) []byte {
	if conn, ok := r.Context().Value(headKey{}).(*headConn); ok {
		return conn.take()
	}
	return nil
}

// hostHeader returns the Host header in a request's head. ok is false where there
// is not exactly one.
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
