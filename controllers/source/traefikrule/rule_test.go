package traefikrule_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/source/traefikrule"
)

const (
	v2     = traefikrule.V2
	v3     = traefikrule.V3
	absent = traefikrule.Absent
)

// hosts reads a space-separated list, sorted.
func hosts(list string) []string {
	fields := strings.Fields(list)
	slices.Sort(fields)
	return fields
}

func TestRulesThatNameTheirHosts(t *testing.T) {
	tests := []struct {
		name   string
		syntax traefikrule.Syntax
		rule   string
		want   string
	}{
		{"one host", v3, "Host(`a.x.io`)", "a.x.io"},
		{"one host in Traefik 2", v2, "Host(`a.x.io`)", "a.x.io"},
		{"many values are Traefik 2's", v2, "Host(`a.x.io`, `b.x.io`)", "a.x.io b.x.io"},
		{"HostHeader is Host in Traefik 2", v2, "HostHeader(`a.x.io`)", "a.x.io"},
		{"double quotes", v3, `Host("a.x.io")`, "a.x.io"},
		{"letter case is ignored in hosts", v3, "Host(`A.X.io`)", "a.x.io"},
		{"a trailing dot is ignored", v3, "Host(`a.x.io.`)", "a.x.io"},
		{"|| unites", v3, "Host(`a.x.io`) || Host(`b.x.io`)", "a.x.io b.x.io"},
		{"&& intersects", v3, "Host(`a.x.io`) && Host(`b.x.io`)", ""},
		{"a host less itself", v3, "Host(`a.x.io`) && !Host(`a.x.io`)", ""},
		{"a host less another", v3, "Host(`a.x.io`) && !Host(`b.x.io`)", "a.x.io"},
		{"two hosts less one", v3, "(Host(`a.x.io`) || Host(`b.x.io`)) && !Host(`b.x.io`)", "a.x.io"},
		{"!! is nothing", v3, "!!Host(`a.x.io`)", "a.x.io"},
		{"! of an || is an && of !", v3, "!(!Host(`a.x.io`) || Path(`/`))", "a.x.io"},
		{"! of an && is an || of !", v3, "!(!Host(`a.x.io`) && !Host(`b.x.io`))", "a.x.io b.x.io"},
		{"a path narrows a host", v3, "Host(`a.x.io`) && PathPrefix(`/api`)", "a.x.io"},
		{"so does all but a path", v3, "Host(`a.x.io`) && !PathPrefix(`/api`)", "a.x.io"},
		{"paths on two hosts", v3, "(Host(`a.x.io`) && Path(`/a`)) || (Host(`b.x.io`) && Path(`/b`))", "a.x.io b.x.io"},
		{"every matcher of Traefik 3", v3, "Host(`a.x.io`) && (ClientIP(`10.0.0.0/8`) || Method(`GET`) || Path(`/a`) || PathPrefix(`/b`) || PathRegexp(`^/c`) || Header(`K`, `v`) || HeaderRegexp(`K`, `^v`) || Query(`k`) || Query(`k`, `v`) || QueryRegexp(`k`) || QueryRegexp(`k`, `^v`))", "a.x.io"},
		{"every matcher of Traefik 2", v2, "Host(`a.x.io`) && (ClientIP(`10.0.0.0/8`, `::1`) || Method(`GET`, `PUT`) || Path(`/a/{id:[0-9]+}`) || PathPrefix(`/b`, `/c`) || Headers(`K`, `v`) || HeadersRegexp(`K`, `^v`, `L`, `w`) || Query(`k=v`, `l={n}`))", "a.x.io"},
		{"names of matchers in lower case", v3, "host(`a.x.io`) && pathprefix(`/`)", "a.x.io"},
		{"in upper case", v3, "HOST(`a.x.io`) && PATHPREFIX(`/`)", "a.x.io"},
		{"in title case", v3, "Host(`a.x.io`) && Pathprefix(`/`) && Clientip(`::1`)", "a.x.io"},
		{"line breaks after operators", v3, "Host(`a.x.io`) ||\n  Host(`b.x.io`)", "a.x.io b.x.io"},
		{"a comment", v3, "Host(`a.x.io`) /* the app */", "a.x.io"},

		{"a wildcard", v3, "Host(`*.x.io`)", "*.x.io"},
		{"a wildcard and a name under it", v3, "Host(`*.x.io`) && Host(`a.x.io`)", "a.x.io"},
		{"a wildcard covers one label", v3, "Host(`*.x.io`) && Host(`a.b.x.io`)", ""},
		{"a wildcard does not cover its parent", v3, "Host(`*.x.io`) && Host(`x.io`)", ""},
		{"two wildcards have nothing in common", v3, "Host(`*.x.io`) && Host(`*.b.x.io`)", ""},
		{"a wildcard with itself", v3, "Host(`*.x.io`) && Host(`*.X.io.`)", "*.x.io"},
		{"a name less the wildcard over it", v3, "(Host(`a.x.io`) || Host(`a.y.io`)) && !Host(`*.x.io`)", "a.y.io"},
		{"a wildcard less a name under another", v3, "Host(`*.x.io`) && !Host(`a.y.io`)", "*.x.io"},
		{"a wildcard whose gap is filled again", v3, "(Host(`*.x.io`) && !Host(`a.x.io`)) || Host(`a.x.io`)", "*.x.io a.x.io"},
		{"a wildcard is a plain name in Traefik 2, which no host has", v2, "Host(`*.x.io`) || Host(`a.x.io`)", "a.x.io"},
		{"'*' is every host", v3, "Host(`*`) && Host(`a.x.io`)", "a.x.io"},
		{"an asterisk inside a name matches nothing", v3, "Host(`*a.x.io`) || Host(`a.*.io`) || Host(`a.x.io`)", "a.x.io"},
		{"two trailing dots match nothing", v3, "Host(`a.x.io..`)", ""},

		{"a regular expression keeps a name", v3, "Host(`a.x.io`) && HostRegexp(`^[a-z]\\.x\\.io$`)", "a.x.io"},
		{"or takes it away", v3, "Host(`a.x.io`) && HostRegexp(`^b`)", ""},
		{"its negation likewise", v3, "(Host(`a.x.io`) || Host(`b.x.io`)) && !HostRegexp(`^b`)", "a.x.io"},
		{"it sees lower case", v3, "Host(`A.x.io`) && HostRegexp(`^A`)", ""},
		{"it need not match the whole", v3, "Host(`a.x.io`) && HostRegexp(`x`)", "a.x.io"},
		{"one that matches the empty string matches every host", v3, "Host(`*.x.io`) && HostRegexp(`^$`)", "*.x.io"},
		{"and its negation none", v3, "Host(`*.x.io`) && !HostRegexp(`.*`)", ""},
		{"a template of Traefik 2", v2, "Host(`a.x.io`, `1.x.io`) && HostRegexp(`{sub:[a-z]+}.x.io`)", "a.x.io"},
		{"it ignores letter case", v2, "Host(`a.x.io`) && HostRegexp(`{sub:[A-Z]+}.X.io`)", "a.x.io"},
		{"a variable is one label", v2, "Host(`a.x.io`, `a.b.x.io`) && HostRegexp(`{sub}.x.io`)", "a.x.io"},
		{"its dots are dots", v2, "Host(`a.x.io`) && HostRegexp(`a.xxio`, `a.x.io`)", "a.x.io"},
		{"braces within a variable", v2, "Host(`ab.x.io`, `a.x.io`) && HostRegexp(`{sub:[a-z]{2}}.x.io`)", "ab.x.io"},
		{"a regular expression beside a name that decides", v3, "HostRegexp(`^b`) && Host(`a.x.io`) || Host(`c.x.io`)", "c.x.io"},

		{"no syntax, read as v3", absent, "Host(`a.x.io`) && PathRegexp(`^/`)", "a.x.io"},
		{"no syntax, read as v2 where v3 does not allow it", absent, "Host(`a.x.io`, `b.x.io`)", "a.x.io b.x.io"},
		{"no syntax, and both agree", absent, "Host(`a.x.io`) && Method(`GET`)", "a.x.io"},

		{"hosts that are no host names are kept as they are", v3, "Host(`a.x.io:443`) || Host(`10.0.0.1`)", "10.0.0.1 a.x.io:443"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseHTTP(test.rule, test.syntax)
			if err != nil {
				t.Fatal(err)
			}
			got, finite := set.List()
			if !finite || !slices.Equal(got, hosts(test.want)) {
				t.Errorf("%s\n names %v (%v), want %q", test.rule, got, finite, test.want)
			}
		})
	}
}

