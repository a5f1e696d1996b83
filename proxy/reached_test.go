package proxy_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/reach"
	"github.com/jovalle/usher/proxy/routing"
)

// checking makes a server check that connections to addresses reach it.
func checking(t *testing.T, addresses ...string) func(*proxy.Server) {
	t.Helper()
	parsed, err := reach.ParseAddresses(addresses)
	if err != nil {
		t.Fatal(err)
	}
	return func(s *proxy.Server) { s.SelfCheck = parsed }
}

// awaitReached waits for the first result, which must be that connections reach the
// server. The connection of the check must not be counted as one of a client.
func (e *edge) awaitReached(t *testing.T) {
	t.Helper()
	testkit.WaitFor(t, "connections to reach the server", func() bool { return e.Reached() == nil })
	if n := e.metric(t, "usher_self_checks_total", map[string]string{"result": "seen"}); int(n) < len(e.HTTPSAddrs())+len(e.HTTPAddrs()) {
		t.Errorf("%v connections of the check were seen", n)
	}
	if n := e.metric(t, "usher_http_answers_total", nil); n != 0 {
		t.Errorf("%v requests of the check are counted", n)
	}
	if n := e.metric(t, "usher_connections_refused_total", nil); n != 0 {
		t.Errorf("%v connections are counted as refused", n)
	}
	testkit.WaitFor(t, "the connection of the check to be closed", func() bool { return e.metric(t, "usher_connections_used", nil) == 0 })
}

func TestSelfCheckIsNotCounted(t *testing.T) {
	for name, option := range map[string]func(*proxy.Server){
		"as it is":                            func(*proxy.Server) {},
		"from where a PROXY header must come": func(s *proxy.Server) { s.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} },
		// One listener each: else a second connection could arrive before the first is released.
		"as the only TLS connection that a client may":  func(s *proxy.Server) { s.MaxConnectionsPerClient, s.HTTPListen = 1, nil },
		"as the only HTTP connection that a client may": func(s *proxy.Server) { s.MaxConnectionsPerClient, s.HTTPSListen = 1, nil },
	} {
		t.Run(name, func(t *testing.T) {
			start(t, nil, checking(t, "127.0.0.1"), option).awaitReached(t)
		})
	}
}

// A member cannot publish a wildcard that matches the name of the check, so that usher
// would believe that connections reach another program.
func TestNoRouteMatchesTheSelfCheck(t *testing.T) {
	hades := startCluster(t, "hades")
	var routes []routing.Route
	for _, host := range []string{"*.usher.invalid", "usher.invalid", "*.x.usher.invalid"} {
		routes = append(routes, routing.Route{Host: host, Backends: []routing.Backend{hades.backend()}})
	}
	e := start(t, routes, checking(t, "127.0.0.1"))
	e.awaitReached(t)
	if _, greeting, err := visit(t, e.https, "a.usher.invalid"); err != nil || !strings.HasPrefix(greeting, "hades") {
		t.Errorf("a route of that domain is not served: %q, %v", greeting, err)
	}
}

// A client with a similar name is refused, as for any other unknown host.
func TestNamesLikeTheSelfChecksAreRefused(t *testing.T) {
	e := start(t, nil, checking(t, "127.0.0.1"))
	e.awaitReached(t)
	_, _, err := visit(t, e.https, strings.Repeat("0", 32)+"."+strings.Repeat("0", 32)+".usher.invalid")
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("its client gets %v", err)
	}
	e.awaitMetric(t, "usher_connections_refused_total", map[string]string{"reason": "unknown_host"}, 1)
}

// Addresses of the network namespace in which the rules are: RFC 2544.
const (
	ownAddress = "198.18.0.1"
	// virtualAddress is on the machine for another program, as the address of a
	// load balancer that announces it from here.
	virtualAddress = "198.18.0.9"
)

// A NAT rule, like that of a hostPort, redirects connections away from a server that
// listens on the port. The check detects it, and detects when the rule is removed.
func TestRulesThatRedirectConnections(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip := func(args string) { command(t, "ip", args) }
	ip("link set lo up")
	ip("link add cable type veth peer name far")
	ip("link set cable up")
	ip("address add " + ownAddress + "/24 dev cable")
	ip("address add " + virtualAddress + "/32 dev cable")
	ip("route add default via 198.18.0.254")
	traefik, err := tls.Listen("tcp", ownAddress+":8443", &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { traefik.Close() })
	go greetAll(traefik)
	nft(t, "add table ip rules")
	nft(t, "add chain ip rules output { type nat hook output priority -100; }")
	listening := func(s *proxy.Server) { s.HTTPSListen, s.HTTPListen = []string{":443"}, []string{":80"} }
	own := netip.MustParseAddrPort(ownAddress + ":443")

	nft(t, "add rule ip rules output ip daddr "+virtualAddress+" tcp dport 443 dnat to "+ownAddress+":8443")
	e := start(t, nil, listening, checking(t, "auto"))
	e.awaitReached(t)
	e.end(t)

	nft(t, "add rule ip rules output fib daddr type local tcp dport {80, 443} dnat to "+ownAddress+":8443")
	e = start(t, nil, listening, checking(t, "auto"))
	if _, greeting, err := visit(t, own, "a.techn.is"); err != nil || !strings.HasPrefix(greeting, "traefik") {
		t.Fatalf("the rule does not redirect connections: %q, %v", greeting, err)
	}
	testkit.WaitFor(t, "the rule to be detected", func() bool {
		err := e.Reached()
		return err != nil && strings.Contains(err.Error(), own.String()+` (certificate "test")`)
	})
	for _, port := range []string{":80", ":443"} {
		e.awaitMetric(t, "usher_shadowed", map[string]string{"address": ownAddress + port}, 1)
	}
	nft(t, "flush chain ip rules output")
	testkit.WaitFor(t, "the removal of the rule to be detected", func() bool { return e.Reached() == nil })
	e.awaitMetric(t, "usher_shadowed", nil, 0)
}

func greetAll(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go greet(conn.(*tls.Conn), "traefik", func(net.Conn) {})
	}
}

// inNamespace runs the test again in a new network namespace, and reports whether this
// is that run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "USHER_TEST_NAMESPACE"
	if os.Getenv(variable) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err) // of iproute2 and nftables
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil && len(out) == 0:
		t.Skipf("no network namespace: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	return false
}

// nft adds a rule, or skips the test if the kernel does not support it.
func nft(t *testing.T, rule string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "nft", rule).CombinedOutput(); err != nil {
		t.Skipf("the kernel does not support this rule: nft %s: %v\n%s", rule, err, out)
	}
}

func command(t *testing.T, name, args string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args, err, out)
	}
}
