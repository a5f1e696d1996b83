package routing_test

import (
	"fmt"
	"testing"

	"github.com/jovalle/usher/proxy/routing"
)

func TestOn(t *testing.T) {
	backends := func(cluster string) []routing.Backend { return []routing.Backend{{Cluster: cluster}} }
	mqtts := []routing.Port{{Name: "ldaps", Backends: backends("ldap")}, {Name: "mqtts", Backends: backends("broker")}}
	for name, tt := range map[string]struct {
		route             routing.Route
		https, mqtts, dot string // cluster, or reason
	}{
		"on https alone":    {routing.Route{Backends: backends("web")}, "web", "PortNotServed", "PortNotServed"},
		"on two ports":      {routing.Route{Backends: backends("web"), Ports: mqtts}, "web", "broker", "PortNotServed"},
		"not on https":      {routing.Route{Backends: backends("web"), Ports: mqtts, NotHTTPS: true}, "PortNotServed", "broker", "PortNotServed"},
		"on no port":        {routing.Route{Backends: backends("web"), NotHTTPS: true}, "PortNotServed", "PortNotServed", "PortNotServed"},
		"on plain HTTP":     {routing.Route{Backends: backends("web"), Ports: mqtts, PlainOnly: true}, "PlainOnly", "PlainOnly", "PlainOnly"},
		"refused":           {routing.Route{Refusal: "NotIsolated", Ports: mqtts}, "NotIsolated", "NotIsolated", "NotIsolated"},
		"excepted":          {routing.Route{Refusal: "Excepted"}, "Excepted", "Excepted", "Excepted"},
		"without a backend": {routing.Route{}, "", "PortNotServed", "PortNotServed"},
	} {
		t.Run(name, func(t *testing.T) {
			for port, want := range map[string]string{"https": tt.https, "mqtts": tt.mqtts, "dot": tt.dot} {
				found, got := tt.route.On(port)
				if len(found) > 0 {
					got += found[0].Cluster
				}
				if got != want {
					t.Errorf("on %s it is %q, want %q", port, got, want)
				}
			}
		})
	}
}

// The counts of hosts by port are those of the routes, after any change, and no change
// affects another table.
func TestPortsOfATable(t *testing.T) {
	on := func(host string, names ...string) routing.Route {
		r := route(host, "hades")
		for _, name := range names {
			r.Ports = append(r.Ports, routing.Port{Name: name, Backends: r.Backends})
		}
		return r
	}
	check := func(table *routing.Table, want string) {
		t.Helper()
		if got := fmt.Sprint(table.Ports()); got != want {
			t.Errorf("the ports are %s, want %s", got, want)
		}
	}
	first := routing.NewTable([]routing.Route{on("a.is", "mqtts", "ldaps"), on("*.is", "mqtts"), on("a.is", "dot"), on("b.is")})
	check(first, "map[ldaps:1 mqtts:2]")
	second := first.With(on("a.is", "mqtts"))
	check(second, "map[mqtts:2]")
	check(second.With(on("b.is", "ldaps")), "map[ldaps:1 mqtts:2]")
	check(second.With(routing.Route{Host: "a.is", Refusal: "NotIsolated"}), "map[mqtts:1]")
	check(second.Without("*.is").Without("a.is"), "map[]")
	check(first, "map[ldaps:1 mqtts:2]")
	var none *routing.Table
	check(none, "map[]")
	check(none.With(on("a.is", "mqtts")), "map[mqtts:1]")
}
