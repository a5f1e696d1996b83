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

// announce lets processes of the same service take over from one another. Where
// that is impossible, it returns nil, and addresses are shared with none.
func (s *settings) announce(ctx context.Context, log logr.Logger) *takeover.Process {
	log = log.WithName("takeover")
	process, err := takeover.Announce(context.WithoutCancel(ctx), s.serviceName(), version, log)
	if err != nil {
		log.Info("No process can take over from this one, nor this one from another", "reason", err.Error())
		return nil
	}
	if olderAnswers(ctx, s.adminListen) {
		process.TakeOverFromOlder()
	}
	return process
}

// serviceName is --service, or else what the process follows, and whether it
// serves it: controllers alone have nothing that a proxy could take over.
func (s *settings) serviceName() string {
	switch {
	case s.service != "":
		return s.service
	case s.manifests != "":
		return "manifests " + absolute(s.manifests)
	case !s.proxy:
		return fmt.Sprintf("controllers %s %s", s.edge.Host, s.namespace)
	}
	return fmt.Sprintf("edge %s %s", s.edge.Host, s.namespace)
}

// absolute returns the path that a relative one leads to.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

const (
	// olderTimeout is how long an older usher may take to say that it is one.
	olderTimeout = time.Second
	// olderAnswer is how many bytes of its answer are read.
	olderAnswer = 1 << 20
	// olderMetric is one that every usher that forwards has had.
	olderMetric = "\nusher_connections_limit "
)

// olderAnswers reports whether an usher forwards that has the same admin address.
// One that announces itself is asked by its socket; one that does not is of a
// version before that, and an upgrade must not refuse clients because of it.
func olderAnswers(ctx context.Context, addresses []string) bool {
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
		text, _ := io.ReadAll(io.LimitReader(response.Body, olderAnswer))
		response.Body.Close()
		if strings.Contains(string(text), olderMetric) {
			return true
		}
	}
	return false
}
