package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/node"
)

const (
	// busyHost is served by the test itself, at the address of an ExposedHost: the handshakes of
	// Traefik would need more CPU time than the proxy under test.
	busyHost = "busy.techn.is"
	// beat is the interval at which a long transfer sends data.
	beat = 100 * time.Millisecond
)

// transferred is the data of each beat of a transfer.
var transferred = []byte(strings.Repeat("usher", 200))

// serveBusyHost serves TLS connections with transfers that continue until the client closes them.
func serveBusyHost(t *testing.T) net.Addr {
	t.Helper()
	certificate, key, err := cert.GenerateSelfSignedCertKey(busyHost, nil, nil)
	testkit.Must(t, err)
	pair, err := tls.X509KeyPair(certificate, key)
	testkit.Must(t, err)
	listener, err := tls.Listen("tcp", node.Address.String()+":0", &tls.Config{Certificates: []tls.Certificate{pair}})
	testkit.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go transfer(conn)
		}
	}()
	return listener.Addr()
}

// exposeBusyHost publishes the busy host, and waits until usher serves it.
func exposeBusyHost(t *testing.T, addresses ...string) {
	t.Helper()
	backend := netip.MustParseAddrPort(serveBusyHost(t).String())
	apply(t, fmt.Sprintf(`{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: %[1]s},
		spec: {host: %[1]s, backends: [{address: %[2]s, httpsPort: %[3]d}]}}`, busyHost, backend.Addr(), backend.Port()))
	for _, address := range addresses {
		testkit.Eventually(t, busyHost+" should be served at "+address, func() error { return (&traffic{address: address}).once(profile{}) })
	}
}

func transfer(conn net.Conn) {
	defer conn.Close()
	for {
		if _, err := conn.Write(transferred); err != nil {
			return
		}
		time.Sleep(beat)
	}
}

// A traffic has clients that connect through usher, and their failures.
type traffic struct {
	address string
	ended   chan struct{} // closed: no new connections, and transfers end with success
	clients sync.WaitGroup

	connected, transfers atomic.Int64

	mu       sync.Mutex
	failures map[string]int // error → number of occurrences
}

// A profile is the timing of clients.
type profile struct {
	every time.Duration // interval between the starts of two connections
	pause time.Duration // between the connection and its ClientHello: the round trip of a real network
}

// startTraffic starts a number of long transfers, and new connections of each profile.
func startTraffic(t *testing.T, address string, transfers int, profiles ...profile) *traffic {
	t.Helper()
	f := &traffic{address: address, ended: make(chan struct{}), failures: map[string]int{}}
	for range transfers {
		f.clients.Go(func() { f.note("a transfer", f.transfer()) })
	}
	for _, p := range profiles {
		f.clients.Go(func() { f.connectAgainAndAgain(p) })
	}
	testkit.Eventually(t, "all transfers should move", func() error {
		if n := f.transfers.Load(); int(n) < transfers {
			return fmt.Errorf("%d do: %v", n, f.report())
		}
		return nil
	})
	return f
}

// end ends the traffic and returns its failures.
func (f *traffic) end() []string {
	close(f.ended)
	f.clients.Wait()
	return f.report()
}

func (f *traffic) report() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, failure := range slices.Sorted(maps.Keys(f.failures)) {
		lines = append(lines, fmt.Sprintf("%d times: %s", f.failures[failure], failure))
	}
	return lines
}

func (f *traffic) note(what string, err error) {
	if err == nil {
		return
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("%s: %w", op.Op, op.Err) // without the ports, which differ
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures[what+": "+err.Error()]++
}

func (f *traffic) isEnded() bool {
	select {
	case <-f.ended:
		return true
	default:
		return false
	}
}

// transfer reads until the traffic ends, and checks that no byte is lost.
func (f *traffic) transfer() error {
	conn, err := f.connect(0)
	if err != nil {
		return err
	}
	defer conn.Close()
	f.transfers.Add(1)
	for !f.isEnded() {
		if err := receive(conn); err != nil {
			return err
		}
	}
	return nil
}

func (f *traffic) connectAgainAndAgain(p profile) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-f.ended:
			return
		case <-tick.C:
			f.clients.Go(func() { f.note(fmt.Sprintf("a new connection, %v before its hello", p.pause), f.once(p)) })
		}
	}
}

// once makes a connection and checks that it is answered.
func (f *traffic) once(p profile) error {
	conn, err := f.connect(p.pause)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := receive(conn); err != nil {
		return err
	}
	f.connected.Add(1)
	return nil
}

// connect makes a connection, waits for the pause, and does the TLS handshake.
func (f *traffic) connect(pause time.Duration) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Timeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, err
	}
	time.Sleep(pause)
	conn := tls.Client(raw, &tls.Config{ServerName: busyHost, InsecureSkipVerify: true})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// receive reads one beat of a transfer.
func receive(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(testkit.Timeout)); err != nil {
		return err
	}
	got := make([]byte, len(transferred))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, transferred) {
		return errors.New("the bytes are others than were sent")
	}
	return nil
}
