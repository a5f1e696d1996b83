package eventloop

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
)

var (
	scriptCount = flag.Int("scripts", defaultScripts, "scripts of the differential tests")
	scriptSeed  = flag.Uint64("seed", 0, "first seed of the differential tests; 0: by the clock")
)

// script defines what both ends of one connection do.
type script struct {
	seed   uint64
	client part
	server part
	resets side // who resets after all else, if reset is set
	reset  bool
}

// part defines what one end does.
type part struct {
	writes  []int // sizes, in bytes
	pauses  []time.Duration
	end     bool          // half-close after the writes
	reads   int           // size of each read
	reading time.Duration // pause after each of the first reads: a slow reader
}

func newScript(seed uint64) script {
	r := rand.New(rand.NewPCG(seed, 1))
	s := script{seed: seed, client: newPart(r), server: newPart(r), reset: r.IntN(4) == 0, resets: side(r.IntN(2))}
	if !s.reset {
		s.client.end, s.server.end = true, true
	}
	return s
}

func newPart(r *rand.Rand) part {
	p := part{end: r.IntN(3) > 0, reads: 1 << (4 + r.IntN(14))}
	if r.IntN(4) == 0 {
		p.reading = time.Duration(r.IntN(2000)) * time.Microsecond
	}
	for range r.IntN(6) {
		size := r.IntN(3000)
		if r.IntN(5) == 0 {
			size = r.IntN(600_000)
		}
		p.writes = append(p.writes, size)
		p.pauses = append(p.pauses, time.Duration(max(0, r.IntN(1500)-1000))*time.Microsecond)
	}
	return p
}

func (p part) total() int {
	total := 0
	for _, n := range p.writes {
		total += n
	}
	return total
}

// seen is what one end has received from the other.
type seen struct {
	bytes  int
	intact bool
	ending string
}

// play runs a script on the two ends of one connection.
func (s script) play(client, server *net.TCPConn) (atClient, atServer seen) {
	ends := [2]*end{
		newEnd(client, s.client, s.server, s.seed),
		newEnd(server, s.server, s.client, s.seed+1),
	}
	ends[0].incoming, ends[1].incoming = ends[1].data, ends[0].data
	var writers, readers sync.WaitGroup
	for _, e := range ends {
		writers.Go(e.write)
		readers.Go(e.read)
	}
	writers.Wait()
	for _, e := range ends {
		<-e.settled // so that a reset overtakes nothing
	}
	if s.reset {
		sendReset(ends[s.resets].conn)
	}
	readers.Wait()
	client.Close()
	server.Close()
	if s.reset {
		ends[s.resets].seen = seen{} // what the resetting end receives does not matter
	}
	return ends[0].seen, ends[1].seen
}

// end is one end of a connection that runs a script.
type end struct {
	conn     *net.TCPConn
	part     part
	data     []byte // to write
	incoming []byte // to read
	endsPeer bool
	settled  chan struct{} // closed when all has been read that the script has
	seen     seen
}

func newEnd(conn *net.TCPConn, own, other part, seed uint64) *end {
	block := anyBytes()
	total := own.total()
	from := int(seed % uint64(len(block)-total))
	return &end{conn: conn, part: own, data: block[from : from+total], endsPeer: other.end, settled: make(chan struct{})}
}

// anyBytes are random bytes, more than any part writes.
var anyBytes = sync.OnceValue(func() []byte { return randomBytes(8 << 20) })

func (e *end) write() {
	rest := e.data
	for i, n := range e.part.writes {
		if _, err := e.conn.Write(rest[:n]); err != nil {
			return
		}
		rest = rest[n:]
		time.Sleep(e.part.pauses[i])
	}
	if e.part.end {
		_ = e.conn.CloseWrite()
	}
}

func (e *end) read() {
	var got []byte
	buf := make([]byte, e.part.reads)
	settle := sync.OnceFunc(func() { close(e.settled) })
	defer settle()
	for i := 0; ; i++ {
		if len(got) >= len(e.incoming) && !e.endsPeer {
			settle()
		}
		n, err := e.conn.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			e.seen = seen{len(got), bytes.HasPrefix(e.incoming, got), howEnded(err)}
			return
		}
		if i < 20 {
			time.Sleep(e.part.reading)
		}
	}
}

// howEnded returns how reading ended.
func howEnded(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.Is(err, unix.ECONNRESET):
		return "reset"
	}
	return err.Error()
}

