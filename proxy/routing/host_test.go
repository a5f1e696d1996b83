package routing_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/proxy/routing"
)

func TestParseHost(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Join([]string{label63, label63, label63, label63[:61]}, ".")
	for name, tt := range map[string]struct{ in, want string }{
		"plain":                         {"whoami.techn.is", "whoami.techn.is"},
		"upper case":                    {"WhoAmI.Techn.IS", "whoami.techn.is"},
		"trailing dot":                  {"whoami.techn.is.", "whoami.techn.is"},
		"single label":                  {"localhost", "localhost"},
		"underscore":                    {"_acme.my_app.techn.is", "_acme.my_app.techn.is"},
		"digits in the last label":      {"a.b2", "a.b2"},
		"hyphens in third and fourth":   {"r3---sn.techn.is", "r3---sn.techn.is"},
		"umlaut":                        {"Bücher.techn.is", "xn--bcher-kva.techn.is"},
		"sharp s is not ss":             {"straße.techn.is", "xn--strae-oqa.techn.is"},
		"A-label stays":                 {"XN--Bcher-KVA.techn.is", "xn--bcher-kva.techn.is"},
		"ideographic full stop":         {"a。techn。is。", "a.techn.is"},
		"full width letters":            {"ｗｈｏ.techn.is", "who.techn.is"},
		"wildcard":                      {"*.Techn.is", "*.techn.is"},
		"wildcard, dot at the end":      {"*.techn.is.", "*.techn.is"},
		"wildcard over an umlaut":       {"*.bücher.is", "*.xn--bcher-kva.is"},
		"label of 63 bytes":             {label63 + ".is", label63 + ".is"},
		"name of 253 bytes":             {name253, name253},
		"name of 253 bytes and the dot": {name253 + ".", name253},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := routing.ParseHost(tt.in)
			if err != nil || got != tt.want {
				t.Errorf("ParseHost(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestParseHostRefuses(t *testing.T) {
	long := strings.Repeat("abcdefg.", 31) + "abcdef" // 254 bytes
	for name, tt := range map[string]struct{ in, reason string }{
		"nothing":                      {"", "empty"},
		"a dot":                        {".", "empty label"},
		"leading dot":                  {".techn.is", "empty label"},
		"empty label":                  {"a..techn.is", "empty label"},
		"two trailing dots":            {"techn.is..", "empty label"},
		"IPv4":                         {"192.168.1.1", "IP address"},
		"IPv4 with a dot":              {"192.168.1.1.", "IP address"},
		"short IPv4":                   {"127.1", "IP address"},
		"IPv4 in full width":           {"１９２.168.1.1", "IP address"},
		"IPv6":                         {"::1", "IP address"},
		"IPv6 in brackets":             {"[::1]", "IP address"},
		"port":                         {"techn.is:443", "port"},
		"URL":                          {"https://techn.is/", "slash"},
		"bare wildcard":                {"*", "wildcard"},
		"wildcard over nothing":        {"*.", "empty label"},
		"wildcard over a single label": {"*.is", "two labels"},
		"wildcard inside":              {"a.*.techn.is", "wildcard"},
		"partial wildcard":             {"a*.techn.is", "wildcard"},
		"two wildcards":                {"*.*.techn.is", "wildcard"},
		"full width wildcard":          {"＊.techn.is", "character"},
		"full width slash":             {"a／b.techn.is", "character"},
		"space":                        {"a b.techn.is", "character"},
		"newline":                      {"techn.is\n", "character"},
		"NUL":                          {"techn.is\x00.evil", "character"},
		"leading hyphen":               {"-a.techn.is", "hyphen"},
		"trailing hyphen":              {"a-.techn.is", "hyphen"},
		"broken punycode":              {"xn--a.techn.is", "not a host name"},
		"not UTF-8":                    {"\xff.techn.is", "not UTF-8"},
		"replacement character":        {"\ufffd.techn.is", "not a host name"},
		"label of 64 bytes":            {strings.Repeat("a", 64) + ".is", "label longer"},
		"name of 254 bytes":            {long, "longer than 253"},
		"wildcard of 254 bytes":        {"*." + long[2:], "longer than 253"},
		"a megabyte":                   {strings.Repeat("a.", 1<<19), "longer than 253"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := routing.ParseHost(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("ParseHost(%.80q) = %q, %v; want an error with %q", tt.in, got, err, tt.reason)
			}
		})
	}
}

// FuzzParseHost checks the properties of the canonical form.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"techn.is", "*.bücher.is.", "192.168.1.1", "xn--a", "a\u200db.c", "＊.x.y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := routing.ParseHost(s)
		if err != nil {
			return
		}
		if again, err := routing.ParseHost(host); err != nil || again != host {
			t.Errorf("ParseHost(%q) = %q, which itself gives %q, %v", s, host, again, err)
		}
		if len(host) > 253 || strings.HasSuffix(host, ".") || host != strings.ToLower(host) {
			t.Errorf("ParseHost(%q) = %q, which is not canonical", s, host)
		}
		for _, c := range []byte(strings.TrimPrefix(host, "*")) {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", rune(c)) {
				t.Errorf("ParseHost(%q) = %q holds %q", s, host, c)
			}
		}
	})
}
