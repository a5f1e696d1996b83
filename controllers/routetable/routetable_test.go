package routetable_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// hades has addresses in its spec, illmatic has those of its Service, and astray has none.
var clusters = []v1alpha1.MemberCluster{
	{
		ObjectMeta: metav1.ObjectMeta{Name: "hades"},
		Spec:       v1alpha1.MemberClusterSpec{Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.10", "2001:db8::10"}, HTTPSPort: 8443, ProxyProtocol: v1alpha1.ProxyProtocolV2}},
		Status:     v1alpha1.MemberClusterStatus{Ingress: &v1alpha1.ResolvedIngress{Addresses: []string{"192.0.2.99"}}},
	},
	{
		ObjectMeta: metav1.ObjectMeta{Name: "illmatic"},
		Status:     v1alpha1.MemberClusterStatus{Ingress: &v1alpha1.ResolvedIngress{Addresses: []string{"192.0.2.20"}}},
	},
	{ObjectMeta: metav1.ObjectMeta{Name: "astray"}},
	{
		ObjectMeta: metav1.ObjectMeta{Name: "gates"},
		Spec:       v1alpha1.MemberClusterSpec{Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.30"}, Gateways: true, AllowedNetworks: []string{"192.0.2.0/24"}}},
		Status:     v1alpha1.MemberClusterStatus{Gateways: gateways},
	},
	{
		ObjectMeta: metav1.ObjectMeta{Name: "shut"},
		Spec:       v1alpha1.MemberClusterSpec{Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.40"}}},
		Status:     v1alpha1.MemberClusterStatus{Gateways: gateways},
	},
}

// gateways stand in statuses, which others than usher may have written.
var gateways = []v1alpha1.ResolvedGateway{
	{Namespace: "apps", Name: "front", Addresses: []string{"192.0.2.31"}},
	{Namespace: "apps", Name: "forged", Addresses: []string{"127.0.0.1", "lb.example.org", "198.51.100.1", "169.254.1.1"}},
}

// networks have two lists; there is no list nobody.
var networks = []v1alpha1.NetworkList{
	{ObjectMeta: metav1.ObjectMeta{Name: "family"}, Spec: v1alpha1.NetworkListSpec{Networks: []string{"192.168.0.0/16", "2001:db8::/32"}}},
	{ObjectMeta: metav1.ObjectMeta{Name: "vpn"}, Spec: v1alpha1.NetworkListSpec{Networks: []string{"192.168.7.0/24"}}},
}

func host(name string, accepted metav1.ConditionStatus, change func(*v1alpha1.ExposedHostSpec)) v1alpha1.ExposedHost {
	eh := v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ExposedHostSpec{Host: name}}
	if accepted != "" {
		eh.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAccepted, Status: accepted, Reason: "SomeReason"}}
	}
	change(&eh.Spec)
	return eh
}

func on(backends ...v1alpha1.HostBackend) func(*v1alpha1.ExposedHostSpec) {
	return func(spec *v1alpha1.ExposedHostSpec) { spec.Backends = backends }
}