func TestTCPRulesThatNameTheirHosts(t *testing.T) {
	tests := []struct {
		name   string
		syntax traefikrule.Syntax
		rule   string
		want   string
	}{
		{"one host", v3, "HostSNI(`a.x.io`)", "a.x.io"},
		{"a wildcard", v3, "HostSNI(`*.x.io`)", "*.x.io"},
		{"many values are Traefik 2's", v2, "HostSNI(`a.x.io`, `B.x.io.`)", "a.x.io b.x.io"},
		{"with a protocol", v3, "HostSNI(`a.x.io`) && ALPN(`h2`)", "a.x.io"},
		{"with many", v2, "HostSNI(`a.x.io`) && !ALPN(`h2`, `http/1.1`) && ClientIP(`10.1.2.3`)", "a.x.io"},
		{"any, with a host", v3, "HostSNI(`*`) && HostSNI(`a.x.io`)", "a.x.io"},
		{"a regular expression decides on a name", v3, "(HostSNI(`a.x.io`) || HostSNI(`b.x.io`)) && HostSNIRegexp(`^a`)", "a.x.io"},
		{"a template decides on a name", v2, "HostSNI(`a.x.io`, `b.x.io`) && HostSNIRegexp(`{n:A}.x.io`)", "a.x.io"},
		{"no syntax, and both agree", absent, "HostSNI(`a.x.io`)", "a.x.io"},
		{"no syntax, a wildcard is only v3's", absent, "HostSNI(`*.x.io`)", "*.x.io"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseTCP(test.rule, test.syntax)
			if err != nil {
				t.Fatal(err)
			}
			got, finite := set.List()
			if !finite || !slices.Equal(got, hosts(test.want)) {
				t.Errorf("%s\n names %v (%v), want %q", test.rule, got, finite, test.want)
			}
		})
	}
}

