package allowfrom_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/proxy/routing"
)

// list returns a NetworkList.
func list(name string, networks ...string) v1alpha1.NetworkList {
	return v1alpha1.NetworkList{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NetworkListSpec{Networks: networks}}
}

// read returns the content of lists that can all be read.
func read(t *testing.T, lists ...v1alpha1.NetworkList) allowfrom.Lists {
	t.Helper()
	found, problems := allowfrom.Read(lists)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return found
}

// allows reports whether a route with this list allows a client.
func allows(t *testing.T, entries []string, lists allowfrom.Lists, client string) bool {
	t.Helper()
	networks, within, invalid := allowfrom.Resolve(entries, lists)
	if invalid != nil {
		t.Fatalf("%v: %+v", entries, invalid)
	}
	route := routing.Route{AllowFrom: networks, AllowWithin: within}
	return route.Allows(netip.MustParseAddr(client))
}

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for item, want := range map[string]string{
		"@family":                        "name",
		"@a":                             "name",
		"@7-up":                          "name",
		"@" + long:                       "name",
		"192.0.2.0/24":                   "",
		"family":                         "",
		"":                               "",
		"@":                              "refused",
		"@@x":                            "refused",
		"@../x":                          "refused",
		"@a/b":                           "refused",
		"@Family":                        "refused",
		"@fam ily":                       "refused",
		"@fämily":                        "refused",
		"@-family":                       "refused",
		"@family-":                       "refused",
		"@a.b":                           "refused",
		"@a&@b":                          "refused",
		"@a&192.0.2.0/24":                "refused",
		"@a\x00":                         "refused",
		"@a\n":                           "refused",
		"@" + long + "a":                 "refused",
		"@" + strings.Repeat("a", 1<<20): "refused",
	} {
		isName, err := allowfrom.CheckName(item)
		got := map[bool]string{true: "name"}[isName]
		if err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("%.80q is %q, want %q", item, got, want)
		}
		if err != nil && (len(err.Error()) > 512 || !strings.Contains(err.Error(), "@family")) {
			t.Errorf("%.80q: the error is %q", item, err)
		}
	}
}

func TestResolve(t *testing.T) {
	lists := read(t, list("family", "192.168.0.0/16", "2001:db8::/32"), list("vpn", "192.168.7.0/24", "10.0.0.0/8"), list("world", "0.0.0.0/0"))
	for _, test := range []struct {
		entries    []string
		in, out    []string
		nobody     bool
		whyInvalid string // the Unknown of the result, or "malformed"
	}{
		{nil, []string{"203.0.113.1", "2001:db8::1"}, nil, false, ""},
		{[]string{"@family"}, []string{"192.168.1.1", "2001:db8::1", "::ffff:192.168.1.1"}, []string{"203.0.113.1", "10.0.0.1"}, false, ""},
		{[]string{"@family", "203.0.113.0/24"}, []string{"192.168.1.1", "203.0.113.1"}, []string{"10.0.0.1"}, false, ""},
		{[]string{"203.0.113.0/24"}, []string{"203.0.113.1"}, []string{"192.168.1.1"}, false, ""},
		{[]string{"@family&@vpn"}, []string{"192.168.7.1"}, []string{"192.168.1.1", "10.0.0.1", "2001:db8::1"}, false, ""},
		{[]string{"@family&192.168.1.0/24"}, []string{"192.168.1.1"}, []string{"192.168.2.1", "2001:db8::1"}, false, ""},
		{[]string{"@vpn&2001:db8::/32"}, nil, []string{"2001:db8::1", "10.0.0.1"}, true, ""},
		{[]string{"@vpn&2001:db8::/32", "@family"}, []string{"2001:db8::1"}, []string{"10.0.0.1"}, false, ""},
		{[]string{"@world"}, []string{"203.0.113.1"}, []string{"2001:db8::1"}, false, ""},
		{[]string{"@nobody"}, nil, nil, false, "nobody"},
		{[]string{"203.0.113.0/24", "@family&@nobody"}, nil, nil, false, "nobody"},
		{[]string{"me"}, nil, nil, false, "malformed"},
		{[]string{""}, nil, nil, false, "malformed"},
		{[]string{"@family&"}, nil, nil, false, "malformed"},
		{[]string{"192.0.2.0/24&@family"}, nil, nil, false, "malformed"},
		{[]string{"@family&192.0.2.0/24&192.0.2.0/24"}, nil, nil, false, "malformed"},
	} {
		_, _, invalid := allowfrom.Resolve(test.entries, lists)
		switch {
		case invalid != nil && test.whyInvalid == "malformed" && invalid.Unknown == "" && invalid.Problem != nil:
		case invalid != nil && (test.whyInvalid == "" || invalid.Unknown != test.whyInvalid), invalid == nil && test.whyInvalid != "":
			t.Errorf("%v is invalid: %+v, want %q", test.entries, invalid, test.whyInvalid)
		}
		if invalid != nil {
			continue
		}
		for _, client := range test.in {
			if !allows(t, test.entries, lists, client) {
				t.Errorf("%v does not allow %s", test.entries, client)
			}
		}
		for _, client := range test.out {
			if allows(t, test.entries, lists, client) {
				t.Errorf("%v allows %s", test.entries, client)
			}
		}
		if nobody := allowfrom.Nobody(test.entries, lists); nobody != test.nobody {
			t.Errorf("%v has nobody: %v", test.entries, nobody)
		}
	}
}

