package clienthello_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"

	"github.com/jovalle/usher/proxy/clienthello"
)

// hello defines the fields of a ClientHello message, so that a test can make it
// malformed.
type hello struct {
	version    uint16 // 0: 0x0303
	names      []string
	nameType   uint8
	extensions [][]byte // after server_name
	trailing   string   // after the extensions
	bare       bool     // without extensions
}

func (h hello) message() []byte {
	if h.version == 0 {
		h.version = 0x0303
	}
	var b cryptobyte.Builder
	b.AddUint8(1)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(h.version)
		b.AddBytes(make([]byte, 32))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, 32)) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(0x1301) })
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) })
		if !h.bare {
			b.AddUint16LengthPrefixed(h.addExtensions)
		}
		b.AddBytes([]byte(h.trailing))
	})
	return b.BytesOrPanic()
}

func (h hello) addExtensions(b *cryptobyte.Builder) {
	if h.names != nil {
		b.AddBytes(extension(0, serverNameList(h.nameType, h.names...)))
	}
	for _, e := range h.extensions {
		b.AddBytes(e)
	}
}

func extension(kind uint16, body []byte) []byte {
	var b cryptobyte.Builder
	b.AddUint16(kind)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(body) })
	return b.BytesOrPanic()
}

func serverNameList(nameType uint8, names ...string) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, name := range names {
			b.AddUint8(nameType)
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
		}
	})
	return b.BytesOrPanic()
}

// records splits a message into TLS records of size bytes each.
func records(message []byte, size int) []byte {
	var b cryptobyte.Builder
	for len(message) > 0 {
		n := min(size, len(message))
		b.AddBytes([]byte{22, 3, 1})
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(message[:n]) })
		message = message[n:]
	}
	return b.BytesOrPanic()
}

func named(names ...string) []byte { return hello{names: names}.message() }

func parse(stream []byte) (string, error) {
	var p clienthello.Parser
	return p.Parse(stream)
}

