package plainhttp

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// cdnWindow is how long a redirected request of a CDN is remembered.
	cdnWindow = time.Hour

	// maxCDNHosts bounds the hosts that are remembered.
	maxCDNHosts = 1024
)

// CDNLoops remembers the hosts whose requests usher has redirected to https although a CDN
// had received them over TLS: the CDN connects by plain HTTP (Cloudflare's mode Flexible),
// so that the browser gets the same redirect again and again. Any client can send the header
// that says so. The zero value is ready to use.
type CDNLoops struct {
	mu    sync.Mutex
	hosts map[string]*cdnLoop // host of the route → its requests
}

// cdnLoop are redirected requests to a host, each no later than cdnWindow after the one before.
type cdnLoop struct {
	requests int
	last     time.Time
}

// add records a request to the host of a route.
func (l *CDNLoops) add(host string) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	loop := l.hosts[host]
	if loop == nil {
		if len(l.hosts) >= maxCDNHosts {
			l.drop()
		}
		loop = &cdnLoop{}
		if l.hosts == nil {
			l.hosts = map[string]*cdnLoop{}
		}
		l.hosts[host] = loop
	}
	if now.Sub(loop.last) > cdnWindow {
		loop.requests = 0
	}
	loop.requests++
	loop.last = now
}

// drop forgets the host whose last request is the oldest. The caller holds l.mu.
func (l *CDNLoops) drop() {
	var oldest string
	for host, loop := range l.hosts {
		if oldest == "" || loop.last.Before(l.hosts[oldest].last) {
			oldest = host
		}
	}
	delete(l.hosts, oldest)
}

// Requests returns how many such requests to the host of a route were redirected lately;
// 0 if there was none for an hour.
func (l *CDNLoops) Requests(host string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	loop := l.hosts[host]
	if loop == nil || time.Since(loop.last) > cdnWindow {
		return 0
	}
	return loop.requests
}

// receivedOverTLS reports whether a CDN says that it has received a request over TLS:
// Cloudflare by CF-Visitor, others by X-Forwarded-Proto.
func receivedOverTLS(header http.Header) bool {
	return strings.Contains(strings.ReplaceAll(header.Get("Cf-Visitor"), " ", ""), `"scheme":"https"`) ||
		strings.EqualFold(header.Get("X-Forwarded-Proto"), "https")
}