// An empty list, which the API server refuses, is nobody and never everyone.
func TestAnEmptyListIsNobody(t *testing.T) {
	lists := read(t, list("empty"))
	if allows(t, []string{"@empty"}, lists, "192.0.2.1") {
		t.Error("it allows a client")
	}
	if !allowfrom.Nobody([]string{"@empty"}, lists) {
		t.Error("it is not reported")
	}
}

// A list with a network that cannot be read does not exist, not even its other networks.
func TestAnUnreadableListDoesNotExist(t *testing.T) {
	lists, problems := allowfrom.Read([]v1alpha1.NetworkList{list("bad", "192.0.2.0/24", "0.0.0.0/33"), list("good", "192.0.2.0/24")})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "NetworkList bad: spec.networks[1]: ") {
		t.Errorf("the problems are %v", problems)
	}
	if _, _, invalid := allowfrom.Resolve([]string{"@bad"}, lists); invalid == nil || invalid.Unknown != "bad" {
		t.Errorf("it is resolved: %+v", invalid)
	}
	if !allows(t, []string{"@good"}, lists, "192.0.2.1") {
		t.Error("another list does not exist either")
	}
}

func TestIntersect(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"", "", ""},
		{"", "@family", "@family"},
		{"@family", "@family", "@family"},
		{"@family", "@vpn", "@family&@vpn"},
		{"@vpn", "@family", "@family&@vpn"},
		{"@family", "192.0.2.0/24", "@family&192.0.2.0/24"},
		{"@family", "192.0.2.0/24 @family", "@family"},
		{"@family 10.0.0.0/8", "@family 11.0.0.0/8", "@family"},
		{"@family 10.0.0.0/8", "@family 10.1.0.0/16", "10.1.0.0/16 @family"},
		{"@family 10.0.0.0/8", "@vpn 10.1.0.0/16", "10.1.0.0/16 @family&@vpn @vpn&10.0.0.0/8"},
		{"@family&10.0.0.0/8", "@family&10.0.0.0/8", "@family&10.0.0.0/8"},
		{"@family&10.0.0.0/8", "10.0.0.0/8", "@family&10.0.0.0/8"},
		{"@family&10.0.0.0/8", "@family", "@family&10.0.0.0/8"},
		{"@family&10.0.0.0/8", "11.0.0.0/8", ""},
		{"10.0.0.0/8", "11.0.0.0/8", ""},
		{"@family", "0.0.0.0/0", "@family&0.0.0.0/0"}, // not the IPv6 clients of the list
		{"10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8 10.1.0.0/16"},
	} {
		got, ok := allowfrom.Intersect(strings.Fields(test.a), strings.Fields(test.b))
		if !ok || strings.Join(got, " ") != test.want {
			t.Errorf("%q and %q have %q in common (%v), want %q", test.a, test.b, got, ok, test.want)
		}
	}
}

// What the schema of ExposedHost would refuse is not returned.
func TestIntersectIsBounded(t *testing.T) {
	names := func(from, to int) (all []string) {
		for i := from; i < to; i++ {
			all = append(all, fmt.Sprintf("@list%03d", i))
		}
		return all
	}
	for name, test := range map[string]struct {
		a, b []string
		ok   bool
	}{
		"as many as an entry may have":    {[]string{"@a&@b"}, []string{"@c&@d&10.0.0.0/8"}, true},
		"too many in one entry":           {[]string{"@a&@b"}, []string{"@c&@d&@e"}, false},
		"the same long lists":             {names(0, 256), names(0, 256), true},
		"long lists, one with one more":   {names(0, 255), names(0, 256), true},
		"long lists of different names":   {names(0, 256), names(300, 556), false},
		"as many entries as there may be": {names(0, 16), names(300, 316), true},
		"one entry more":                  {append(names(0, 16), "@z&@y"), names(300, 316), false},
	} {
		got, ok := allowfrom.Intersect(test.a, test.b)
		if ok != test.ok || !ok && got != nil || len(got) > allowfrom.MaxEntries {
			t.Errorf("%s: %d entries, %v", name, len(got), ok)
		}
	}
}