func TestBuildServesAcceptedHostsWithAddress(t *testing.T) {
	for _, test := range []struct {
		name    string
		host    v1alpha1.ExposedHost
		want    []routing.Backend // none: refused
		because string
	}{
		{"accepted, addresses in the spec", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"})),
			[]routing.Backend{{Cluster: "hades", Addresses: []string{"192.0.2.10", "2001:db8::10"}, HTTPSPort: 8443, HTTPPort: 80, ProxyProtocol: routing.V2}}, ""},
		{"accepted, addresses found", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "illmatic"})),
			[]routing.Backend{{Cluster: "illmatic", Addresses: []string{"192.0.2.20"}, HTTPSPort: 443, HTTPPort: 80}}, ""},
		{"an address of its own", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Address: "nas.lan", HTTPSPort: 5001})),
			[]routing.Backend{{Addresses: []string{"nas.lan"}, HTTPSPort: 5001, HTTPPort: 80}}, ""},
		{"an address with PROXY headers", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Address: "nas.lan", ProxyProtocol: v1alpha1.ProxyProtocolV2, HTTPProxyProtocol: v1alpha1.ProxyProtocolV1})),
			[]routing.Backend{{Addresses: []string{"nas.lan"}, HTTPSPort: 443, HTTPPort: 80, ProxyProtocol: routing.V2, HTTPProxyProtocol: routing.V1}}, ""},
		{"several backends, one without an address", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "astray"}, v1alpha1.HostBackend{Cluster: "illmatic"})),
			[]routing.Backend{{Cluster: "illmatic", Addresses: []string{"192.0.2.20"}, HTTPSPort: 443, HTTPPort: 80}}, ""},
		{"a Gateway", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates", Gateway: "apps/front"})),
			[]routing.Backend{{Cluster: "gates", Addresses: []string{"192.0.2.31"}, HTTPSPort: 443, HTTPPort: 80}}, ""},
		{"a Gateway that is not known", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates", Gateway: "apps/other"})), nil, "NoIngressAddress"},
		{"a Gateway whose addresses may not be used", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates", Gateway: "apps/forged"})), nil, "NoIngressAddress"},
		{"a Gateway of a cluster without spec.ingress.gateways", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "shut", Gateway: "apps/front"})), nil, "NoIngressAddress"},
		{"refused", host("a.is", metav1.ConditionFalse, on(v1alpha1.HostBackend{Cluster: "hades"})), nil, "SomeReason"},
		{"not decided about", host("a.is", "", on(v1alpha1.HostBackend{Cluster: "hades"})), nil, "NotDecided"},
		{"no backend", host("a.is", metav1.ConditionTrue, on()), nil, "NoBackend"},
		{"a cluster without an address", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "astray"})), nil, "NoIngressAddress"},
		{"a cluster that does not exist", host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "nowhere"})), nil, "UnknownCluster"},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, problems := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{test.host}, Clusters: clusters})
			if len(problems) > 0 {
				t.Fatalf("problems: %v", problems)
			}
			route := table.Lookup("a.is")
			if route == nil || route.Refusal != test.because {
				t.Fatalf("route is %+v, want refusal %q", route, test.because)
			}
			same := func(a, b routing.Backend) bool {
				return a.Cluster == b.Cluster && slices.Equal(a.Addresses, b.Addresses) && a.HTTPSPort == b.HTTPSPort && a.HTTPPort == b.HTTPPort && a.ProxyProtocol == b.ProxyProtocol && a.HTTPProxyProtocol == b.HTTPProxyProtocol
			}
			if !slices.EqualFunc(route.Backends, test.want, same) {
				t.Errorf("backends are %+v", route.Backends)
			}
		})
	}
}

// A host with an invalid field is refused and reported: it is never served with fewer restrictions than its object has.
func TestBuildRefusesInvalidHosts(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.ExposedHostSpec){
		"spec.allowFrom[1]": func(s *v1alpha1.ExposedHostSpec) { s.AllowFrom = []string{"192.0.2.0/24", "192.0.2.300/24"} },
		"spec.plainHTTP":    func(s *v1alpha1.ExposedHostSpec) { s.PlainHTTP = "Maybe" },
		"spec.host":         func(s *v1alpha1.ExposedHostSpec) { s.Host = "xn--bad.is" },
	} {
		t.Run(name, func(t *testing.T) {
			bad := host("bad.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
			change(&bad.Spec)
			good := host("good.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
			table, problems := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{bad, good}, Clusters: clusters})
			if len(problems) != 1 || !strings.Contains(problems[0].Error(), "ExposedHost bad.is: "+name) {
				t.Errorf("problems are %v", problems)
			}
			if table.Len() != 1 || table.Refused() != 1 || table.Lookup("good.is") == nil {
				t.Errorf("the table serves %d hosts and refuses %d", table.Len(), table.Refused())
			}
			if route := table.Lookup(bad.Spec.Host); route == nil || route.Refusal != "SpecInvalid" {
				t.Errorf("an invalid host has the route %+v", route)
			}
		})
	}
}

