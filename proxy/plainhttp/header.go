package plainhttp

import (
	"crypto/rand"
	"net/http"
	"strings"
)

// hopByHop are the headers that are about one connection, in canonical form:
// RFC 9110, section 7.6.1, and those that older software sends.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
}

// endToEnd returns the headers that a backend may see: neither those of this
// connection, nor those by which it would take the client for another.
func endToEnd(header http.Header) http.Header {
	out := make(http.Header, len(header))
	for name, values := range header {
		if !saysWhoAsks(name) {
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

// saysWhoAsks reports whether a header tells a backend of the client, or of the
// request before it was forwarded. Only the proxy knows. Servers that follow CGI
// (RFC 3875, section 4.1.18) take an underscore for a hyphen.
func saysWhoAsks(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return name == "forwarded" || name == "x-real-ip" || name == "x-forwarded" || strings.HasPrefix(name, "x-forwarded-")
}

// setForwarded tells a backend who asks, and that usher passed the request on.
func (q *request) setForwarded(header http.Header, via string) {
	header.Set("X-Forwarded-For", q.client.Addr().Unmap().WithZone("").String())
	header.Set("X-Forwarded-Host", q.authority())
	header.Set("X-Forwarded-Proto", "http")
	header.Add("Via", "1.1 "+via)
}

// newVia returns the name by which this process knows its own requests in a Via
// header: RFC 9110, section 7.6.3. It is random, so that nobody can guess it.
func newVia() string { return "usher-" + strings.ToLower(rand.Text()) }

// cameFrom reports whether a request passed through the process of that name
// before: a route leads back to usher.
func (q *request) cameFrom(via string) bool {
	for _, value := range q.header.Values("Via") {
		if strings.Contains(value, via) {
			return true
		}
	}
	return false
}
