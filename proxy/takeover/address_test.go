package takeover_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/proxy/takeover"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		":443":                     "[::]:443",
		"0.0.0.0:443":              "[::]:443",
		"[::]:443":                 "[::]:443",
		"[::ffff:0.0.0.0]:443":     "[::]:443",
		"127.0.0.1:0":              "127.0.0.1:0",
		"[::ffff:192.0.2.1]:65535": "192.0.2.1:65535",
		"[2001:DB8:0::1]:80":       "[2001:db8::1]:80",
		"[fe80::1%eth0]:80":        "[fe80::1%eth0]:80",
		"":                         "missing port",
		"443":                      "missing port",
		"127.0.0.1":                "missing port",
		"2001:db8::1:443":          "too many colons",
		":":                        `port "" is no number`,
		":https":                   `port "https" is no number`,
		":65536":                   `port "65536" is no number`,
		":-1":                      `port "-1" is no number`,
		":+1":                      `port "+1" is no number`,
		"localhost:80":             `"localhost" is no IP address`,
		"*:80":                     `"*" is no IP address`,
		"127.1:80":                 `"127.1" is no IP address`,
	} {
		got, err := takeover.ParseAddress(text)
		if result := got.String(); err == nil && result != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ParseAddress(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{":443", "0.0.0.0:443", true},
		{":443", "127.0.0.1:443", true},
		{"[::1]:443", "0.0.0.0:443", true}, // which listens on IPv6 too
		{"127.0.0.1:443", "[::ffff:127.0.0.1]:443", true},
		{":443", ":80", false},
		{"127.0.0.1:443", "127.0.0.2:443", false},
		{"127.0.0.1:443", "[::1]:443", false},
		{"[fe80::1%a]:443", "[fe80::1%b]:443", false},
		{":0", ":0", false},
		{"127.0.0.1:0", ":0", false},
	} {
		a, err := takeover.ParseAddress(test.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := takeover.ParseAddress(test.b)
		if err != nil {
			t.Fatal(err)
		}
		if takeover.Overlap(a, b) != test.want || takeover.Overlap(b, a) != test.want {
			t.Errorf("Overlap(%s, %s) is not %v", test.a, test.b, test.want)
		}
	}
}
