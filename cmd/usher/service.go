//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/takeover"
)

// announce lets processes of the same service take over addresses from each other. If
// that is impossible, it returns nil, and addresses are not shared.
func (s *settings) announce(ctx context.Context, log logr.Logger) *takeover.Process {
	log = log.WithName("takeover")
	process, err := takeover.Announce(context.WithoutCancel(ctx), s.serviceName(), version, log)
	if err != nil {
		log.Info("No process can take over from this one, nor this one from another", "reason", err.Error())
		return nil
	}
	if olderServes(ctx, s.adminListen) {
		process.TakeOverFromOlder()
	}
	return process
}

// serviceName returns --service. Its default is the API server and the namespace, or
// the directory of manifests. A process that runs only the controllers is another
// service: it listens on no address that a proxy could take over.
func (s *settings) serviceName() string {
	switch {
	case s.service != "":
		return s.service
	case s.manifests != "":
		return "manifests " + absolute(s.manifests)
	case s.standalone != "":
		return "standalone " + absolute(s.standalone)
	case !s.proxy:
		return fmt.Sprintf("controllers %s %s", s.edge.Host, s.namespace)
	}
	return fmt.Sprintf("edge %s %s", s.edge.Host, s.namespace)
}

// absolute returns the absolute form of a path, or the path itself if there is none.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

const (
	// olderTimeout bounds the request to an older usher.
	olderTimeout = time.Second
	// maxOlderMetrics is how many bytes of its metrics are read.
	maxOlderMetrics = 1 << 20
	// olderMetric begins the line of a metric that every version's data plane has.
	olderMetric = "\nusher_connections_limit "
)

// olderServes reports whether an usher with a data plane serves metrics at one of the
// admin addresses. Newer versions find each other by a Unix socket. Older ones have
// none, and an upgrade from them must not refuse clients either.
func olderServes(ctx context.Context, addresses []string) bool {
	client := http.Client{
		Timeout:       olderTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port == "0" {
			continue
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/metrics", http.NoBody)
		if err != nil {
			continue
		}
		response, err := client.Do(request)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxOlderMetrics))
		response.Body.Close()
		if strings.Contains(string(text), olderMetric) {
			return true
		}
	}
	return false
}
