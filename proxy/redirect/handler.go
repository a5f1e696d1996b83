package redirect

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/routing"
)

// Handler answers the plain HTTP requests of all hosts. Its fields are set
// before its first use and not changed after.
type Handler struct {
	// Table is asked once for each request.
	Table *routing.Live

	// Log gets requests that no backend could be found for, at V(1).
	Log logr.Logger

	// DialTimeout is how long each address of a backend is tried.
	DialTimeout time.Duration

	// IdleTimeout ends a forwarded request or upgraded connection on which no
	// byte has moved for so long.
	IdleTimeout time.Duration

	// Metrics counts the answers. Required: see NewMetrics.
	Metrics *Metrics

	prepare sync.Once
	forward http.Handler // by prepare
}

// action is what is done with a request.
type action uint8

const (
	refuse action = iota
	redirect
	forward
)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, err := hostOf(r)
	if err != nil {
		h.notFound(w)
		return
	}
	route := h.Table.Load().Lookup(host)
	switch decide(route, r) {
	case redirect:
		h.redirect(w, r, host)
	case forward:
		h.prepare.Do(func() { h.forward = newForwarder(h) })
		h.Metrics.count(forwarded)
		h.forward.ServeHTTP(w, r.WithContext(withRoute(r.Context(), route)))
	default:
		h.notFound(w)
	}
}

// decide is what a request on a route gets; route is nil where there is none.
func decide(route *routing.Route, r *http.Request) action {
	if route == nil || !route.Allows(clientAddr(r)) {
		return refuse
	}
	if isChallenge(r) {
		return forward
	}
	switch route.PlainHTTP {
	case routing.Redirect:
		if _, ok := target(r); ok {
			return redirect
		}
	case routing.Forward:
		if r.Method != http.MethodConnect {
			return forward
		}
	}
	return refuse
}

// hostOf returns the host that a request is for, without its port.
func hostOf(r *http.Request) (string, error) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return routing.ParseHost(host)
}

// clientAddr returns the address of a request's client.
func clientAddr(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr()
}

const challengePath = "/.well-known/acme-challenge/"

// isChallenge reports whether a request fetches the answer to an ACME HTTP-01
// challenge: RFC 8555, section 8.3. The token is base64url there, which leaves
// no way to write another path behind it.
func isChallenge(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	path, ok := target(r)
	if !ok {
		return false
	}
	path, _, _ = strings.Cut(path, "?")
	token, ok := strings.CutPrefix(path, challengePath)
	return ok && token != "" && strings.Trim(token, base64url) == ""
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// target returns the path and query of a request, byte for byte as sent. ok is
// false for requests that have none: CONNECT, and OPTIONS *.
func target(r *http.Request) (string, bool) {
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") { // absolute-form: RFC 9112, section 3.2.2
		_, rest, found := strings.Cut(uri, "://")
		slash := strings.IndexAny(rest, "/?")
		switch {
		case !found:
			return "", false
		case slash < 0:
			return "/", true
		case rest[slash] == '?':
			return "/" + rest[slash:], true
		}
		uri = rest[slash:]
	}
	return uri, isPrintable(uri)
}

// isPrintable reports whether s may stand in a header: no control character,
// no space. net/http has refused such a request before; this does not rely on
// it.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// redirect sends the client to the same URL over HTTPS. The status keeps
// methods and bodies: RFC 9110, section 15.4.9.
func (h *Handler) redirect(w http.ResponseWriter, r *http.Request, host string) {
	path, _ := target(r)
	w.Header().Set("Location", "https://"+host+path)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	h.Metrics.count(redirected)
}

// notFound is the same for hosts that do not exist and for clients that may not
// know whether they do.
func (h *Handler) notFound(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusNotFound)
	h.Metrics.count(notFound)
}
