package doctor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// flexible are the headers of a CDN that received the request over TLS and forwards it by
// plain HTTP.
var flexible = http.Header{"Cf-Visitor": {`{"scheme":"https"}`}, "X-Forwarded-Proto": {"https"}}

// plain audits the port for plain HTTP of a host that is forwarded there.
func (d *Doctor) plain(ctx context.Context, b *backend, addresses []netip.Addr) (findings []Finding) {
	if !b.host.Forwarded || len(addresses) == 0 || d.isOwn(addresses[0], b.HTTPPort) {
		return nil
	}
	to := netip.AddrPortFrom(addresses[0], b.HTTPPort)
	header := b.HTTPProxyProtocol.LocalHeader()
	got, err := d.getPlain(ctx, to, header, b.host.asked())
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case err != nil && !b.host.PlainOnly && refused(err):
		return nil // it has no port for plain HTTP, and only ACME challenges go there
	case err != nil:
		return []Finding{b.unreachable("plain HTTP at %s: %s", to, message.Of(err))}
	case header != "" && got.status == http.StatusBadRequest:
		if bare, err := d.getPlain(ctx, to, "", b.host.asked()); err == nil && bare.status != http.StatusBadRequest {
			return []Finding{b.found(reason.ProxyProtocolMismatch, b.setProxyProtocol("httpProxyProtocol", routing.None), "plain HTTP at %s: with the PROXY header %s the answer is 400, without one it is %d", to, b.HTTPProxyProtocol, bare.status)}
		}
	case (b.host.Proxied || b.host.PlainOnly) && got.loops(b.host.asked()):
		return []Finding{b.found(reason.FlexibleLoop, b.host.endLoop(), "plain HTTP at %s redirects to %s a request that a CDN has received over TLS", to, message.Quote(got.location))}
	}
	return nil
}

// minRedirected is how many redirected requests of a CDN show a loop: a browser gives up
// after 20, and one may be a mistake of somebody who writes headers by hand.
const minRedirected = 3

// redirects audits whether usher itself redirects the requests of a CDN. Any client can write
// the header by which such a request is known. Therefore they count for nothing if the DNS
// records of the host, which usher writes, do not lead to a CDN.
func (d *Doctor) redirects(h *Host) []Finding {
	if d.Redirected == nil || h.Forwarded || h.PlainOnly || h.Recorded && !h.Proxied {
		return nil
	}
	n := d.Redirected(h.Host)
	if n < minRedirected {
		return nil
	}
	leads, cure := "its DNS records lead to a CDN", h.endLoop()
	if !h.Recorded {
		leads = "usher does not write its DNS records, which may lead to one"
		cure = []string{`curl --request PATCH https://api.cloudflare.com/client/v4/zones/ZONE-ID/settings/ssl --header 'Authorization: Bearer TOKEN' --json '{"value":"strict"}'   # or the same in the dashboard of the CDN`}
	}
	return []Finding{h.found(reason.FlexibleLoop, "", cure, "usher has redirected %d requests to https that a CDN had received over TLS, as their headers say, and %s", n, leads)}
}

// Loops reports whether usher redirects the requests of a CDN to a host without an end.
func (d *Doctor) Loops(h *Host) bool { return len(d.redirects(h)) > 0 }

// loops reports whether a response redirects to the same host by https.
func (a answer) loops(host string) bool {
	if a.status < 300 || a.status > 399 {
		return false
	}
	to, err := url.Parse(a.location)
	return err == nil && to.Scheme == "https" && to.Hostname() == host
}

// getPlain requests the path / of a host over plain HTTP.
func (d *Doctor) getPlain(ctx context.Context, to netip.AddrPort, header, host string) (answer, error) {
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader, ResponseHeaderTimeout: requestTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.dial(ctx, to, header) },
	}
	return d.request(ctx, transport, "http://"+host+"/", host, flexible)
}
