package testbed

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestFreePortsAreDistinctAndBelowTheEphemeralRange(t *testing.T) {
	ports, err := freePorts(t.Context(), loopback, 20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]bool{}
	for _, p := range ports {
		if seen[p] || p.Port() < firstPort || p.Port() >= endOfPorts || !p.Addr().IsLoopback() {
			t.Errorf("%v among %v", p, ports)
		}
		seen[p] = true
	}
}

func TestStartIsRetriedWhenPortsAreTaken(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		errors []error // of successive starts; later ones return nil
		starts int
		want   error
	}{
		{"free at once", nil, 1, nil},
		{"taken twice", []error{errPortTaken, errPortTaken}, 3, nil},
		{"broken otherwise", []error{broken}, 1, broken},
		{"always taken", []error{errPortTaken, errPortTaken, errPortTaken, errPortTaken, errPortTaken}, startAttempts, errPortTaken},
	} {
		t.Run(c.name, func(t *testing.T) {
			starts := 0
			err := withFreePorts(t.Context(), loopback, 1, func([]netip.AddrPort) error {
				starts++
				if starts > len(c.errors) {
					return nil
				}
				return c.errors[starts-1]
			})
			if starts != c.starts || !errors.Is(err, c.want) {
				t.Errorf("%d starts, %v; want %d, %v", starts, err, c.starts, c.want)
			}
		})
	}
}

func TestServersReportThatTheirPortIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := listener.Addr().(*net.TCPAddr).AddrPort()
	free, err := freePorts(t.Context(), loopback, 3)
	if err != nil {
		t.Fatal(err)
	}
	hades := bed.Cluster("hades")
	for name, start := range map[string]func() error{
		"kube-apiserver": func() error {
			second := &Cluster{name: "second", bed: bed, credentials: hades.credentials, address: taken}
			second.config = second.credentials.adminConfig(taken)
			return second.Start(t.Context())
		},
		"Traefik": func() error {
			second := &Traefik{HTTPS: taken, HTTP: free[0], API: free[1], MQTTS: free[2], name: "second-traefik", bed: bed, cluster: hades}
			return second.Start(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := start(); !errors.Is(err, errPortTaken) {
				t.Errorf("started on %v: %v, want %v", taken, err, errPortTaken)
			}
		})
	}
}
