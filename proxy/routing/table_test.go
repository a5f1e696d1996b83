package routing_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/proxy/routing"
)

func route(host, cluster string) routing.Route {
	return routing.Route{Host: host, Backends: []routing.Backend{{Cluster: cluster}}}
}

func TestLookup(t *testing.T) {
	table := routing.NewTable([]routing.Route{
		route("whoami.techn.is", "hades"),
		route("*.techn.is", "illmatic"),
		route("*.lab.techn.is", "hades"),
		route("whoami.techn.is", "second"),
		route("*.techn.is", "second"),
	})
	for name, tt := range map[string]struct{ host, want string }{
		"exact wins over wildcard":      {"whoami.techn.is", "hades"},
		"wildcard":                      {"other.techn.is", "illmatic"},
		"wildcard covers one label":     {"a.b.techn.is", ""},
		"deeper wildcard":               {"a.lab.techn.is", "hades"},
		"wildcard's own label":          {"lab.techn.is", "illmatic"},
		"wildcard leaves its parent be": {"techn.is", ""},
		"empty label":                   {".techn.is", ""},
		"no label":                      {"", ""},
		"unknown":                       {"techn.as", ""},
		"suffix without a dot":          {"eviltechn.is", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if r := table.Lookup(tt.host); r != nil {
				got = r.Backends[0].Cluster
			}
			if got != tt.want {
				t.Errorf("Lookup(%q) returns the route to %q, want %q", tt.host, got, tt.want)
			}
		})
	}
	if table.Len() != 3 {
		t.Errorf("Len() = %d, want 3: the later routes of a host do not count", table.Len())
	}
}

func TestAllYieldsEachRouteOnce(t *testing.T) {
	table := routing.NewTable([]routing.Route{route("b.is", ""), route("*.a.is", ""), route("a.is", "")})
	var hosts []string
	for r := range table.All() {
		hosts = append(hosts, r.Host)
	}
	slices.Sort(hosts)
	if want := []string{"*.a.is", "a.is", "b.is"}; !slices.Equal(hosts, want) {
		t.Errorf("All() = %v, want %v", hosts, want)
	}
	for range table.All() {
		break // must not panic
	}
}

// version is a table and its expected content.
type version struct {
	table *routing.Table
	want  map[string]string // host → cluster
}

// After any sequence of changes, each table has the expected content, and no change
// affects another table.
func TestChangesDoNotAffectOtherTables(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var hosts []string // few, so that each is changed often
	for i := range 30 {
		hosts = append(hosts, fmt.Sprintf("h%d.is", i), fmt.Sprintf("*.h%d.is", i))
	}
	versions := []version{{nil, map[string]string{}}}
	for i := range 2000 {
		last := versions[len(versions)-1]
		next := version{want: maps.Clone(last.want)}
		if host := hosts[random.IntN(len(hosts))]; random.IntN(3) == 0 {
			next.table = last.table.Without(host)
			delete(next.want, host)
		} else {
			next.want[host] = fmt.Sprint("cluster", i)
			next.table = last.table.With(route(host, next.want[host]))
		}
		versions = append(versions, next)
	}
	for i, v := range versions { // after the last change, to detect changes in place
		if got := clustersOf(v.table); !maps.Equal(got, v.want) || v.table.Len() != len(v.want) {
			t.Fatalf("table %d, of %d routes, holds %v, want %v", i, v.table.Len(), got, v.want)
		}
		for _, host := range hosts {
			own := v.table.Own(host)
			if (own != nil) != (v.want[host] != "") || own != nil && own.Backends[0].Cluster != v.want[host] {
				t.Fatalf("table %d: Own(%s) = %+v, want one of %q", i, host, own, v.want[host])
			}
		}
	}
}

// After any sequence of changes, the route of a host, including a refusal, takes
// precedence over a wildcard; a name that the wildcard excepts is refused; and Len and
// Refused are correct.
func TestRefusalsTakePrecedenceOverWildcards(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	hosts := []string{"*.a.is", "*.b.a.is", "b.a.is", "c.a.is", "d.b.a.is", "a.is"}
	asked := append(slices.Clone(hosts[2:]), "e.a.is", "e.b.a.is", "f.d.b.a.is")
	model := map[string]string{} // host → refusal, or "" where it is served
	except := map[string][]string{}
	var table *routing.Table
	for i := range 5000 {
		if host := hosts[random.IntN(len(hosts))]; random.IntN(4) == 0 {
			delete(model, host)
			table = table.Without(host)
		} else {
			model[host] = []string{"", "Refused", "Moved"}[random.IntN(3)]
			if except[host] = nil; strings.HasPrefix(host, "*.") && model[host] == "" {
				except[host] = [][]string{nil, {"c"}, {"a", "b", "e"}, {"d", "e"}}[random.IntN(4)]
			}
			table = table.With(routing.Route{Host: host, Refusal: model[host], Except: except[host]})
		}
		if i%7 == 0 {
			var routes []routing.Route
			for host, refusal := range model {
				routes = append(routes, routing.Route{Host: host, Refusal: refusal, Except: except[host]}, routing.Route{Host: host, Refusal: "Second"})
			}
			table = routing.NewTable(routes)
		}
		refused := 0
		for _, refusal := range model {
			if refusal != "" {
				refused++
			}
		}
		if table.Refused() != refused || table.Len() != len(model)-refused {
			t.Fatalf("step %d: Len() = %d and Refused() = %d of %v", i, table.Len(), table.Refused(), model)
		}
		for _, host := range asked {
			key, label := host, ""
			if _, own := model[key]; !own {
				var parent string
				label, parent, _ = strings.Cut(host, ".")
				key = "*." + parent
			}
			refusal, known := model[key]
			if slices.Contains(except[key], label) {
				key, refusal = "", routing.ReasonExcepted
			}
			if r := table.Lookup(host); (r != nil) != known || known && (r.Host != key || r.Refusal != refusal) {
				t.Fatalf("step %d: Lookup(%s) = %+v, want %q of %s (%v)", i, host, r, refusal, key, known)
			}
		}
	}
}

