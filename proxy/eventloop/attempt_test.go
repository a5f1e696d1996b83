package eventloop

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// slowNames is a resolver that answers when the test releases it.
type slowNames struct {
	lookups chan string
	answer  chan netip.Addr
}

func newSlowNames() slowNames {
	return slowNames{lookups: make(chan string, 10), answer: make(chan netip.Addr)}
}

func (s slowNames) use(f *Forwarder) {
	f.resolver = newResolver()
	f.resolver.lookup = func(ctx context.Context, _, name string) ([]netip.Addr, error) {
		s.lookups <- name
		select {
		case addr := <-s.answer:
			return []netip.Addr{addr}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// The addresses of a name arrive after the connection has entered another state. They
// must not be dialled, and the connection must not be affected.
func TestLateAnswers(t *testing.T) {
	const timeout = 150 * time.Millisecond
	for name, last := range map[string]func(t *testing.T, o origin) []routing.Backend{
		"while the next address is dialled": func(t *testing.T, o origin) []routing.Backend { return []routing.Backend{listenFull(t), o.backend()} },
		"while the next name is looked up": func(_ *testing.T, o origin) []routing.Backend {
			return []routing.Backend{named("other.invalid"), o.backend()}
		},
		"while bytes are forwarded":           func(_ *testing.T, o origin) []routing.Backend { return []routing.Backend{o.backend()} },
		"when the connection has been closed": func(*testing.T, origin) []routing.Backend { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			o, wrong, names := listen(t), listen(t), newSlowNames()
			slow := named("slow.invalid")
			slow.HTTPSPort = wrong.backend().HTTPSPort
			backends := append([]routing.Backend{slow}, last(t, o)...)
			e := start(t, []routing.Route{{Host: hostA, Backends: backends}}, names.use, func(f *Forwarder) { f.Timeouts.Dial = timeout })
			client := dial(t, e.addr)
			hello := helloFor(t, hostA)
			send(t, client, hello)
			<-names.lookups
			e.awaitMetric(1, "dial_failures_total") // that attempt is over
			names.answer <- netip.MustParseAddr("127.0.0.1")
			if len(backends) > 1 {
				backend := o.accept()
				expect(t, backend, hello)
				converse(t, client, backend)
			} else {
				expect(t, client, alertRecord(internalError))
				client.Close()
				e.awaitMetric(0, "connections_open")
			}
			_ = wrong.listener.SetDeadline(time.Now().Add(timeout / 3))
			if _, err := wrong.listener.Accept(); err == nil {
				t.Error("the late address was dialled")
			}
		})
	}
}

// named returns a backend with a name as its address.
func named(name string) routing.Backend {
	return routing.Backend{Cluster: "named", Addresses: []string{name}, HTTPSPort: 1}
}

// converse sends bytes between two ends of a connection, and closes it regularly.
func converse(t *testing.T, client, backend io.ReadWriter) {
	t.Helper()
	for range 3 {
		send(t, client, []byte("question"))
		expect(t, backend, []byte("question"))
		send(t, backend, []byte("answer"))
		expect(t, client, []byte("answer"))
	}
	type halfCloser interface{ CloseWrite() error }
	for _, ends := range [][2]io.ReadWriter{{client, backend}, {backend, client}} {
		if err := ends[0].(halfCloser).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		expectEOF(t, ends[1])
	}
}

// The name server does not respond: each connection dials the next address after the
// timeout.
func TestLookupTimesOut(t *testing.T) {
	o := listen(t)
	e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{named("slow.invalid"), o.backend()}}},
		func(f *Forwarder) { f.resolver, f.Timeouts.Dial = neverResolves(), 50*time.Millisecond })
	for range 5 {
		client, backend := e.open(o)
		converse(t, client, backend)
	}
	e.awaitMetric(0, "connections_open")
}

// Repeated answers, and answers for expired attempts, have no effect.
func TestOneAnswerForEachAttempt(t *testing.T) {
	e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{named("slow.invalid")}}},
		func(f *Forwarder) { f.resolver, f.Loops = neverResolves(), 1 })
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	a := e.asking()
	l := a.loop
	acted := 0
	answer := func(a attempt) {
		a.answer(func() { acted++ })
		heard := make(chan struct{})
		l.post(func(*loop) { close(heard) })
		<-heard
	}
	answer(a)
	answer(a)
	if acted != 1 {
		t.Errorf("a repeated answer was handled %d times", acted)
	}
	a = e.asking()
	sendReset(client)
	e.awaitMetric(0, "connections_open")
	again := dial(t, e.addr) // takes the slot
	send(t, again, helloFor(t, hostA))
	e.asking()
	answer(a)
	if acted != 1 {
		t.Error("an answer for a closed connection affected the next one in its slot")
	}
}

// asking waits for a connection of the first loop that looks up a name, and returns its
// attempt.
func (e *edge) asking() attempt {
	e.t.Helper()
	var asking attempt
	testkit.Eventually(e.t, "a connection should look up its backend", func() error {
		if e.metric("connections_open") == 0 {
			return errors.New("no connection is open")
		}
		found := make(chan bool, 1)
		(*e.loops.Load())[0].post(func(l *loop) {
			at := slices.IndexFunc(l.conns, func(c *conn) bool { return c.state == connecting })
			if at >= 0 {
				asking = l.conns[at].currentAttempt()
			}
			found <- at >= 0
		})
		if !<-found {
			return errors.New("no connection looks a name up")
		}
		return nil
	})
	return asking
}

// Results for one connection are delivered by attempt.answer. Only these functions may
// call post, because their calls concern the whole loop.
func TestResultsAreDeliveredByAnswer(t *testing.T) {
	wholeLoop := []string{"attempt.go", "balance.go", "forwarder.go", "memory.go"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || slices.Contains(wholeLoop, name) {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok && selector.Sel.Name == "post" {
				t.Errorf("%s calls post: deliver results by attempt.answer", name)
			}
			return true
		})
	}
}