func TestBuildCarriesOptions(t *testing.T) {
	eh := host("a.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
		s.Backends = []v1alpha1.HostBackend{{Cluster: "hades"}}
		s.PlainHTTP, s.AllowFrom = v1alpha1.PlainHTTPForward, []string{"192.168.1.7/16"}
	})
	table, _ := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{eh}, Clusters: clusters})
	route := table.Lookup("a.is")
	if route.PlainHTTP != routing.Forward || len(route.AllowFrom) != 1 || route.AllowFrom[0].String() != "192.168.0.0/16" {
		t.Errorf("route is %+v", route)
	}
}

// A host that names a list allows its clients, and follows its changes. Without the list
// it is refused: no list is never everyone.
func TestBuildResolvesNetworkLists(t *testing.T) {
	from := func(clients ...string) []v1alpha1.ExposedHost {
		return []v1alpha1.ExposedHost{host("a.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
			s.Backends, s.AllowFrom = []v1alpha1.HostBackend{{Cluster: "hades"}}, clients
		})}
	}
	changed := []v1alpha1.NetworkList{*networks[0].DeepCopy(), networks[1]}
	changed[0].Spec.Networks = []string{"203.0.113.0/24"}
	bad := []v1alpha1.NetworkList{*networks[0].DeepCopy()}
	bad[0].Spec.Networks = []string{"192.168.0.0/16", "home"}
	for name, test := range map[string]struct {
		hosts    []v1alpha1.ExposedHost
		networks []v1alpha1.NetworkList
		refusal  string
		in, out  string
		problem  string
	}{
		"a list":                     {from("@family"), networks, "", "192.168.1.1", "203.0.113.1", ""},
		"a list, and a network":      {from("@family", "203.0.113.0/24"), networks, "", "203.0.113.1", "10.0.0.1", ""},
		"a changed list":             {from("@family"), changed, "", "203.0.113.1", "192.168.1.1", ""},
		"what two lists have":        {from("@family&@vpn"), networks, "", "192.168.7.1", "192.168.1.1", ""},
		"two lists without a client": {from("@family&@vpn"), changed, "", "", "192.168.7.1", ""},
		"no lists":                   {from("@family"), nil, "UnknownNetworkList", "", "192.168.1.1", ""},
		"another list":               {from("@family"), networks[1:], "UnknownNetworkList", "", "192.168.1.1", ""},
		"a list and an unknown one":  {from("192.168.0.0/16", "@family", "@nobody"), networks, "UnknownNetworkList", "", "192.168.1.1", ""},
		"a list that cannot be read": {from("@family"), bad, "UnknownNetworkList", "", "192.168.1.1", "NetworkList family: spec.networks[1]: "},
		"a malformed name":           {from("@@family"), networks, "SpecInvalid", "", "192.168.1.1", "ExposedHost a.is: spec.allowFrom[0]: "},
		"an empty entry":             {from(""), networks, "SpecInvalid", "", "192.168.1.1", "ExposedHost a.is: spec.allowFrom[0]: "},
	} {
		t.Run(name, func(t *testing.T) {
			table, problems := routetable.Build(routetable.Objects{Hosts: test.hosts, Clusters: clusters, Networks: test.networks})
			if err := errors.Join(problems...); (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("problems: %v", problems)
			}
			route := table.Lookup("a.is")
			if route == nil || route.Refusal != test.refusal {
				t.Fatalf("the route is %+v", route)
			}
			if route.Refusal != "" {
				if len(route.Backends) > 0 {
					t.Errorf("a refused route has the backends %v", route.Backends)
				}
				return
			}
			if test.in != "" && !route.Allows(netip.MustParseAddr(test.in)) {
				t.Errorf("%s may not connect: %+v", test.in, route)
			}
			if route.Allows(netip.MustParseAddr(test.out)) {
				t.Errorf("%s may connect: %+v", test.out, route)
			}
		})
	}
}

