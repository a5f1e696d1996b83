package plainhttp

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// hopByHop are the hop-by-hop headers in canonical form: those of RFC 9110,
// section 7.6.1, and those that older software sends.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// endToEnd returns the headers to forward to a backend. It drops the hop-by-hop
// headers, and those by which a client could forge its address.
func endToEnd(header http.Header) http.Header {
	out := make(http.Header, len(header))
	for name, values := range header {
		if !identifiesClient(name) {
			out[name] = values
		}
	}
	for _, value := range header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			out.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		out.Del(name)
	}
	return out
}

// identifiesClient reports whether a header describes the client, or the request
// before it was forwarded. Only a proxy may set such a header. Servers that follow
// CGI (RFC 3875, section 4.1.18) read an underscore as a hyphen.
func identifiesClient(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return name == "forwarded" || name == "x-real-ip" || name == "x-forwarded" || strings.HasPrefix(name, "x-forwarded-")
}

// setForwarded sets the headers that name the client, and adds usher to Via.
func (q *request) setForwarded(header http.Header, via string) {
	header.Set("X-Forwarded-For", q.client.Addr().Unmap().WithZone("").String())
	header.Set("X-Forwarded-Host", q.authority())
	header.Set("X-Forwarded-Proto", "http")
	header.Add("Via", "1.1 "+via)
}

// newVia returns the name by which this process recognises its own requests in a
// Via header: RFC 9110, section 7.6.3. It is random, so that no client can guess
// it.
func newVia() string { return "usher-" + strings.ToLower(rand.Text()) }

// passedThrough reports whether the process with this name in Via forwarded the
// request before: a route leads back to usher.
func (q *request) passedThrough(via string) bool {
	for _, value := range q.header.Values("Via") {
		if strings.Contains(value, via) {
			return true
		}
	}
	return false
}
