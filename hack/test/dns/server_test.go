package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// secret is the TSIG key of the name servers.
const secret = "bm90IGEgc2VjcmV0LCBidXQgYSB0ZXN0IG9mIHVzaGVy"

// A nameServer is a BIND that has the zone techn.is, and takes updates of it.
type nameServer struct {
	address  netip.AddrPort
	resolver *net.Resolver
}

const namedConf = `
options { directory %[1]q; pid-file none; session-keyfile none; listen-on port %[2]d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; notify no; };
controls { };
key usher { algorithm hmac-sha256; secret %[3]q; };
zone "techn.is" { type primary; file "zone"; allow-update { key usher; }; allow-transfer { key usher; }; };
`

const emptyZone = "$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\nns IN A 127.0.0.1\n" //nolint:dupword // its times

// startNamed starts a name server until the test ends.
func startNamed(t *testing.T, name string) *nameServer {
	t.Helper()
	dir := t.TempDir()
	s := &nameServer{address: freePort(t)}
	config := filepath.Join(dir, "named.conf")
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "zone"), []byte(emptyZone), 0o600))
	testkit.Must(t, os.WriteFile(config, fmt.Appendf(nil, namedConf, dir, s.address.Port(), secret), 0o600))
	server, err := bed.Run(name, nil, "named", "-g", "-n", "1", "-c", config)
	testkit.Must(t, err)
	t.Cleanup(server.Kill)
	s.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.address.String())
	}}
	testkit.Eventually(t, name, func() error { return s.has(t, "ns.techn.is", "127.0.0.1") })
	return s
}

// freePort returns a port of loopback that is free for UDP and TCP now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}

// has returns nil if the server answers a name with these addresses, or with none.
func (s *nameServer) has(t *testing.T, name string, want ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	got, err := s.resolver.LookupHost(ctx, name+".")
	if failure, ok := errors.AsType[*net.DNSError](err); ok && failure.IsNotFound {
		err = nil
	}
	slices.Sort(got)
	if slices.Sort(want); err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("%s is %v (%w), want %v", name, got, err, want)
	}
	return nil
}

// awaitHas waits until the server answers a name with these addresses, or with none.
func (s *nameServer) awaitHas(t *testing.T, name string, want ...string) {
	t.Helper()
	testkit.Eventually(t, name, func() error { return s.has(t, name, want...) })
}

// owner returns the owner that external-dns has recorded beside the A record of a name.
func (s *nameServer) owner(t *testing.T, name string) string {
	t.Helper()
	texts, err := s.resolver.LookupTXT(t.Context(), "a-"+name+".")
	testkit.Must(t, err)
	_, owner, _ := strings.Cut(strings.Join(texts, ","), "external-dns/owner=")
	owner, _, _ = strings.Cut(owner, ",")
	return owner
}