// A host that is not served is not served by its wildcard either, for every reason.
func TestNoWildcardServesARefusedHost(t *testing.T) {
	wildcard := host("*.techn.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
	for name, eh := range map[string]v1alpha1.ExposedHost{
		"refused":           host("vault.techn.is", metav1.ConditionFalse, on()),
		"not decided about": host("vault.techn.is", "", on(v1alpha1.HostBackend{Cluster: "hades"})),
		"without backends":  host("vault.techn.is", metav1.ConditionTrue, on()),
		"member without address": host("vault.techn.is", metav1.ConditionTrue,
			on(v1alpha1.HostBackend{Cluster: "astray"})),
		"unknown member": host("vault.techn.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "nowhere"})),
		"unknown list": host("vault.techn.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
			s.Backends, s.AllowFrom = []v1alpha1.HostBackend{{Cluster: "hades"}}, []string{"@nobody"}
		}),
		"unreadable": host("vault.techn.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
			s.Backends, s.AllowFrom = []v1alpha1.HostBackend{{Cluster: "hades"}}, []string{"me"}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			built, _ := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{wildcard, eh}, Clusters: clusters})
			only, _ := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{wildcard}, Clusters: clusters})
			updated, _ := routetable.Update(only, &eh, clusters, nil)
			for _, table := range []*routing.Table{built, updated} {
				if route := table.Lookup("vault.techn.is"); route == nil || route.Refusal == "" || len(route.Backends) > 0 {
					t.Errorf("the route is %+v", route)
				}
				if route := table.Lookup("app.techn.is"); route == nil || route.Refusal != "" {
					t.Errorf("a sibling's route is %+v", route)
				}
			}
		})
	}
}

// An address in a status that a member's object must not have is no backend, no matter what wrote the status.
func TestBuildOmitsAddressesThatMustNotBeDialled(t *testing.T) {
	for _, test := range []struct {
		name          string
		spec          v1alpha1.IngressEndpoint
		found         []string // addresses in the status
		pinned        bool     // the addresses were pinned before spec.ingress.addresses was emptied
		want          []string
		inNetworkOnly bool // the backend is limited to networks
	}{
		{"found, of every sort", v1alpha1.IngressEndpoint{}, []string{"127.0.0.1", "::ffff:169.254.169.254", "localhost", "fe80::1", "192.0.2.20"}, false, []string{"192.0.2.20"}, false},
		{"found, and none is sound", v1alpha1.IngressEndpoint{}, []string{"localhost"}, false, nil, false},
		{"formerly pinned", v1alpha1.IngressEndpoint{}, []string{"127.0.0.1", "traefik.lan"}, true, []string{"127.0.0.1", "traefik.lan"}, false},
		{"pinned", v1alpha1.IngressEndpoint{Addresses: []string{"127.0.0.1", "traefik.lan"}}, nil, false, []string{"127.0.0.1", "traefik.lan"}, false},
		{"pinned, and bound to networks", v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.1", "198.51.100.1", "traefik.lan"}, AllowedNetworks: []string{"192.0.2.0/24"}}, nil, false, []string{"192.0.2.1", "traefik.lan"}, true},
		{"a network that cannot be read", v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.1"}, AllowedNetworks: []string{"home"}}, nil, false, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cluster := v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "hades"}, Spec: v1alpha1.MemberClusterSpec{Ingress: test.spec}}
			if test.found != nil {
				cluster.Status.Ingress = &v1alpha1.ResolvedIngress{Addresses: test.found, Pinned: test.pinned}
			}
			table, _ := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))}, Clusters: []v1alpha1.MemberCluster{cluster}})
			route := table.Lookup("a.is")
			if route == nil || route.Refusal != "" {
				if test.want != nil {
					t.Fatal("it is not served")
				}
				return
			}
			if b := route.Backends[0]; !slices.Equal(b.Addresses, test.want) || (len(b.Networks) > 0) != test.inNetworkOnly {
				t.Errorf("backend is %+v", b)
			}
		})
	}
}

// Hosts of one cluster share their backends in memory, and those of its Gateways do not.
func TestHostsOfGatewaysShareNoBackend(t *testing.T) {
	table, problems := routetable.Build(routetable.Objects{Clusters: clusters, Hosts: []v1alpha1.ExposedHost{
		host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates"})),
		host("b.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates", Gateway: "apps/front"})),
		host("c.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "gates"})),
	}})
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	for name, want := range map[string]string{"a.is": "192.0.2.30", "b.is": "192.0.2.31", "c.is": "192.0.2.30"} {
		if route := table.Lookup(name); route == nil || len(route.Backends) != 1 || route.Backends[0].Addresses[0] != want {
			t.Errorf("%s: %+v, want %s", name, route, want)
		}
	}
}

