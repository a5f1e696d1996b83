package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/routing"
)

func TestConnectionsWithinALimit(t *testing.T) {
	reserved := reservedDescriptors(2)
	for limit, want := range map[uint64]int{
		0:                      minConnections,
		uint64(reserved):       minConnections,
		uint64(reserved + 200): 100,
		20_000:                 (20_000 - reserved) / 2,
		1 << 40:                (1<<21 - reserved) / 2,
	} {
		if got := connectionsWithin(limit, reserved); got != want {
			t.Errorf("a limit of %d allows %d connections, want %d", limit, got, want)
		}
	}
}

// limitedProcess is set in the process that TestDescriptorsSuffice starts, to the
// ports of the backends.
const limitedProcess = "USHER_TEST_DESCRIPTORS"

// limitedTo is the limit on that process's descriptors.
const limitedTo = 900

// use is what that process says of itself.
type use struct {
	HTTPS, HTTP string // addresses
	Max, Open   int    // connections
	Descriptors int
	Failures    float64 // to accept or to dial
	TooMany     float64 // connections refused
	Spare       string  // why baseDescriptors could not be opened, if so
}

// TestDescriptorsSuffice has a process use all that it may: as many connections
// as its limit on descriptors allows by default, every pipe, every kept connection
// to a backend, and the descriptors that are left to the rest of the program.
func TestDescriptorsSuffice(t *testing.T) {
	if ports := os.Getenv(limitedProcess); ports != "" {
		if err := serveWithFewDescriptors(ports); err != nil {
			t.Fatal(err)
		}
		return
	}
	stream, streamPort := streamBackend(t)
	kept, keptPort := keptBackend(t)
	ask := startLimited(t, fmt.Sprint(streamPort, " ", keptPort))
	first := connect(t, ask().HTTPS)
	if _, err := first.Write(helloFor(t, "unknown.is")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, first) // it ends: the loop runs
	first.Close()
	testkit.Eventually(t, "all connections should end", func() error { return differs("connections are open", ask().Open, 0) })
	began := ask()
	if want := (limitedTo - reservedDescriptors(1)) / connectionDescriptors; began.Max != want {
		t.Fatalf("%d connections are allowed, want %d", began.Max, want)
	}

	var requests sync.WaitGroup
	for i := range plainhttp.IdleDescriptors {
		requests.Go(func() { requestOnce(t, began.HTTP, fmt.Sprintf("kept-%d.is", i%keptHosts)) })
	}
	requests.Wait()
	testkit.Eventually(t, "all connections should end", func() error { return differs("connections are open", ask().Open, 0) })
	if n := kept(); n != plainhttp.IdleDescriptors {
		t.Fatalf("%d connections to backends are kept, want %d", n, plainhttp.IdleDescriptors)
	}

	hello := helloFor(t, "stream.is")
	for range began.Max {
		conn := connect(t, began.HTTPS)
		if _, err := conn.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "each client should reach its backend", func() error {
		u := ask()
		if n := stream(); n != began.Max {
			return fmt.Errorf("%d backend connections, want %d: %+v", n, began.Max, u)
		}
		return nil
	})
	// All pipes hold something, two descriptors each.
	want := began.Descriptors + connectionDescriptors*began.Max + 2*pipes + plainhttp.IdleDescriptors
	testkit.Eventually(t, "the descriptors should be as computed", func() error { return differs("descriptors are open", ask().Descriptors, want) })

	_, _ = io.Copy(io.Discard, connect(t, began.HTTPS)) // it ends: there is no room
	end := ask()
	if end.Failures != 0 || end.TooMany != 1 || end.Spare != "" {
		t.Errorf("in the end: %+v", end)
	}
}

// serveWithFewDescriptors is the limited process. Each line that it reads is
// answered with one about itself.
func serveWithFewDescriptors(ports string) error {
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limitedTo, Max: limitedTo}); err != nil {
		return err
	}
	var streamPort, keptPort uint16
	if _, err := fmt.Sscan(ports, &streamPort, &keptPort); err != nil {
		return err
	}
	routes := []routing.Route{{Host: "stream.is", Backends: []routing.Backend{{Addresses: []string{"127.0.0.1"}, HTTPSPort: streamPort}}}}
	for i := range keptHosts {
		backend := routing.Backend{Addresses: []string{fmt.Sprintf("127.0.0.%d", i+1)}, HTTPPort: keptPort}
		routes = append(routes, routing.Route{Host: fmt.Sprintf("kept-%d.is", i), PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}})
	}
	var table routing.Live
	table.Store(routing.NewTable(routes))
	s := &Server{HTTPSListen: []string{"127.0.0.1:0"}, HTTPListen: []string{"127.0.0.1:0"}, Table: &table, Log: logr.Discard(), Loops: 1}
	if err := s.Listen(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = s.Serve(ctx) }()
	reserved := openSpare()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		said, err := json.Marshal(s.use(reserved))
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", said)
	}
	return nil
}

