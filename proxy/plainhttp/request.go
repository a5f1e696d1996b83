package plainhttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jovalle/usher/proxy/routing"
)

// request is a client's request, parsed once. It is checked, answered and
// forwarded by these values alone: nothing behind ServeHTTP sees the
// http.Request that came, whose target and Host can name different hosts.
type request struct {
	ctx    context.Context
	method string
	host   string // canonical, as routing.ParseHost returns it; never a wildcard
	port   string // of the Host header, in digits; empty where there is none
	path   string // as sent, from its slash on; "*" for OPTIONS *
	query  string // as sent, from its question mark on; empty where there is none

	because string // of a host that is refused: what its route says

	client netip.AddrPort // who asks
	local  netip.AddrPort // the address that was asked

	header http.Header // end-to-end headers; none of them says who the client is
	body   io.ReadCloser
	length int64 // of the body, in bytes; -1: unknown

	upgrade bool // to a WebSocket
}

// Errors of parseRequest. Clients are not told.
var (
	errTarget = errors.New("the request target is neither origin-form nor absolute-form of the same host")
	errHost   = errors.New("the Host is not a host name with at most one port")
)

// parseRequest reads a request. The client is known even if there is an error.
func parseRequest(r *http.Request) (*request, error) {
	q := &request{ctx: r.Context(), method: r.Method, body: r.Body, length: r.ContentLength}
	q.client, _ = netip.ParseAddrPort(r.RemoteAddr)
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		q.local = local.AddrPort()
	}
	head := takeHead(r)
	authority, err := q.parseTarget(r.RequestURI)
	if err != nil {
		return q, err
	}
	if authority == "" {
		authority = r.Host
	} else if written, ok := hostHeader(head); !ok || !sameHost(authority, written) {
		return q, errTarget
	}
	if q.host, q.port, err = parseAuthority(authority); err != nil {
		return q, err
	}
	q.upgrade = isWebSocket(r)
	q.header = endToEnd(r.Header)
	return q, nil
}

// parseTarget reads a request target of origin-form, absolute-form (RFC 9112,
// sections 3.2.1 and 3.2.2) or, for OPTIONS alone, the asterisk. It returns the
// authority of absolute-form.
func (q *request) parseTarget(target string) (authority string, err error) {
	if !isPrintable(target) {
		return "", errTarget
	}
	if target == "*" && q.method == http.MethodOptions {
		q.path = target
		return "", nil
	}
	if !strings.HasPrefix(target, "/") {
		if authority, target, err = cutAuthority(target); err != nil {
			return "", err
		}
	}
	q.path = target
	if i := strings.IndexByte(target, '?'); i >= 0 {
		q.path, q.query = target[:i], target[i:]
	}
	if q.path == "" { // absolute-form without a path
		q.path = "/"
	}
	if _, err := url.PathUnescape(q.path); err != nil {
		return "", errTarget
	}
	return authority, nil
}

// cutAuthority splits a target of absolute-form behind its authority.
func cutAuthority(target string) (authority, rest string, err error) {
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", "", errTarget
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return "", "", errTarget
	}
	return rest[:end], rest[end:], nil
}

// isPrintable reports whether s has no space, no control character and no
// fragment. net/http refuses most of them; this does not rely on it.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return s != ""
}

// parseAuthority reads a Host header: a name and at most one port of digits.
func parseAuthority(authority string) (host, port string, err error) {
	name, port, hasPort := strings.Cut(authority, ":")
	if hasPort && !isPort(port) {
		return "", "", errHost
	}
	// A Host is ASCII, and names one host: what routing.ParseHost takes beyond
	// that is for people's spelling.
	if strings.ContainsFunc(name, func(c rune) bool { return c == '*' || c > '~' }) {
		return "", "", errHost
	}
	host, err = routing.ParseHost(name)
	if err != nil {
		return "", "", errHost
	}
	return host, port, nil
}

// isPort reports whether s is a port in one to five digits.
func isPort(s string) bool {
	const digits = 5
	return s != "" && len(s) <= digits && strings.Trim(s, "0123456789") == ""
}

// sameHost reports whether two authorities name one host, on whatever port.
func sameHost(a, b string) bool {
	hostA, _, errA := parseAuthority(a)
	hostB, _, errB := parseAuthority(b)
	return errA == nil && errB == nil && hostA == hostB
}

// isWebSocket reports whether a request asks for an upgrade to a WebSocket and
// to nothing else: RFC 6455, section 4.1. Behind another upgrade, such as h2c, a
// client could ask the backend for any host.
func isWebSocket(r *http.Request) bool {
	protocols := r.Header.Values("Upgrade")
	return r.Method == http.MethodGet && len(protocols) == 1 && strings.EqualFold(protocols[0], "websocket")
}

// hasBody reports whether the client announced a body.
func (q *request) hasBody() bool { return q.length != 0 }

// authority returns the Host that a backend is told.
func (q *request) authority() string {
	if q.port == "" {
		return q.host
	}
	return q.host + ":" + q.port
}

const challengePath = "/.well-known/acme-challenge/"

// base64url is the alphabet of an ACME token.
const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// isChallenge reports whether a request fetches the answer to an ACME HTTP-01
// challenge: RFC 8555, section 8.3. The token is base64url there, which leaves
// no way to write another path behind it.
func (q *request) isChallenge() bool {
	token, ok := strings.CutPrefix(q.path, challengePath)
	return ok && token != "" && strings.Trim(token, base64url) == "" &&
		(q.method == http.MethodGet || q.method == http.MethodHead) && !q.hasBody()
}

// isRedirectable reports whether a request has a URL that another scheme can be
// put before.
func (q *request) isRedirectable() bool {
	return q.method != http.MethodConnect && strings.HasPrefix(q.path, "/")
}

// outgoing returns a new request to a backend, with a path and query of this
// one, and no header yet. The transport replaces URL.Host by an address.
func (q *request) outgoing(ctx context.Context, query string) *http.Request {
	path, _ := url.PathUnescape(q.path) // parseTarget has done it before
	query, hasQuery := strings.CutPrefix(query, "?")
	return (&http.Request{
		Method: q.method,
		URL: &url.URL{
			Scheme: "http", Host: q.authority(),
			Path: path, RawPath: q.path, RawQuery: query, ForceQuery: hasQuery,
		},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:     make(http.Header),
		Host:       q.authority(),
		RemoteAddr: q.client.String(),
	}).WithContext(ctx)
}