// There are so many routes that each shard holds several.
func TestManyRoutes(t *testing.T) {
	routes := manyRoutes(20_000)
	table := routing.NewTable(routes)
	for i, r := range routes[:200] {
		if table = table.Without(r.Host); table.Len() != len(routes)-i-1 {
			t.Fatalf("%d routes are left of %d without %d", table.Len(), len(routes), i+1)
		}
	}
	for i, r := range routes {
		if got := table.Lookup(r.Host); (got != nil) != (i >= 200) || got != nil && got.Host != r.Host {
			t.Fatalf("Lookup(%s) = %+v", r.Host, got)
		}
	}
	if table.Lookup("nobody.techn.is") != nil {
		t.Error("an unknown host has a route")
	}
}

// clustersOf returns the content of a table: host → cluster.
func clustersOf(table *routing.Table) map[string]string {
	clusters := map[string]string{}
	for r := range table.All() {
		clusters[r.Host] += r.Backends[0].Cluster // a route that is yielded twice differs
	}
	return clusters
}

func TestEmptyTables(t *testing.T) {
	var live routing.Live
	for name, table := range map[string]*routing.Table{
		"nil":            nil,
		"zero Live":      live.Load(),
		"of no routes":   routing.NewTable(nil),
		"the zero value": {},
	} {
		for range table.All() {
			t.Errorf("%s: All() yields a route", name)
		}
		if table.Len() != 0 || table.Lookup("a.techn.is") != nil || table.Own("*.techn.is") != nil || table.Without("a.is").Len() != 0 {
			t.Errorf("%s: is not empty", name)
		}
	}
	live.Store(routing.NewTable([]routing.Route{route("a.is", "")}))
	live.Store(nil)
	if live.Load().Len() != 0 {
		t.Error("Store(nil) keeps the routes")
	}
}

func TestTableCopiesItsRoutes(t *testing.T) {
	routes := []routing.Route{route("a.is", "hades")}
	table := routing.NewTable(routes)
	routes[0].Backends = nil
	if r := table.Lookup("a.is"); len(r.Backends) != 1 {
		t.Error("a change of the caller's slice reached the table")
	}
}

func TestAllows(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fe80::/10")}
	for name, tt := range map[string]struct {
		from   []netip.Prefix
		client string
		want   bool
	}{
		"everyone":           {nil, "203.0.113.1", true},
		"inside":             {home, "192.168.1.1", true},
		"outside":            {home, "203.0.113.1", false},
		"IPv4-mapped inside": {home, "::ffff:192.168.1.1", true},
		"IPv4-mapped out":    {home, "::ffff:203.0.113.1", false},
		"zone":               {home, "fe80::1%eth0", true},
		"IPv6 outside":       {home, "2001:db8::1", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := routing.Route{AllowFrom: tt.from}
			if got := r.Allows(netip.MustParseAddr(tt.client)); got != tt.want {
				t.Errorf("Allows(%s) = %v, want %v", tt.client, got, tt.want)
			}
		})
	}
	if (&routing.Route{AllowFrom: home}).Allows(netip.Addr{}) {
		t.Error("an unknown address is allowed")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := routing.NewTable([]routing.Route{route("a.techn.is", ""), {Host: "*.techn.is", Except: []string{"b", "c"}}})
	allocs := testing.AllocsPerRun(100, func() {
		table.Lookup("a.techn.is")
		table.Lookup("b.techn.is")
		table.Lookup("a.b.c.d")
	})
	if allocs != 0 {
		t.Errorf("Lookup allocates %v times", allocs)
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		routes := manyRoutes(size)
		table := routing.NewTable(routes)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				table.Lookup(routes[i%size].Host)
			}
		})
	}
}

func BenchmarkChange(b *testing.B) {
	for _, size := range []int{100, 10_000, 100_000} {
		routes := manyRoutes(size)
		table := routing.NewTable(routes)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table = table.With(routes[i%size])
			}
		})
	}
}

func manyRoutes(size int) []routing.Route {
	routes := make([]routing.Route, size)
	for i := range routes {
		routes[i] = route(fmt.Sprintf("host-%d.techn.is", i), "hades")
	}
	return routes
}
