package plainhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"
)

// withIdleTimeout replaces the server's timeouts for a whole request by an idle
// timeout, because a stream may last for any time.
func withIdleTimeout(w http.ResponseWriter, body io.ReadCloser, timeout time.Duration) (http.ResponseWriter, io.ReadCloser) {
	active := &activeWriter{ResponseWriter: w, control: http.NewResponseController(w), timeout: timeout}
	active.extend()
	if body == nil || body == http.NoBody {
		return active, body
	}
	return active, &activeBody{ReadCloser: body, writer: active}
}

// activeWriter extends the deadlines of the connection with each write.
type activeWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (w *activeWriter) extend() {
	deadline := time.Now().Add(w.timeout)
	_ = w.control.SetReadDeadline(deadline)
	_ = w.control.SetWriteDeadline(deadline)
}

// Write implements http.ResponseWriter.
func (w *activeWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

// Unwrap returns the wrapped writer to http.ResponseController.
func (w *activeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements http.Hijacker. An upgraded connection has the same idle
// timeout.
func (w *activeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	return &idleConn{Conn: conn, timeout: w.timeout}, buffered, nil
}

// activeBody extends the deadlines of the connection with each read.
type activeBody struct {
	io.ReadCloser
	writer *activeWriter
}

func (b *activeBody) Read(p []byte) (int, error) {
	b.writer.extend()
	return b.ReadCloser.Read(p)
}

// idleConn is an upgraded connection. Its reads and writes fail when it was idle
// for timeout in both directions.
type idleConn struct {
	net.Conn
	timeout time.Duration
}

func (c *idleConn) extend() { _ = c.SetDeadline(time.Now().Add(c.timeout)) }

func (c *idleConn) Read(p []byte) (int, error) {
	c.extend()
	return c.Conn.Read(p)
}

func (c *idleConn) Write(p []byte) (int, error) {
	c.extend()
	return c.Conn.Write(p)
}
