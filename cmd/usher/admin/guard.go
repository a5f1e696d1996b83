package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// innerSuffixes end names that no public DNS server can give an address to: a page from the
// internet cannot have one (RFC 6761, and the names of Services).
var innerSuffixes = []string{".localhost", ".svc", ".cluster.local"}

// guard refuses requests that a page of another site has a person's browser send. It knows
// them by the host: a site may give its own name the address of this listener (DNS
// rebinding), and then the page may read the answer. And by the headers with which browsers
// say where a request comes from.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		switch {
		case !s.knowsHost(r.Host):
			http.Error(w, "usher does not know the name by which this address was asked: use the IP address or localhost, or start usher with --admin-host NAME", http.StatusMisdirectedRequest)
		case fromOtherSite(r):
			http.Error(w, "the request comes from a page of another site", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knowsHost reports whether a Host header has an IP address, a name that public DNS does
// not have, or one of Hosts.
func (s *Server) knowsHost(hostport string) bool {
	host := hostport
	if name, _, err := net.SplitHostPort(hostport); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	inner := func(suffix string) bool { return strings.HasSuffix(host, suffix) }
	return !strings.Contains(host, ".") || slices.ContainsFunc(innerSuffixes, inner) || slices.Contains(s.Hosts, host)
}

// fromOtherSite reports whether a browser says that the request comes from another site. A
// link to a page is no such request. Where a browser does not send Sec-Fetch-Site, which it
// does for https and for loopback addresses only, the Origin counts.
func fromOtherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return false
		}
		parsed, err := url.Parse(origin)
		return err != nil || parsed.Host != r.Host
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}