// openSpare opens what is left to the rest of the program: the listeners and what
// the test itself needs are of it.
func openSpare() (problem string) {
	const open = 16
	for range baseDescriptors - open {
		if _, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err.Error()
		}
	}
	return ""
}

// use tells what the server uses.
func (s *Server) use(reserved string) use {
	u := use{HTTPS: s.HTTPSAddrs()[0].String(), HTTP: s.HTTPAddrs()[0].String(), Max: s.limits.Max, Open: s.limits.Count(), Spare: reserved}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		u.Spare += " " + err.Error()
	}
	u.Descriptors = len(entries)
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Collector())
	families, err := registry.Gather()
	if err != nil {
		u.Spare += " " + err.Error()
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch name := family.GetName(); {
			case strings.HasSuffix(name, "accept_errors_total"), name == "usher_dial_failures_total":
				u.Failures += m.GetCounter().GetValue()
			case name == "usher_connections_refused_total" && m.GetLabel()[0].GetValue() == "too_many_connections":
				u.TooMany += m.GetCounter().GetValue()
			}
		}
	}
	return u
}

// startLimited starts the limited process, which lives as long as the test. ask
// asks it what it uses.
func startLimited(t *testing.T, ports string) (ask func() use) {
	t.Helper()
	ctx, kill := context.WithTimeout(context.WithoutCancel(t.Context()), 5*testkit.Timeout)
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestDescriptorsSuffice$")
	cmd.Env = append(os.Environ(), limitedProcess+"="+ports)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer kill()
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the limited process: %v", err)
		}
	})
	answers := bufio.NewReader(out)
	return func() (u use) {
		t.Helper()
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err == nil {
			err = json.Unmarshal([]byte(line), &u)
		}
		if err != nil {
			t.Fatalf("the limited process says %q: %v", line, err)
		}
		return u
	}
}

// accepted are the connections of a backend.
type accepted struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (a *accepted) add(conn net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = append(a.conns, conn)
}

func (a *accepted) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, conn := range a.conns {
		conn.Close()
	}
}

func (a *accepted) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

func listenOn(t *testing.T, address string) (net.Listener, int) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, listener.Addr().(*net.TCPAddr).Port
}

// pipes is how many an event loop has.
const pipes = 64

// streamBackend sends more than its clients read, so that the proxy needs every
// pipe.
func streamBackend(t *testing.T) (count func() int, port int) {
	t.Helper()
	listener, port := listenOn(t, "127.0.0.1:0")
	var all accepted
	t.Cleanup(all.close)
	much := make([]byte, 2<<20)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.add(conn)
			go func() { _, _ = conn.Write(much) }()
		}
	}()
	return all.count, port
}

// keptHosts is how many backends there are, at addresses of their own, to keep
// connections to.
const keptHosts = plainhttp.IdleDescriptors / 16

// keptBackend answers its first requests when each has come, so that each has
// a connection of its own. count is how many connections are open.
func keptBackend(t *testing.T) (count func() int, port int) {
	t.Helper()
	listener, port := listenOn(t, "0.0.0.0:0")
	var open sync.WaitGroup
	open.Add(plainhttp.IdleDescriptors)
	var mu sync.Mutex
	conns := 0
	server := &http.Server{
		ReadHeaderTimeout: testkit.Timeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			open.Done()
			open.Wait()
			w.WriteHeader(http.StatusNoContent)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			switch state {
			case http.StateNew:
				conns++
			case http.StateClosed:
				conns--
			}
		},
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return conns
	}, port
}

// small has the kernel keep little of what is sent to a socket, here and at the
// peer, which sizes its buffer by the segments that it may send.
func small(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1400)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10)
	})
}

// connect dials and leaves the connection open until the test ends.
func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: testkit.Timeout, Control: small}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	return conn
}

// requestOnce makes one plain HTTP request, and leaves.
func requestOnce(t *testing.T, address, host string) {
	conn, err := net.DialTimeout("tcp", address, testkit.Timeout)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || response.StatusCode != http.StatusNoContent {
		t.Errorf("%s: answered %v, %v", host, response, err)
	}
}

// helloFor returns the first bytes of a TLS client.
func helloFor(t *testing.T, host string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() { _ = tls.Client(near, &tls.Config{ServerName: host, InsecureSkipVerify: true}).Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := far.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	return hello[:n]
}

func differs(what string, got, want int) error {
	if got != want {
		return fmt.Errorf("%d %s, want %d", got, what, want)
	}
	return nil
}
