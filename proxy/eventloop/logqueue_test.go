package eventloop

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

func logTo(l *testkit.Log, verbosity int) func(*Forwarder) {
	return func(f *Forwarder) { f.Log = funcr.New(l.Add, funcr.Options{Verbosity: verbosity}) }
}

func TestLog(t *testing.T) {
	o := listen(t)
	var log testkit.Log
	routes := append(routeA(o), routing.Route{
		Host: "dead.is", Backends: []routing.Backend{{Cluster: "dead", Addresses: []string{"127.0.0.2"}, HTTPSPort: 1}},
	}, routing.Route{Host: "vault.is", Refusal: "AllowedDomains"})
	e := start(t, routes, logTo(&log, 1), func(f *Forwarder) { f.AccessLog = true })
	refused := dial(t, e.addr)
	send(t, refused, helloFor(t, "b.techn.is"))
	log.Await(t, "Connection refused", refused.LocalAddr().String(), "b.techn.is", "unknown_host")

	send(t, dial(t, e.addr), helloFor(t, "vault.is"))
	log.Await(t, `"Connection refused" "client"=`, `"host"="vault.is" "reason"="refused_host" "because"="AllowedDomains"`)

	send(t, dial(t, e.addr), helloFor(t, "dead.is"))
	log.Await(t, "Backend cannot be dialled", "127.0.0.2:1", `"dead"`, "connection refused")

	client, backend := e.open(o)
	send(t, backend, []byte("12345"))
	backend.Close()
	_, _ = io.ReadAll(client)
	client.Close()
	log.Await(t, "Connection closed", client.LocalAddr().String(), hostA, "hades", `"down"=5`, `"reason"="closed"`)
}

func TestRefusalsAreNotLoggedByDefault(t *testing.T) {
	var log testkit.Log
	e := start(t, nil, logTo(&log, 0))
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	_, _ = io.ReadAll(client)
	e.end()
	if found := log.With("refused"); len(found) > 0 {
		t.Errorf("logged %q", found)
	}
}

// An address refuses the connection, and the lookup of a name times out: each log line
// names the address or the name.
func TestLogNamesWhatFailed(t *testing.T) {
	var log testkit.Log
	backend := routing.Backend{Cluster: "dead", Addresses: []string{"slow.invalid", "127.0.0.2", "none.invalid"}, HTTPSPort: 1}
	e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{backend}}}, logTo(&log, 0), func(f *Forwarder) {
		f.resolver, f.Timeouts.Dial = neverResolves(), 50*time.Millisecond
	})
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	expect(t, client, alertRecord(internalError))
	for _, address := range []string{`"slow.invalid"`, `"127.0.0.2:1"`, `"none.invalid"`} {
		log.Await(t, "Backend cannot be dialled", `"address"=`+address)
	}
	if n := len(log.With("Backend cannot be dialled")); n != len(backend.Addresses) {
		t.Errorf("%d lines for %d addresses", n, len(backend.Addresses))
	}
}

// Lines about the default port are as ever; those about another port end with its name.
func TestLogNamesThePort(t *testing.T) {
	o := listen(t)
	var log testkit.Log
	routes := routeA(o)
	routes[0].Ports = []routing.Port{{Name: "mqtts", Backends: routes[0].Backends}}
	routes = append(routes, routing.Route{Host: "web.is", Backends: routes[0].Backends})
	e := startOn(t, "mqtts", routes, logTo(&log, 1), func(f *Forwarder) { f.AccessLog = true })
	send(t, dial(t, e.addr), helloFor(t, "web.is"))
	log.Await(t, `"Connection refused"`, `"host"="web.is" "reason"="refused_host" "because"="PortNotServed" "port"="mqtts"`)
	client, backend := e.open(o)
	backend.Close()
	client.Close()
	log.Await(t, "Connection closed", hostA, `"port"="mqtts"`)
}

// More clients are refused than may be logged.
func TestRefusalsAreLoggedAtABoundedRate(t *testing.T) {
	var log testkit.Log
	e := start(t, nil, logTo(&log, 1))
	const clients = 10 * refusalBurst
	for range clients {
		client := dial(t, e.addr)
		send(t, client, []byte("GET / HTTP/1.1\r\n\r\n"))
		client.Close()
	}
	e.awaitMetric(clients, "connections_refused_total")
	e.end()
	if n := len(log.With("refused")); n == 0 || n > clients/2 {
		t.Errorf("%d refusals made %d lines", clients, n)
	}
}

// The line that fail2ban parses is logged at the default verbosity.
func TestRefusalsInTheAccessLog(t *testing.T) {
	var log testkit.Log
	e := start(t, nil, logTo(&log, 0), func(f *Forwarder) { f.AccessLogRefused = true })
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	_, _ = io.ReadAll(client)
	log.Await(t, "Connection refused", client.LocalAddr().String(), hostA, "unknown_host", "", "")
	hostile := dial(t, e.addr)
	send(t, hostile, helloFor(t, "a\n\"client\":\"192.0.2.1:1\""))
	_, _ = io.ReadAll(hostile)
	log.Await(t, "Connection refused", hostile.LocalAddr().String(), `"host"=""`)
	e.LogRefused(netip.MustParseAddrPort("203.0.113.7:1"), "", "bad_request", "")
	log.Await(t, "Connection refused", "203.0.113.7:1", "bad_request")
}

// The log blocks, and there are more refusals than the queue may hold.
func TestRefusalsLeaveRoomInTheQueue(t *testing.T) {
	j := newLogQueue(funcr.New(func(string, string) {}, funcr.Options{}), true)
	for range 10 * maxQueuedLines {
		j.logRefused(netip.AddrPort{}, hostA, "unknown_host", "", "")
	}
	if n := len(j.lines); n > maxQueuedLines/2 {
		t.Errorf("refusals use %d of %d places", n, maxQueuedLines)
	}
	if j.dropped.Load() == 0 {
		t.Error("no dropped line is counted")
	}
}

// BenchmarkLogRefused measures the log line of a refusal: none, one within the rate,
// and one beyond it.
func BenchmarkLogRefused(b *testing.B) {
	for name, refused := range map[string]bool{"off": false, "on": true} {
		b.Run(name, func(b *testing.B) {
			j := newLogQueue(funcr.New(func(string, string) {}, funcr.Options{}), refused)
			for b.Loop() {
				j.logRefused(netip.AddrPort{}, hostA, "unknown_host", "", "")
			}
		})
	}
}

// The log blocks: connections must not be delayed.
func TestSlowLogDelaysNoConnection(t *testing.T) {
	release := make(chan struct{})
	j := newLogQueue(funcr.New(func(string, string) { <-release }, funcr.Options{}), false)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { j.run(ctx) })
	for range 2 * maxQueuedLines {
		j.add(func() { j.log.Info("a line") })
	}
	if j.dropped.Load() == 0 {
		t.Error("no line was dropped, and none could be written")
	}
	close(release)
	stop()
	running.Wait()
}