func TestRulesThatDoNotNameTheirHosts(t *testing.T) {
	tests := []struct {
		name    string
		syntax  traefikrule.Syntax
		rule    string
		is      string // how the set describes itself
		covers  string
		outside string
	}{
		{"a path alone", v3, "PathPrefix(`/`)", "every host", "a.x.io *.x.io", ""},
		{"all but a path", v3, "!PathPrefix(`/`)", "every host", "a.x.io *.x.io", ""},
		{"the asterisk", v3, "Host(`*`)", "every host", "a.x.io *.x.io", ""},
		{"a host or a path", v3, "Host(`a.x.io`) || PathPrefix(`/x`)", "every host", "a.x.io b.x.io *.x.io", ""},
		{"all but a host", v3, "!Host(`a.x.io`)", "every host but a.x.io", "b.x.io x.io *.y.io", "a.x.io *.x.io"},
		{"all but a wildcard", v3, "!Host(`*.x.io`)", "every host but *.x.io", "x.io a.b.x.io *.b.x.io", "a.x.io *.x.io"},
		{"all but a wildcard, and one of it", v3, "!Host(`*.x.io`) || Host(`a.x.io`)", "every host but *.x.io", "a.x.io b.y.io", "b.x.io *.x.io"},
		{"a wildcard with a gap", v3, "Host(`*.x.io`) && !Host(`a.x.io`)", "some of the hosts under a wildcard", "b.x.io", "a.x.io *.x.io x.io y.io"},
		{"all but two hosts of Traefik 2", v2, "!Host(`a.x.io`, `b.x.io`)", "every host but a.x.io, b.x.io", "c.x.io", "a.x.io b.x.io *.x.io"},
		{"many exceptions", v2, "!Host(`a`, `b`, `c`, `d`, `e`, `f`, `g`)", "every host but a, b, c, d, e and 2 more", "h", "g"},
		{"a regular expression", v3, "HostRegexp(`^[a-z]+\\.x\\.io$`)", "hosts that only a regular expression describes", "a.x.io bc.x.io", "1.x.io x.io *.x.io"},
		{"all but a regular expression", v3, "!HostRegexp(`^[a-z]+\\.x\\.io$`)", "hosts that only a regular expression describes", "1.x.io *.y.io", "a.x.io *.x.io"},
		{"the empty regular expression", v3, "HostRegexp(`.*`)", "every host", "a.x.io *.x.io", ""},
		{"a template", v2, "HostRegexp(`{sub:[a-z]+}.x.io`)", "hosts that only a regular expression describes", "a.x.io", "1.x.io a.b.x.io *.x.io"},
		{"part of a wildcard by a regular expression", v3, "Host(`*.x.io`) && HostRegexp(`^[ab]`)", "some of the hosts under a wildcard", "a.x.io", "c.x.io a.y.io *.x.io"},
		{"a regular expression or not", v3, "HostRegexp(`a`) || !HostRegexp(`a`)", "hosts that only a regular expression describes", "a.x.io *.x.io", ""},
		{"no syntax, both unbounded: what both match", absent, "HostRegexp(`{sub:[a-z]+}.x.io`)", "hosts that only a regular expression describes", "", "a.x.io 1.x.io"},
		{"no syntax, both the same", absent, "!Host(`a.x.io`)", "every host but a.x.io", "b.x.io", "a.x.io"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseHTTP(test.rule, test.syntax)
			if err != nil {
				t.Fatal(err)
			}
			if got, finite := set.List(); finite {
				t.Errorf("%s\n names %v, want no finite list", test.rule, got)
			}
			if set.String() != test.is {
				t.Errorf("%s\n is described as %q, want %q", test.rule, set, test.is)
			}
			for _, host := range hosts(test.covers) {
				if !set.Covers(host, ample()) {
					t.Errorf("%s\n does not cover %s", test.rule, host)
				}
			}
			for _, host := range hosts(test.outside) {
				if set.Covers(host, ample()) {
					t.Errorf("%s\n covers %s", test.rule, host)
				}
			}
		})
	}
}

