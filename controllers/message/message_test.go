package message_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/jovalle/usher/controllers/message"
)

func TestFormatIsBounded(t *testing.T) {
	huge := strings.Repeat("x", 240<<10)
	for name, test := range map[string]struct{ got, want string }{
		"a short text is unchanged":           {message.Format("%s of %d: %v", "a", 3, errors.New("b")), "a of 3: b"},
		"an argument leaves room":             {message.Format("%s; correct it", huge), strings.Repeat("x", message.MaxPart-len("… (245760 bytes)")) + "… (245760 bytes); correct it"},
		"an error is an argument":             {message.Format("%v; correct it", errors.New(huge)), strings.Repeat("x", message.MaxPart-len("… (245760 bytes)")) + "… (245760 bytes); correct it"},
		"the whole is bounded":                {message.Format(huge), strings.Repeat("x", message.Max-len("… (245760 bytes)")) + "… (245760 bytes)"},
		"one line without control characters": {message.Format("a\nb\x1b[31mc\u202ed"), "a b\uFFFD[31mc\uFFFDd"},
		"a quoted value is short":             {message.Quote("a\"b"), `"a\"b"`},
		"a quoted value is cut":               {message.Quote(huge), `"` + strings.Repeat("x", 64) + `"… (245760 bytes)`},
		"between characters":                  {message.Quote(strings.Repeat("ü", 100) + "."), `"` + strings.Repeat("ü", 32) + `"… (201 bytes)`},
	} {
		if test.got != test.want {
			t.Errorf("%s: got\n%q, want\n%q", name, test.got, test.want)
		}
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("a", "b")
	f.Add(strings.Repeat("\xff", 2000), strings.Repeat("漢", 2000))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, text := range []string{
			message.Format("%s and %v", a, errors.New(b)), message.Of(fmt.Errorf("%s: %s", a, b)), message.Format("%s", message.Quote(a)),
		} {
			if len(text) > message.Max || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q and %q make %q", a, b, text)
			}
		}
	})
}

// Two attempts that fail for the same cause have the same message.
func TestOfIsStable(t *testing.T) {
	for _, test := range []struct{ first, second, want string }{
		{
			`Get "https://192.0.2.1:6443/version?timeout=5s": read tcp 10.0.0.1:53412->192.0.2.1:6443: read: connection reset by peer`,
			`Get "https://192.0.2.1:6443/version?timeout=6s": read tcp 10.0.0.1:40112->192.0.2.1:6443: read: connection reset by peer`,
			`Get "https://192.0.2.1:6443/version": read tcp 192.0.2.1:6443: read: connection reset by peer`,
		},
		{
			`dial tcp: lookup a.example on 10.0.0.10:53: read udp 10.1.0.1:1111->10.0.0.10:53: i/o timeout`,
			`dial tcp: lookup a.example on 10.0.0.10:53: read udp 10.1.0.1:2222->10.0.0.10:53: i/o timeout`,
			`dial tcp: lookup a.example on 10.0.0.10:53: read udp 10.0.0.10:53: i/o timeout`,
		},
		{
			`write tcp6 [::1]:1111->[2001:db8::1]:6443: write: broken pipe`,
			`write tcp6 [::1]:2222->[2001:db8::1]:6443: write: broken pipe`,
			`write tcp6 [2001:db8::1]:6443: write: broken pipe`,
		},
		{
			`x509: certificate has expired or is not yet valid: current time 2026-11-26T13:00:00Z is after 2026-01-01T00:00:00Z`,
			`x509: certificate has expired or is not yet valid: current time 2026-11-26T13:00:05Z is after 2026-01-01T00:00:00Z`,
			`x509: certificate has expired or is not yet valid: now is after 2026-01-01T00:00:00Z`,
		},
		{
			`Get "https://h/apis/x?allowWatchBookmarks=true&resourceVersion=12&timeoutSeconds=449&watch=true": http2: server sent GOAWAY and closed the connection; LastStreamID=11, ErrCode=NO_ERROR, debug=""`,
			`Get "https://h/apis/x?allowWatchBookmarks=true&resourceVersion=15&timeoutSeconds=312&watch=true": http2: server sent GOAWAY and closed the connection; LastStreamID=1931, ErrCode=NO_ERROR, debug=""`,
			`Get "https://h/apis/x": http2: server sent GOAWAY and closed the connection; LastStreamID=…, ErrCode=NO_ERROR, debug=""`,
		},
		{`stream error: stream ID 5; INTERNAL_ERROR`, `stream error: stream ID 905; INTERNAL_ERROR`, `stream error: stream ID …; INTERNAL_ERROR`},
		{`took 12.5s at 0xc000123456`, `took 1.25s at 0xc000999456`, `took … at …`},
	} {
		first, second := message.Of(errors.New(test.first)), message.Of(errors.New(test.second))
		if first != test.want || second != test.want {
			t.Errorf("got %q\nand %q,\nwant %q", first, second, test.want)
		}
	}
}
