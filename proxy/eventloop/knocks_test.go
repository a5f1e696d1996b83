package eventloop

import (
	"crypto/tls"
	"io"
	"net/netip"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

func TestRefusedClientsAreKnocks(t *testing.T) {
	o := listen(t)
	var book knocks.Book
	routes := append(routeA(o), routing.Route{Host: "vault.is", Refusal: "AllowedDomains"})
	e := start(t, routes, func(f *Forwarder) { f.Knocks = &book })
	for _, hello := range [][]byte{helloFor(t, "b.techn.is"), helloFor(t, "b.techn.is"), helloFor(t, "vault.is"), []byte("GET / HTTP/1.1\r\n\r\n"), helloFor(t, "a\nb")} {
		client := dial(t, e.addr)
		send(t, client, hello)
		_, _ = io.ReadAll(client)
	}
	dial(t, e.addr).Close() // sends nothing, as probes of load balancers do
	e.open(o)
	e.awaitMetric(6, "connections_refused_total")
	top := book.Top(10)
	if len(top) != 3 || top[0].Host != "b.techn.is" || top[0].Count != 2 || top[0].Reason != "unknown_host" ||
		top[1].Host != "vault.is" || top[1].Reason != "refused_host" || top[2].Host != "" || top[2].Count != 2 {
		t.Errorf("%+v", top)
	}
	if len(top) > 0 && (len(top[0].Networks) != 1 || top[0].Networks[0] != netip.MustParsePrefix("127.0.0.0/24")) {
		t.Errorf("the networks are %v", top[0].Networks)
	}
}

// echConfigList is an ECHConfigList with one configuration (RFC 9849, section 4): for
// X25519, HKDF-SHA256 and AES-128-GCM, with a valid key that nobody has the secret of.
func echConfigList(publicName string) []byte {
	key := make([]byte, 32)
	key[0] = 9 // the base point
	contents := append([]byte{7, 0, 0x20, 0, 32}, key...)
	contents = append(contents, 0, 4, 0, 1, 0, 1, 0, byte(len(publicName)))
	contents = append(append(contents, publicName...), 0, 0)
	config := append([]byte{0xfe, 0x0d, 0, byte(len(contents))}, contents...)
	return append([]byte{0, byte(len(config))}, config...)
}

// A client with a configuration of Cloudflare asks for another host than it wants. The
// same name without the extension, and the extension with another name, are no sign of it.
func TestOuterNameOfECH(t *testing.T) {
	var log testkit.Log
	var book knocks.Book
	e := start(t, nil, logTo(&log, 1), func(f *Forwarder) { f.Knocks = &book })
	ech := func(public string) []byte {
		return helloOf(t, &tls.Config{ServerName: "secret.techn.is", MinVersion: tls.VersionTLS13, EncryptedClientHelloConfigList: echConfigList(public)})
	}
	for _, tt := range []struct {
		hello  []byte
		host   string
		reason string
	}{
		{ech("cloudflare-ech.com"), "cloudflare-ech.com", "ech_outer"},
		{ech("public.techn.is"), "public.techn.is", "unknown_host"},
		{helloFor(t, "cloudflare-ech.com"), "cloudflare-ech.com", "unknown_host"},
	} {
		client := dial(t, e.addr)
		send(t, client, tt.hello)
		expect(t, client, alertRecord(unrecognizedName))
		log.Await(t, client.LocalAddr().String(), `"host"="`+tt.host+`"`, `"reason"="`+tt.reason+`"`)
	}
}