func TestIntersect(t *testing.T) {
	tests := []struct {
		name, parent, child string
		want                string
		finite              bool
	}{
		{"a parent's host and a child's path", "Host(`a.x.io`)", "Path(`/a`)", "a.x.io", true},
		{"a parent's wildcard and a child's host", "Host(`*.x.io`)", "Host(`a.x.io`)", "a.x.io", true},
		{"a parent's host and a child's exception", "Host(`a.x.io`)", "!Host(`b.x.io`)", "a.x.io", true},
		{"a parent's regular expression and a child's hosts", "HostRegexp(`^a`)", "Host(`a.x.io`) || Host(`b.x.io`)", "a.x.io", true},
		{"paths alone", "Path(`/a`)", "Path(`/b`)", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parent, err := traefikrule.ParseHTTP(test.parent, v3)
			if err != nil {
				t.Fatal(err)
			}
			child, err := traefikrule.ParseHTTP(test.child, v3)
			if err != nil {
				t.Fatal(err)
			}
			got, finite := parent.Intersect(child).List()
			if finite != test.finite || !slices.Equal(got, hosts(test.want)) {
				t.Errorf("have %v (%v) in common, want %q (%v)", got, finite, test.want, test.finite)
			}
		})
	}
}

// A wildcard of a rule matches no host in a Traefik before 3.7, and its negation all.
func TestRulesWithoutWildcards(t *testing.T) {
	for _, test := range []struct {
		syntax     traefikrule.Syntax
		rule, want string // the hosts; "-" if they are no list
	}{
		{v3, "Host(`a.x.io`)", "a.x.io"},
		{v3, "Host(`*.x.io`)", ""},
		{v3, "Host(`*.x.io`) || Host(`a.y.io`)", "a.y.io"},
		{v3, "Host(`*.x.io`) && Host(`a.x.io`)", ""},
		{v3, "!Host(`*.x.io`) && Host(`a.x.io`)", "a.x.io"},
		{v3, "!Host(`*.x.io`)", "-"},
		{v3, "Host(`*.x.io`) && HostRegexp(`^a`)", ""},
		{v2, "Host(`a.x.io`, `*.x.io`)", "a.x.io"},
	} {
		set, err := traefikrule.ParseHTTP(test.rule, test.syntax)
		if err != nil {
			t.Fatal(err)
		}
		within, err := traefikrule.ParseHTTP("PathPrefix(`/`)", v3)
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []*traefikrule.Set{set.WithoutWildcards(), within.Intersect(set.WithoutWildcards())} {
			list, ok := set.List()
			if ok == (test.want == "-") || ok && !slices.Equal(list, hosts(test.want)) {
				t.Errorf("%s has %v, %v", test.rule, list, ok)
			}
			if set.Covers("*.x.io", ample()) != (test.want == "-") {
				t.Errorf("%s: whether it covers the wildcard", test.rule)
			}
		}
	}
}
