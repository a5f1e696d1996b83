package eventloop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/proxy/routing"
)

// headerV2 returns a v2 header with the addresses of a client, or without addresses.
func headerV2(t testing.TB, client string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	source := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
	header := proxyproto.HeaderProxyFromAddrs(2, source, &net.TCPAddr{IP: source.IP, Port: 443})
	if err := header.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	formatted, err := header.Format()
	if err != nil {
		t.Fatal(err)
	}
	return formatted
}

func localV2(t testing.TB) []byte {
	t.Helper()
	formatted, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	if err != nil {
		t.Fatal(err)
	}
	return formatted
}

func TestReadProxyHeader(t *testing.T) {
	for name, tt := range map[string]struct {
		header []byte
		addrs  string // client and destination; "" if there are none
	}{
		"v1 TCP4":             {[]byte("PROXY TCP4 203.0.113.1 192.0.2.1 1000 443\r\n"), "203.0.113.1:1000 192.0.2.1:443"},
		"v1 TCP6":             {[]byte("PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n"), "[2001:db8::1]:1000 [2001:db8::2]:443"},
		"v1 UNKNOWN":          {[]byte("PROXY UNKNOWN\r\n"), ""},
		"v2 TCP4":             {headerV2(t, "203.0.113.1:1000"), "203.0.113.1:1000 203.0.113.1:443"},
		"v2 TCP6":             {headerV2(t, "[2001:db8::1]:1000"), "[2001:db8::1]:1000 [2001:db8::1]:443"},
		"v2 with a large TLV": {headerV2(t, "203.0.113.1:1000", proxyproto.TLV{Type: 0xE0, Value: make([]byte, 4000)}), "203.0.113.1:1000 203.0.113.1:443"},
		"v2 LOCAL":            {localV2(t), ""},
	} {
		t.Run(name, func(t *testing.T) {
			stream := append(bytes.Clone(tt.header), "hello"...)
			for n := range len(tt.header) {
				if _, _, err := readProxyHeader(stream[:n]); !errors.Is(err, errHeaderIncomplete) {
					t.Fatalf("%d of %d bytes: %v", n, len(tt.header), err)
				}
			}
			size, addrs, err := readProxyHeader(stream)
			got := ""
			if addrs.client.IsValid() {
				got = addrs.client.String() + " " + addrs.destination.String()
			}
			if err != nil || size != len(tt.header) || got != tt.addrs {
				t.Errorf("size %d, addresses %q, %v; want %d and %q", size, got, err, len(tt.header), tt.addrs)
			}
		})
	}
}

func TestReadProxyHeaderRefuses(t *testing.T) {
	v2 := headerV2(t, "203.0.113.1:1000")
	tooLong := bytes.Clone(v2)
	tooLong[14] = 0xff
	version3 := bytes.Clone(v2)
	version3[12] = 0x31
	for name, stream := range map[string][]byte{
		"a ClientHello":      {22, 3, 1, 2, 0},
		"HTTP":               []byte("POST / HTTP/1.1\r\n"),
		"lower case":         []byte("proxy TCP4 203.0.113.1 192.0.2.1 1000 443\r\n"),
		"v1 too long":        []byte("PROXY TCP4 " + strings.Repeat("1", 100)),
		"v1 without an end":  []byte("PROXY TCP4 203.0.113.1 192.0.2.1 1000 443\n"),
		"v1 nonsense":        []byte("PROXY TCP4 nobody 192.0.2.1 1000 443\r\n"),
		"v1 port":            []byte("PROXY TCP4 203.0.113.1 192.0.2.1 99999 443\r\n"),
		"v1 of the other IP": []byte("PROXY TCP4 2001:db8::1 2001:db8::2 1000 443\r\n"),
		"v2 too long":        tooLong,
		"v2 version 3":       version3,
		"v2 overlong TLV":    withTLVLength(t, 5),
		"v2 endless TLV":     withTLVLength(t, 0xffff),
		"v2 a TLV's end":     withTLVLength(t, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if size, addrs, err := readProxyHeader(stream); err == nil || errors.Is(err, errHeaderIncomplete) {
				t.Errorf("size %d, addresses %v, %v; want a refusal", size, addrs, err)
			}
		})
	}
}

// withTLVLength returns a v2 header with a TLV of four bytes and the given length field.
func withTLVLength(t testing.TB, length uint16) []byte {
	t.Helper()
	header := headerV2(t, "203.0.113.1:1000", proxyproto.TLV{Type: 0xE0, Value: []byte("four")})
	binary.BigEndian.PutUint16(header[len(header)-6:], length)
	return header
}

// FuzzReadProxyHeader checks that no stream is read past its end, and that none of the
// maximum size is incomplete.
func FuzzReadProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.1 192.0.2.1 1000 443\r\nhello"))
	f.Add(headerV2(f, "[2001:db8::1]:1000", proxyproto.TLV{Type: 0xE0, Value: []byte("x")}))
	f.Add(localV2(f))
	f.Fuzz(func(t *testing.T, stream []byte) {
		size, _, err := readProxyHeader(stream)
		switch {
		case err == nil && (size <= 0 || size > len(stream)):
			t.Errorf("a header of %d bytes in a stream of %d", size, len(stream))
		case errors.Is(err, errHeaderIncomplete) && len(stream) >= maxProxyHeader:
			t.Errorf("%d bytes are still incomplete", len(stream))
		}
	})
}