// A host is on the ports of its spec, on each with the backends that have the port.
func TestPorts(t *testing.T) {
	at := func(name string, port int32, version v1alpha1.ProxyProtocol) v1alpha1.BackendPort {
		return v1alpha1.BackendPort{Name: name, Port: port, ProxyProtocol: version}
	}
	with := slices.Clone(clusters)
	with[0].Spec.Ingress.Ports = []v1alpha1.IngressPort{{BackendPort: at("mqtts", 8883, v1alpha1.ProxyProtocolV1)}, {BackendPort: at("ldaps", 636, "")}}
	with[2].Spec.Ingress.Ports = []v1alpha1.IngressPort{{BackendPort: at("mqtts", 8883, "")}}
	nas := v1alpha1.HostBackend{Address: "nas.lan", Ports: []v1alpha1.BackendPort{at("mqtts", 1883, v1alpha1.ProxyProtocolV2)}}
	for name, test := range map[string]struct {
		ports    []string
		backends []v1alpha1.HostBackend
		want     string // ports with backends
		notHTTPS bool
		missing  string
	}{
		"https alone":                     {nil, []v1alpha1.HostBackend{{Cluster: "hades"}}, "", false, "[]"},
		"https by name":                   {[]string{"https"}, []v1alpha1.HostBackend{{Cluster: "hades"}}, "", false, "[]"},
		"two ports":                       {[]string{"https", "mqtts"}, []v1alpha1.HostBackend{{Cluster: "hades"}}, "mqtts=192.0.2.10:8883/V1", false, "[]"},
		"not on https":                    {[]string{"mqtts", "ldaps"}, []v1alpha1.HostBackend{{Cluster: "hades"}}, "ldaps=192.0.2.10:636/None mqtts=192.0.2.10:8883/V1", true, "[]"},
		"a port that the cluster lacks":   {[]string{"https", "smtps"}, []v1alpha1.HostBackend{{Cluster: "hades"}}, "", false, "[smtps]"},
		"no port that the cluster has":    {[]string{"mqtts"}, []v1alpha1.HostBackend{{Cluster: "illmatic"}}, "", true, "[mqtts]"},
		"a cluster without addresses":     {[]string{"mqtts"}, []v1alpha1.HostBackend{{Cluster: "astray"}, {Cluster: "illmatic"}}, "", true, "[]"},
		"an address, and a cluster":       {[]string{"mqtts"}, []v1alpha1.HostBackend{nas, {Cluster: "illmatic"}, {Cluster: "hades"}}, "mqtts=nas.lan:1883/V2,192.0.2.10:8883/V1", true, "[]"},
		"an address with ports, on https": {nil, []v1alpha1.HostBackend{nas}, "", false, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			eh := host("a.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
				s.Ports, s.Backends, s.PlainHTTP = test.ports, test.backends, v1alpha1.PlainHTTPDeny
			})
			table, problems := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{eh}, Clusters: with})
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			route := table.Lookup("a.is")
			var got []string
			for _, port := range route.Ports {
				var backends []string
				for _, b := range port.Backends {
					backends = append(backends, fmt.Sprintf("%s:%d/%s", b.Addresses[0], b.HTTPSPort, b.ProxyProtocol))
				}
				got = append(got, port.Name+"="+strings.Join(backends, ","))
			}
			if strings.Join(got, " ") != test.want || route.NotHTTPS != test.notHTTPS {
				t.Errorf("the ports are %v, and not https: %v", got, route.NotHTTPS)
			}
			named := map[string]*v1alpha1.MemberCluster{}
			for i := range with {
				named[with[i].Name] = &with[i]
			}
			if got := fmt.Sprint(routetable.MissingPorts(eh.Spec, named)); got != test.missing {
				t.Errorf("the missing ports are %s, want %s", got, test.missing)
			}
			if same, _ := routetable.Update(table, &eh, with, nil); same != table {
				t.Error("an update without a change makes another table")
			}
		})
	}
}