// Whatever the lists contain, a client is in the intersection of two lists if, and only
// if, it is in both.
func TestIntersectAllowsWhatBothAllow(t *testing.T) {
	cidrs := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"}
	clients := []string{"10.0.0.1", "10.1.0.1", "10.1.2.1", "11.0.0.1", "192.0.2.1", "2001:db8::1", "2001:db9::1"}
	names := []string{"@a", "@b", "@c"}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 7))
		some := func(of []string, most int) (chosen []string) {
			for range r.IntN(most + 1) {
				chosen = append(chosen, of[r.IntN(len(of))])
			}
			slices.Sort(chosen)
			return slices.Compact(chosen)
		}
		annotation := func() []string { return append(some(cidrs, 3), some(names, 2)...) }
		a, b, c := annotation(), annotation(), annotation()
		lists := read(t, list("a", some(cidrs, 3)...), list("b", some(cidrs, 3)...), list("c", some(cidrs, 3)...))
		if len(a) == 0 || len(b) == 0 || len(c) == 0 {
			continue
		}
		ab, ok := allowfrom.Intersect(a, b)
		ba, _ := allowfrom.Intersect(b, a)
		if !ok || !slices.Equal(ab, ba) {
			t.Fatalf("seed %d: %v and %v have %v or %v in common", seed, a, b, ab, ba)
		}
		abc := ab
		if len(ab) > 0 {
			abc, _ = allowfrom.Intersect(ab, c)
		}
		if again, _ := allowfrom.Intersect(abc, abc); !slices.Equal(again, abc) {
			t.Fatalf("seed %d: %v with itself is %v", seed, abc, again)
		}
		anyone := false
		for _, client := range clients {
			want := allows(t, a, lists, client) && allows(t, b, lists, client) && allows(t, c, lists, client)
			if got := len(abc) > 0 && allows(t, abc, lists, client); got != want {
				t.Fatalf("seed %d: %v, %v and %v have %v in common, which allows %s: %v, want %v", seed, a, b, c, abc, client, got, want)
			}
			anyone = anyone || want
		}
		if anyone && (len(abc) == 0 || allowfrom.Nobody(abc, lists)) {
			t.Fatalf("seed %d: %v is nobody", seed, abc)
		}
	}
}

func TestNamesOfEntries(t *testing.T) {
	entries := []string{"10.0.0.0/8", "@b&@a&10.0.0.0/8", "@a", "@", "@A"}
	if got := allowfrom.Names(entries); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the names are %v", got)
	}
	if !allowfrom.Combines(entries) || allowfrom.Combines([]string{"@a", "10.0.0.0/8"}) {
		t.Error("Combines is wrong")
	}
}

// An entry of any text is refused, or means the same as the text that it is written as.
func FuzzEntry(f *testing.F) {
	for _, text := range []string{"", "@", "@family", "10.1.2.3/8", "@b&@a&10.0.0.0/8", "@a&@a", "@@x", "@../x", "@a&", "&", "2001:DB8::/32", "::ffff:10.0.0.0/104", "@a\x00"} {
		f.Add(text)
	}
	lists, _ := allowfrom.Read([]v1alpha1.NetworkList{list("a", "10.0.0.0/8"), list("b", "10.1.0.0/16", "2001:db8::/32"), list("family", "192.168.0.0/16")})
	f.Fuzz(func(t *testing.T, text string) {
		entries := []string{text}
		networks, within, invalid := allowfrom.Resolve(entries, lists)
		if invalid != nil {
			if len(networks)+len(within) > 0 {
				t.Fatalf("%q is invalid, and allows %v %v", text, networks, within)
			}
			return
		}
		route := routing.Route{AllowFrom: networks, AllowWithin: within}
		if len(networks)+len(within) != 1 {
			t.Fatalf("%q has %d clients", text, len(networks)+len(within))
		}
		written, ok := allowfrom.Intersect(entries, entries)
		if !ok || len(written) != 1 {
			t.Fatalf("%q with itself is %q, %v", text, written, ok)
		}
		networks, within, invalid = allowfrom.Resolve(written, lists)
		if invalid != nil {
			t.Fatalf("%q is written as %q, which is invalid: %+v", text, written, invalid)
		}
		again := routing.Route{AllowFrom: networks, AllowWithin: within}
		for _, client := range []string{"10.0.0.1", "10.1.0.1", "192.168.1.1", "203.0.113.1", "2001:db8::1", "::1"} {
			if addr := netip.MustParseAddr(client); route.Allows(addr) != again.Allows(addr) {
				t.Fatalf("%q and %q differ about %s", text, written, client)
			}
		}
	})
}
