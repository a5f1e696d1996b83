// Package baseline is a simple SNI proxy in Go: two goroutines per connection and
// io.Copy, which splices on Linux. It shows the benefit of usher's event loop. It is no
// part of usher, and has almost no limits.
package baseline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/jovalle/usher/proxy/clienthello"
)

const (
	timeout  = 5 * time.Second // for a ClientHello, and for a dial
	maxHello = 16 << 10        // bytes
)

// Serve forwards connections to address until ctx ends. The table is a file of
// lines "host backend-address".
func Serve(ctx context.Context, address, table string) error {
	backends, err := readTable(table)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil: // most likely out of descriptors: do not spin
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go forward(ctx, conn.(*net.TCPConn), backends)
	}
}

// readTable returns host → backend.
func readTable(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	backends := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		host, backend, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return nil, fmt.Errorf("%s: line %q names no backend", path, lines.Text())
		}
		backends[host] = backend
	}
	return backends, lines.Err()
}

// forward copies bytes in both directions until both sides have ended.
func forward(ctx context.Context, client *net.TCPConn, backends map[string]string) {
	defer client.Close()
	_ = client.SetReadDeadline(time.Now().Add(timeout)) // fails where the read will
	hello, host, err := readHello(client)
	if err != nil {
		return
	}
	_ = client.SetReadDeadline(time.Time{})
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", backends[host])
	if err != nil {
		return
	}
	backend := conn.(*net.TCPConn)
	defer backend.Close()
	if _, err := backend.Write(hello); err != nil {
		return
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		carry(backend, client)
	}()
	carry(client, backend)
	<-sent
}

// carry copies until from ends, and then closes the write side of to.
func carry(to, from *net.TCPConn) {
	_, _ = io.Copy(to, from) // after any error the connection ends
	_ = to.CloseWrite()
}

// readHello reads until the bytes contain a host.
func readHello(client net.Conn) (hello []byte, host string, err error) {
	hello = make([]byte, 0, maxHello)
	var parser clienthello.Parser
	for {
		n, err := client.Read(hello[len(hello):cap(hello)])
		if err != nil {
			return nil, "", err
		}
		hello = hello[:len(hello)+n]
		host, err := parser.Parse(hello)
		if !errors.Is(err, clienthello.ErrIncomplete) || len(hello) == cap(hello) {
			return hello, host, err
		}
	}
}
