package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/routing"
)

func TestConnectionsWithinALimit(t *testing.T) {
	spare := spareDescriptors(2)
	for limit, want := range map[uint64]int{
		0:                   fewestConnections,
		uint64(spare):       fewestConnections,
		uint64(spare + 200): 100,
		20_000:              (20_000 - spare) / 2,
		1 << 40:             (1<<21 - spare) / 2,
	} {
		if got := connectionsWithin(limit, spare); got != want {
			t.Errorf("a limit of %d allows %d connections, want %d", limit, got, want)
		}
	}
}

// limitedProcess is set in the process that TestDescriptorsSuffice starts.
const limitedProcess = "USHER_TEST_DESCRIPTORS"

// TestDescriptorsSuffice fills a process of few descriptors with as many plain
// HTTP connections as it takes, each with one to a backend. It goes on to accept.
func TestDescriptorsSuffice(t *testing.T) {
	if os.Getenv(limitedProcess) != "" {
		serveWithFewDescriptors(t)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDescriptorsSuffice$", "-test.v")
	cmd.Env = append(os.Environ(), limitedProcess+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func serveWithFewDescriptors(t *testing.T) {
	backend := httpBackend(t) // in this process, too: its descriptors are added below
	const connections = 150
	limit := uint64(spareDescriptors(1) + connections*(connectionDescriptors+2))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	var table routing.Live
	table.Store(routing.NewTable([]routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}}}))
	s := &Server{
		HTTPListen: []string{"127.0.0.1:0"}, HTTPSListen: []string{"127.0.0.1:0"}, Table: &table, Log: logr.Discard(), Loops: 1,
		MaxConnections: connections, DrainTimeout: time.Millisecond,
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	for i := range connections {
		conn, err := net.DialTimeout("tcp", s.HTTPAddrs()[0].String(), 20*time.Second)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.is\r\n\r\n")
		if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: answered %v, %v", i, response, err)
		}
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("no descriptor is left: %v", err)
	}
	t.Logf("%d of %d descriptors are open", len(entries), limit)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// httpBackend answers and keeps its connections.
func httpBackend(t *testing.T) routing.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, strings.NewReader("hello"))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return routing.Backend{Addresses: []string{"127.0.0.1"}, HTTPPort: uint16(listener.Addr().(*net.TCPAddr).Port)}
}
