//go:build linux

package main

import (
	"sync/atomic"

	"github.com/jovalle/usher/proxy"
)

// healthChecks shows the proxy's health checks to the control plane. It implements
// controllers.Health.
type healthChecks struct {
	proxy   atomic.Pointer[proxy.Server] // nil until it listens
	changed atomic.Pointer[func(cluster string)]
}

// Health implements controllers.Health.
func (h *healthChecks) Health(cluster string) (healthy, total int) {
	if server := h.proxy.Load(); server != nil {
		return server.Health(cluster)
	}
	return 0, 0
}

// HealthChanged implements controllers.Health.
func (h *healthChecks) HealthChanged(changed func(cluster string)) { h.changed.Store(&changed) }

// report calls the function that HealthChanged has set.
func (h *healthChecks) report(cluster string) {
	if changed := h.changed.Load(); changed != nil {
		(*changed)(cluster)
	}
}