// reference is the simplest correct proxy, with two goroutines for each connection.
func reference(t testing.TB, to netip.AddrPort, hello int) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go relay(client.(*net.TCPConn), to, hello)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func relay(client *net.TCPConn, to netip.AddrPort, hello int) {
	defer client.Close()
	first := make([]byte, hello)
	if _, err := io.ReadFull(client, first); err != nil {
		return
	}
	server, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer server.Close()
	var failed atomic.Bool
	pass := func(to, from *net.TCPConn) {
		_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
		if err == nil {
			err = to.CloseWrite()
		}
		if err != nil && !failed.Swap(true) {
			sendReset(client)
			sendReset(server)
		}
	}
	if _, err := server.Write(first); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pass(server, client) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}

// stage matches the client's end of a connection with the server's end.
type stage struct {
	listener *net.TCPListener
	hello    []byte

	mu      sync.Mutex
	waiting map[uint64]chan *net.TCPConn // number of the connection → receiver of its server's end
}

// newStage accepts the connections of the proxies. The first bytes after the
// ClientHello are the number of the connection.
func newStage(t testing.TB) *stage {
	st := &stage{listener: listen(t).listener, hello: helloFor(t, hostA), waiting: make(map[uint64]chan *net.TCPConn)}
	go func() {
		for {
			conn, err := st.listener.AcceptTCP()
			if err != nil {
				return
			}
			go st.match(conn)
		}
	}()
	return st
}

func (st *stage) match(conn *net.TCPConn) {
	_ = conn.SetDeadline(time.Now().Add(2 * testkit.Timeout))
	first := make([]byte, len(st.hello)+8)
	if _, err := io.ReadFull(conn, first); err != nil || !bytes.Equal(first[:randomAt], st.hello[:randomAt]) ||
		!bytes.Equal(first[randomEnd:len(st.hello)], st.hello[randomEnd:]) {
		conn.Close() // the other end then times out
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.waiting[numberIn(first[len(st.hello):])] <- conn
}

func numberIn(b []byte) (n uint64) {
	for _, c := range b[:8] {
		n = n<<8 | uint64(c)
	}
	return n
}

// run runs a script through the proxy at addr.
func (st *stage) run(s script, number uint64, addr netip.AddrPort) (atClient, atServer seen, err error) {
	arrived := make(chan *net.TCPConn, 1)
	st.mu.Lock()
	st.waiting[number] = arrived
	st.mu.Unlock()
	client, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return seen{}, seen{}, err
	}
	_ = client.SetDeadline(time.Now().Add(2 * testkit.Timeout))
	first := again(st.hello)
	for shift := 56; shift >= 0; shift -= 8 {
		first = append(first, byte(number>>shift))
	}
	if _, err := client.Write(first); err != nil {
		return seen{}, seen{}, err
	}
	select {
	case server := <-arrived:
		atClient, atServer = s.play(client, server)
		return atClient, atServer, nil
	case <-time.After(testkit.Timeout):
		return seen{}, seen{}, errors.New("the connection does not arrive")
	}
}

// compare runs scripts through the event loops and through the reference, and reports
// differences in what the ends received.
func compare(t *testing.T, e *edge, st *stage, count int) {
	t.Helper()
	target := st.listener.Addr().(*net.TCPAddr).AddrPort()
	proxies := [2]netip.AddrPort{e.addr, reference(t, target, len(st.hello))}
	first := *scriptSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("%d scripts from -seed %d", count, first)
	var next atomic.Uint64
	var players sync.WaitGroup
	for range 16 {
		players.Go(func() {
			for i := next.Add(1) - 1; i < uint64(count) && !t.Failed(); i = next.Add(1) - 1 {
				if err := compareOne(st, newScript(first+i), 2*i, proxies); err != nil {
					t.Errorf("script of -seed %d: %v", first+i, err)
				}
			}
		})
	}
	players.Wait()
}

func compareOne(st *stage, s script, number uint64, proxies [2]netip.AddrPort) error {
	var saw [2][2]seen
	for i, addr := range proxies {
		atClient, atServer, err := st.run(s, number+uint64(i), addr)
		if err != nil {
			return fmt.Errorf("%s: %w", [2]string{"usher", "reference"}[i], err)
		}
		saw[i] = [2]seen{atClient, atServer}
	}
	if saw[0] != saw[1] {
		return fmt.Errorf("usher's ends saw %+v, the reference's %+v, of %+v", saw[0], saw[1], s)
	}
	return nil
}

// TestLikeTheReference runs the same random scripts of writes, half-closes, pauses,
// slow readers and resets through the event loops and the reference.
func TestLikeTheReference(t *testing.T) {
	st := newStage(t)
	e := start(t, routeA(origin{t, st.listener}))
	compare(t, e, st, *scriptCount)
	e.awaitMetric(0, "connections_open")
}
