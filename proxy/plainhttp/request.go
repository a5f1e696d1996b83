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

// request is a parsed client request. Only these values are used to check, answer
// and forward it. No function that ServeHTTP calls after parsing gets the original
// http.Request, because its target and Host can name different hosts.
type request struct {
	ctx    context.Context
	method string
	host   string // canonical, as routing.ParseHost returns it; never a wildcard
	port   string // of the Host header, in digits; empty if it has none
	path   string // as sent, from the slash on; "*" for OPTIONS *
	query  string // as sent, from the question mark on; empty if there is none

	routeRefusal string // Refusal of the route; empty unless the host is refused

	client netip.AddrPort
	local  netip.AddrPort // the address that the client connected to

	header http.Header // end-to-end headers, without those that identify the client
	body   io.ReadCloser
	length int64 // of the body, in bytes; -1 if unknown

	upgrade bool // the client requests an upgrade to a WebSocket
	overTLS bool // a CDN says that it has received the request over TLS; any client can say so
}

// Errors of parseRequest. They are not sent to clients.
var (
	errTarget = errors.New("the request target is neither origin-form nor absolute-form of the same host")
	errHost   = errors.New("the Host is not a host name with at most one port")
)

// parseRequest parses a request. If it returns an error, the fields of the result
// that were parsed are set, and client always is.
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
	q.upgrade, q.overTLS = isWebSocket(r), receivedOverTLS(r.Header)
	q.header = endToEnd(r.Header)
	return q, nil
}

// parseTarget parses a request target in origin-form, absolute-form (RFC 9112,
// sections 3.2.1 and 3.2.2) or, for OPTIONS only, asterisk-form. It returns the
// authority of a target in absolute-form.
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

// cutAuthority splits a target in absolute-form after its authority.
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

// isPrintable reports whether s is not empty and has no space, control character
// or fragment. net/http refuses most of these, but the check does not rely on it.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return s != ""
}

// parseAuthority parses a Host header: a name and at most one port.
func parseAuthority(authority string) (host, port string, err error) {
	name, port, hasPort := strings.Cut(authority, ":")
	if hasPort && !isPort(port) {
		return "", "", errHost
	}
	// A Host header is ASCII and names one host. routing.ParseHost also accepts
	// wildcards and names in Unicode, which appear only in configuration.
	if strings.ContainsFunc(name, func(c rune) bool { return c == '*' || c > '~' }) {
		return "", "", errHost
	}
	host, err = routing.ParseHost(name)
	if err != nil {
		return "", "", errHost
	}
	return host, port, nil
}

// isPort reports whether s has one to five digits and nothing else.
func isPort(s string) bool {
	const digits = 5
	return s != "" && len(s) <= digits && strings.Trim(s, "0123456789") == ""
}

// sameHost reports whether two authorities name the same host. Ports are ignored.
func sameHost(a, b string) bool {
	hostA, _, errA := parseAuthority(a)
	hostB, _, errB := parseAuthority(b)
	return errA == nil && errB == nil && hostA == hostB
}

// isWebSocket reports whether a request is for an upgrade to a WebSocket and to no
// other protocol: RFC 6455, section 4.1. After an upgrade to a protocol such as
// h2c, a client could send the backend requests for any host.
func isWebSocket(r *http.Request) bool {
	protocols := r.Header.Values("Upgrade")
	return r.Method == http.MethodGet && len(protocols) == 1 && strings.EqualFold(protocols[0], "websocket")
}

// hasBody reports whether the request has a body.
func (q *request) hasBody() bool { return q.length != 0 }

// authority returns the Host header for the backend.
func (q *request) authority() string {
	if q.port == "" {
		return q.host
	}
	return q.host + ":" + q.port
}

const challengePath = "/.well-known/acme-challenge/"

// base64url is the alphabet of an ACME token.
const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// isChallenge reports whether a request is an ACME HTTP-01 challenge: RFC 8555,
// section 8.3. The token must be base64url, so that the request cannot have any
// other path.
func (q *request) isChallenge() bool {
	token, ok := strings.CutPrefix(q.path, challengePath)
	return ok && token != "" && strings.Trim(token, base64url) == "" &&
		(q.method == http.MethodGet || q.method == http.MethodHead) && !q.hasBody()
}

// isRedirectable reports whether a request has a path, so that its URL can be
// written with the scheme https.
func (q *request) isRedirectable() bool {
	return q.method != http.MethodConnect && strings.HasPrefix(q.path, "/")
}

// outgoing returns a request to a backend, with the path of q, the given query and
// an empty header. failover replaces URL.Host by an address.
func (q *request) outgoing(ctx context.Context, query string) *http.Request {
	path, _ := url.PathUnescape(q.path) // parseTarget has checked it
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