func TestProxyHeaderIn(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	hello := helloFor(t, hostA)
	v1 := []byte("PROXY TCP4 203.0.113.1 192.0.2.1 1000 443\r\n")
	for name, tt := range map[string]struct {
		from   []netip.Prefix
		header []byte
		reason string // "" if accepted
	}{
		"v1":                         {loopback, v1, ""},
		"v2":                         {loopback, headerV2(t, "203.0.113.1:1000", proxyproto.TLV{Type: 0xE0, Value: make([]byte, 4000)}), ""},
		"client not let in":          {loopback, headerV2(t, "203.0.114.1:1000"), "client_not_allowed"},
		"LOCAL: the proxy's address": {loopback, localV2(t), "client_not_allowed"},
		"required and missing":       {loopback, nil, "bad_proxy_header"},
		"two":                        {loopback, append(bytes.Clone(v1), v1...), "not_tls"},
		"from one that must not":     {nil, v1, "not_tls"},
	} {
		t.Run(name, func(t *testing.T) {
			o := listen(t)
			routes := routeA(o)
			routes[0].AllowFrom = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
			e := start(t, routes, func(f *Forwarder) { f.ProxyProtocolFrom = tt.from })
			client := dial(t, e.addr)
			for _, b := range tt.header { // in the smallest pieces
				_, _ = client.Write([]byte{b})
			}
			_, _ = client.Write(hello)
			if tt.reason != "" {
				e.awaitMetric(1, "connections_refused_total", tt.reason)
				return
			}
			expect(t, o.accept(), hello)
		})
	}
}

func TestProxyHeaderOut(t *testing.T) {
	hello := helloFor(t, hostA)
	for _, version := range []routing.ProxyProtocol{routing.V1, routing.V2} {
		t.Run(version.String(), func(t *testing.T) {
			o := listen(t)
			routes := routeA(o)
			routes[0].Backends[0].ProxyProtocol = version
			e := start(t, routes)
			client := dial(t, e.addr)
			send(t, client, hello)
			reader := bufio.NewReader(o.accept())
			header, err := proxyproto.Read(reader)
			if err != nil {
				t.Fatal(err)
			}
			if header.SourceAddr.String() != client.LocalAddr().String() || header.DestinationAddr.String() != e.addr.String() {
				t.Errorf("the header has %v → %v, want %v → %v", header.SourceAddr, header.DestinationAddr, client.LocalAddr(), e.addr)
			}
			if version == routing.V2 {
				checkAuthority(t, header)
			}
			expect(t, reader, hello)
		})
	}
}

// A header from a client is forwarded to the backend with the same addresses, including
// the destination.
func TestProxyHeaderThrough(t *testing.T) {
	v6 := "[2001:db8::1]:1000"
	for name, tt := range map[string]struct {
		in       []byte
		from, to string // "": the connection's own
	}{
		"v1":    {[]byte("PROXY TCP4 203.0.113.1 192.0.2.1 1000 443\r\n"), "203.0.113.1:1000", "192.0.2.1:443"},
		"v2":    {headerV2(t, v6), v6, "[2001:db8::1]:443"},
		"LOCAL": {localV2(t), "", ""},
	} {
		for _, version := range []routing.ProxyProtocol{routing.V1, routing.V2} {
			t.Run(name+" to "+version.String(), func(t *testing.T) {
				o := listen(t)
				routes := routeA(o)
				routes[0].Backends[0].ProxyProtocol = version
				e := start(t, routes, func(f *Forwarder) { f.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
				client := dial(t, e.addr)
				send(t, client, append(tt.in, helloFor(t, hostA)...))
				from, to := tt.from, tt.to
				if from == "" {
					from, to = client.LocalAddr().String(), e.addr.String()
				}
				header, err := proxyproto.Read(bufio.NewReader(o.accept()))
				if err != nil {
					t.Fatal(err)
				}
				if header.SourceAddr.String() != from || header.DestinationAddr.String() != to {
					t.Errorf("the header has %v → %v, want %v → %v", header.SourceAddr, header.DestinationAddr, from, to)
				}
			})
		}
	}
}

// The maximum number of bytes follows the header: a ClientHello in several segments,
// and the bytes that were sent with it.
func TestProxyHeaderBeforeMuch(t *testing.T) {
	o := listen(t)
	routes := routeA(o)
	routes[0].Backends[0].ProxyProtocol = routing.V2
	e := start(t, routes)
	all := append(longHello(t), randomBytes(200_000)...)
	client := dial(t, e.addr)
	go func() { _, _ = client.Write(all) }()
	reader := bufio.NewReader(o.accept())
	if _, err := proxyproto.Read(reader); err != nil {
		t.Fatal(err)
	}
	expect(t, reader, all)
}

func checkAuthority(t *testing.T, header *proxyproto.Header) {
	t.Helper()
	tlvs, err := header.TLVs()
	if err != nil {
		t.Fatal(err)
	}
	for _, tlv := range tlvs {
		if tlv.Type == proxyproto.PP2_TYPE_AUTHORITY && string(tlv.Value) == hostA {
			return
		}
	}
	t.Errorf("no authority %s in %v", hostA, tlvs)
}