func TestParse(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Join([]string{label63, label63, label63, label63[:61]}, ".")
	padding := extension(21, make([]byte, 30_000))
	message := named("who.techn.is")
	for name, tt := range map[string]struct {
		stream []byte
		want   string
	}{
		"one record":             {records(message, 1<<14), "who.techn.is"},
		"two records":            {records(message, 100), "who.techn.is"},
		"records of one byte":    {records(message, 1), "who.techn.is"},
		"early data behind it":   {append(records(message, 1<<14), 23, 3, 3, 0, 1, 'x'), "who.techn.is"},
		"30 kB over two records": {records(hello{names: []string{"a.is"}, extensions: [][]byte{padding}}.message(), 1<<14), "a.is"},
		"TLS 1.0":                {records(hello{version: 0x0301, names: []string{"a.is"}}.message(), 1<<14), "a.is"},
		"upper case":             {records(named("WhoAmI.Techn.IS"), 1<<14), "whoami.techn.is"},
		"underscore":             {records(named("_a.my_app.is"), 1<<14), "_a.my_app.is"},
		"single label":           {records(named("localhost"), 1<<14), "localhost"},
		"digits and a letter":    {records(named("1.2.3.4a"), 1<<14), "1.2.3.4a"},
		"name of 253 bytes":      {records(named(name253), 1<<14), name253},
		"GREASE and server_name": {records(hello{extensions: [][]byte{extension(0x0a0a, nil), extension(0, serverNameList(0, "a.is"))}}.message(), 1<<14), "a.is"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parse(tt.stream); got != tt.want || err != nil {
				t.Errorf("Parse = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := records(named("a.techn.is"), 1<<14)
	with := func(at int, b byte) []byte {
		stream := append([]byte(nil), good...)
		stream[at] = b
		return stream
	}
	secondName := hello{names: []string{"a.is"}, extensions: [][]byte{extension(0, serverNameList(0, "b.is"))}}
	for name, tt := range map[string]struct {
		stream []byte
		want   clienthello.Refusal
	}{
		"HTTP":                        {[]byte("GET / HTTP/1.1\r\n"), clienthello.NotTLS},
		"one wrong byte":              {[]byte{'G'}, clienthello.NotTLS},
		"SSLv2":                       {[]byte{0x80, 0x2e, 1, 3, 1}, clienthello.NotTLS},
		"PROXY header":                {[]byte("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), clienthello.NotTLS},
		"record of SSL 2":             {with(1, 2), clienthello.NotTLS},
		"empty record":                {[]byte{22, 3, 1, 0, 0}, clienthello.Malformed},
		"record above 2^14":           {[]byte{22, 3, 1, 0x40, 1}, clienthello.Malformed},
		"ServerHello":                 {with(5, 2), clienthello.Malformed},
		"message longer than 64 KiB":  {[]byte{22, 3, 1, 0, 4, 1, 1, 0, 1}, clienthello.TooLong},
		"records add up to 64 KiB":    {records(hello{names: []string{"a.is"}, extensions: [][]byte{extension(21, make([]byte, 20_000))}}.message(), 1), clienthello.TooLong},
		"alert between the records":   {append(records(named("a.is"), 50)[:55], 21, 3, 3, 0, 2, 1, 0), clienthello.Malformed},
		"more in the record":          {records(append(named("a.is"), 0), 1<<14), clienthello.Malformed},
		"more in a later record":      {records(append(named("a.is"), 0), 50), clienthello.Malformed},
		"legacy_version of SSL 2":     {with(9, 2), clienthello.Malformed},
		"session ID of 33 bytes":      {with(43, 33), clienthello.Malformed},
		"bytes after the extensions":  {records(hello{names: []string{"a.is"}, trailing: "x"}.message(), 1<<14), clienthello.Malformed},
		"broken last extension":       {records(hello{names: []string{"a.is"}, extensions: [][]byte{{0, 21, 0, 9}}}.message(), 1<<14), clienthello.Malformed},
		"two server_name extensions":  {records(secondName.message(), 1<<14), clienthello.Malformed},
		"empty server_name extension": {records(hello{extensions: [][]byte{extension(0, nil)}}.message(), 1<<14), clienthello.Malformed},
		"empty list":                  {records(hello{names: []string{}}.message(), 1<<14), clienthello.Malformed},
		"empty name":                  {records(named(""), 1<<14), clienthello.Malformed},
		"no server_name":              {records(hello{}.message(), 1<<14), clienthello.NoServerName},
		"no extensions":               {records(hello{bare: true}.message(), 1<<14), clienthello.NoServerName},
		"another name type alone":     {records(hello{names: []string{"a.is"}, nameType: 1}.message(), 1<<14), clienthello.NoServerName},
		"two names":                   {records(named("a.is", "b.is"), 1<<14), clienthello.BadServerName},
		"the same name twice":         {records(named("a.is", "a.is"), 1<<14), clienthello.BadServerName},
		"trailing dot":                {records(named("a.is."), 1<<14), clienthello.BadServerName},
		"leading dot":                 {records(named(".a.is"), 1<<14), clienthello.BadServerName},
		"empty label":                 {records(named("a..is"), 1<<14), clienthello.BadServerName},
		"IPv4":                        {records(named("192.168.1.1"), 1<<14), clienthello.BadServerName},
		"IPv6":                        {records(named("::1"), 1<<14), clienthello.BadServerName},
		"NUL":                         {records(named("a.is\x00.evil.is"), 1<<14), clienthello.BadServerName},
		"wildcard":                    {records(named("*.techn.is"), 1<<14), clienthello.BadServerName},
		"port":                        {records(named("a.is:443"), 1<<14), clienthello.BadServerName},
		"not ASCII":                   {records(named("bücher.is"), 1<<14), clienthello.BadServerName},
		"label of 64 bytes":           {records(named(strings.Repeat("a", 64)+".is"), 1<<14), clienthello.BadServerName},
		"name of 254 bytes":           {records(named(strings.Repeat("a.", 126)+"is"), 1<<14), clienthello.BadServerName},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := parse(tt.stream); !errors.Is(err, tt.want) || got != "" {
				t.Errorf("Parse = %q, %v; want refusal %q", got, err, tt.want)
			}
		})
	}
}

// One parser gets all prefixes in turn, so this also tests a stream that arrives byte by
// byte.
func TestEveryPrefixIsIncomplete(t *testing.T) {
	for _, size := range []int{1, 3, 4, 5, 50, 1 << 14} {
		stream := records(named("a.techn.is"), size)
		var p clienthello.Parser
		for n := range stream {
			if got, err := p.Parse(stream[:n]); !errors.Is(err, clienthello.ErrIncomplete) {
				t.Fatalf("records of %d: Parse of %d of %d bytes = %q, %v", size, n, len(stream), got, err)
			}
		}
		if got, err := p.Parse(stream); got != "a.techn.is" || err != nil {
			t.Errorf("records of %d: Parse = %q, %v", size, got, err)
		}
	}
}

func TestParseAllocatesOnlyTheName(t *testing.T) {
	stream := records(named("a.techn.is"), 1<<14)
	if n := testing.AllocsPerRun(100, func() { _, _ = parse(stream) }); n > 1 {
		t.Errorf("Parse allocates %v times", n)
	}
}

func BenchmarkParse(b *testing.B) {
	stream := records(hello{names: []string{"whoami.techn.is"}, extensions: [][]byte{extension(21, make([]byte, 400))}}.message(), 1<<14)
	for b.Loop() {
		if _, err := parse(stream); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkByteByByte measures the worst case: a stream of the maximum length, in
// records of one byte, that arrives byte by byte.
func BenchmarkByteByByte(b *testing.B) {
	padding := extension(21, make([]byte, 10_000))
	stream := records(hello{names: []string{"a.is"}, extensions: [][]byte{padding}}.message(), 1)
	for b.Loop() {
		var p clienthello.Parser
		for n := range stream {
			_, _ = p.Parse(stream[:n])
		}
	}
}
