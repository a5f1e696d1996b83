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

func TestConnectionsWithin(t *testing.T) {
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

// use is what that process reports about itself.
type use struct {
	HTTPS, HTTP string // addresses
	Max, Open   int    // connections
	Descriptors int
	Failures    float64 // to accept or to dial
	TooMany     float64 // connections refused
	Spare       string  // why baseDescriptors could not be opened, if so
}

// A process uses everything that it may: as many connections as its limit on
// descriptors allows by default, all pipes, all idle connections to backends, and the
// descriptors that are reserved for the rest of the program.
func TestDescriptorsSuffice(t *testing.T) {
	if ports := os.Getenv(limitedProcess); ports != "" {
		if err := serveWithFewDescriptors(ports); err != nil {
			t.Fatal(err)
		}
		return
	}
	stream, streamPort := streamBackend(t)
	kept, keptPort := keptBackend(t)
	query := startLimited(t, fmt.Sprint(streamPort, " ", keptPort))
	first := connect(t, query().HTTPS)
	if _, err := first.Write(helloFor(t, "unknown.is")); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, first) // it is closed, so the loop runs
	first.Close()
	testkit.Eventually(t, "all connections should end", func() error { return differs("connections are open", query().Open, 0) })
	began := query()
	if want := (limitedTo - reservedDescriptors(1)) / connectionDescriptors; began.Max != want {
		t.Fatalf("%d connections are allowed, want %d", began.Max, want)
	}

	var requests sync.WaitGroup
	for i := range plainhttp.IdleDescriptors {
		requests.Go(func() { requestOnce(t, began.HTTP, fmt.Sprintf("kept-%d.is", i%keptHosts)) })
	}
	requests.Wait()
	testkit.Eventually(t, "all connections should end", func() error { return differs("connections are open", query().Open, 0) })
	if n := kept(); n != plainhttp.IdleDescriptors {
		t.Fatalf("%d idle connections to backends, want %d", n, plainhttp.IdleDescriptors)
	}

	hello := helloFor(t, "stream.is")
	for range began.Max {
		conn := connect(t, began.HTTPS)
		if _, err := conn.Write(hello); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "each client should reach its backend", func() error {
		u := query()
		if n := stream(); n != began.Max {
			return fmt.Errorf("%d backend connections, want %d: %+v", n, began.Max, u)
		}
		return nil
	})
	// All pipes hold bytes; each has two descriptors.
	want := began.Descriptors + connectionDescriptors*began.Max + 2*pipes + plainhttp.IdleDescriptors
	testkit.Eventually(t, "the descriptors should be as computed", func() error { return differs("descriptors are open", query().Descriptors, want) })

	_, _ = io.Copy(io.Discard, connect(t, began.HTTPS)) // it is closed: the limit is reached
	end := query()
	if end.Failures != 0 || end.TooMany != 1 || end.Spare != "" {
		t.Errorf("at the end: %+v", end)
	}
}

// serveWithFewDescriptors is the limited process. For each line that it reads, it
// writes its use as one line.
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

// use returns what the server uses.
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

// startLimited starts the limited process, which runs until the test ends. query
// returns what it uses.
func startLimited(t *testing.T, ports string) (query func() use) {
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
			t.Fatalf("the limited process prints %q: %v", line, err)
		}
		return u
	}
}

// accepted holds the connections of a backend.
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

// pipes is the number of pipes of an event loop.
const pipes = 64

// streamBackend sends more than its clients read, so that the proxy uses all pipes.
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

// keptHosts is the number of backends with idle connections, each at its own address.
const keptHosts = plainhttp.IdleDescriptors / 16

// keptBackend answers its first requests when all have arrived, so that each uses its
// own connection. count returns how many connections are open.
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

// small makes the buffers of a socket small, and those of the peer too, because the
// kernel sizes them by the segments that the peer may send.
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

// requestOnce sends one plain HTTP request and closes the connection.
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
