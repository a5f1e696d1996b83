package eventloop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// resolves returns a resolver that knows only these names.
func resolves(names map[string]netip.Addr) *resolver {
	r := newResolver()
	r.lookup = func(_ context.Context, _, name string) ([]netip.Addr, error) {
		if addr, ok := names[name]; ok {
			return []netip.Addr{addr}, nil
		}
		return nil, noSuchHost(name)
	}
	return r
}

// noSuchHost is the error of package net for NXDOMAIN.
func noSuchHost(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

// neverResolves returns a resolver whose name server does not answer.
func neverResolves() *resolver {
	r := newResolver()
	r.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r
}

// Many names are looked up while the name server does not respond.
func TestConcurrentLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver()
		var lookups atomic.Int64
		release := make(chan struct{})
		r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			lookups.Add(1)
			<-release
			return nil, nil
		}
		var answers sync.WaitGroup
		for i := range 4 * maxLookups {
			answers.Add(1)
			r.resolve(t.Context(), "name-"+strconv.Itoa(i), func([]netip.Addr) { answers.Done() })
		}
		synctest.Wait()
		if n := lookups.Load(); n != maxLookups {
			t.Errorf("%d lookups are in progress, want %d", n, maxLookups)
		}
		close(release)
		answers.Wait()
		r.wait()
	})
}

func TestConcurrentLookupsOfANameAreShared(t *testing.T) {
	r := newResolver()
	var lookups atomic.Int32
	proceed := make(chan struct{})
	r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		lookups.Add(1)
		<-proceed
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	answers := make(chan []netip.Addr, 10)
	for range cap(answers) {
		r.resolve(context.Background(), "a.is", func(addrs []netip.Addr) { answers <- addrs })
	}
	close(proceed)
	for range cap(answers) {
		if addrs := <-answers; len(addrs) != 1 {
			t.Errorf("answered %v", addrs)
		}
	}
	r.wait()
	if lookups.Load() != 1 {
		t.Errorf("%d lookups, want 1", lookups.Load())
	}
	if addrs, ok := r.cached(t.Context(), "a.is"); !ok || len(addrs) != 1 {
		t.Errorf("cached: %v, %v", addrs, ok)
	}
}

// A name server fails, and later returns another address. Clients are served at once
// all the time.
func TestStaleAddressesAreUsedWhileTheNameServerFails(t *testing.T) {
	o := listen(t)
	server := startNameServer(t)
	const host = "home.test."
	server.set(host, netip.MustParseAddr("127.0.0.1"))
	route := routing.Route{Host: hostA, Backends: []routing.Backend{{Addresses: []string{host}, HTTPSPort: o.backend().HTTPSPort}}}
	e := start(t, []routing.Route{route}, server.use, func(f *Forwarder) { f.Timeouts.Dial = 30 * time.Millisecond })
	stale := func() {
		e.resolver.mu.Lock()
		defer e.resolver.mu.Unlock()
		e.resolver.cache[host].freshUntil = time.Time{}
	}
	warm := make(chan []netip.Addr, 1)
	e.resolver.resolve(t.Context(), host, func(addrs []netip.Addr) { warm <- addrs })
	if addrs := <-warm; len(addrs) != 1 {
		t.Fatalf("answered %v", addrs)
	}
	for _, state := range []string{"silent", "broken", "answers"} {
		server.be(state)
		for range 3 {
			stale()
			client, backend := e.open(o)
			converse(t, client, backend)
		}
	}
	e.awaitMetric(0, "dial_failures_total")

	server.set(host) // the name has no address now
	testkit.WaitFor(t, "the address to be removed", func() bool {
		stale()
		addrs, known := e.resolver.cached(t.Context(), host)
		return !known || len(addrs) == 0
	})
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	expect(t, client, alertRecord(internalError))
}

// Name servers fail in ways that package net may report as "not found".
func TestFailuresKeepAddresses(t *testing.T) {
	home := netip.MustParseAddr("192.0.2.1")
	temporary := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	for name, tt := range map[string]struct {
		errs  map[string]error // network → error of the lookup; success with home if absent
		addrs int
	}{
		"all is well":          {map[string]error{}, 1},
		"no such name":         {map[string]error{"ip": noSuchHost("a.is"), "ip4": noSuchHost("a.is"), "ip6": noSuchHost("a.is")}, 0},
		"no answer":            {map[string]error{"ip": temporary, "ip4": temporary, "ip6": temporary}, 1},
		"IPv4 alone fails":     {map[string]error{"ip": temporary, "ip4": temporary, "ip6": noSuchHost("a.is")}, 1},
		"IPv6 alone fails":     {map[string]error{"ip": temporary, "ip4": noSuchHost("a.is"), "ip6": temporary}, 1},
		"IPv6 fails, IPv4 not": {map[string]error{"ip": temporary, "ip6": temporary}, 1},
		"an unknown error":     {map[string]error{"ip": errors.New("?"), "ip4": errors.New("?"), "ip6": errors.New("?")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResolver()
			a := &cacheEntry{addrs: []netip.Addr{home}}
			r.lookup = func(_ context.Context, network, _ string) ([]netip.Addr, error) {
				if err := tt.errs[network]; err != nil {
					return nil, err
				}
				return []netip.Addr{home}, nil
			}
			addrs, err := r.lookUp(t.Context(), "a.is")
			r.finishLookup(a, addrs, err)
			if len(a.addrs) != tt.addrs {
				t.Errorf("known now: %v", a.addrs)
			}
		})
	}
}

// More names are looked up than the cache holds.
func TestCachedNamesAreBounded(t *testing.T) {
	r := newResolver()
	for i := range maxCachedNames + 100 {
		r.add(strconv.Itoa(i))
	}
	if n := len(r.cache); n != maxCachedNames {
		t.Errorf("%d names are cached", n)
	}
}

// nameServer is a DNS server on loopback with names that the test sets.
type nameServer struct {
	conn net.PacketConn

	mu    sync.Mutex
	state string
	names map[string][]netip.Addr
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &nameServer{conn: conn, state: "answers", names: make(map[string][]netip.Addr)}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := s.answer(buf[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return s
}

// use makes the default resolver of a Forwarder use this server.
func (s *nameServer) use(f *Forwarder) {
	f.resolver = newResolver()
	f.resolver.lookup = (&net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}).LookupNetIP
}

func (s *nameServer) set(name string, addrs ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[name] = addrs
}

func (s *nameServer) be(state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

func (s *nameServer) answer(query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 || s.state == "silent" {
		return nil
	}
	question := m.Questions[0]
	addrs := s.names[question.Name.String()]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	switch {
	case s.state == "broken":
		m.RCode = dnsmessage.RCodeServerFailure
	case len(addrs) == 0:
		m.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		for _, addr := range addrs {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: addr.As4()},
			})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}
