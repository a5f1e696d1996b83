package manifest

import (
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// descRefused distinguishes refused files whose last good state is served from those
// that serve nothing: the former are outdated, the latter are an outage.
var descRefused = prometheus.NewDesc("usher_manifest_files_refused",
	"Files of the --manifests directory that are refused, by what is served of them: their last good state, or nothing.",
	[]string{"serves"}, nil)

// health is the part of a Watcher's state that other goroutines read.
type health struct {
	mu               sync.Mutex
	served, unserved int      // files that are refused
	unready          problems // of files that have been refused since the start
	wasReady         bool     // afterwards, a new file that is broken does not make usher unready
}

// note stores the result of a scan.
func (h *health) note(served, unserved int, without problems) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.served, h.unserved, h.unready = served, unserved, without
	h.wasReady = h.wasReady || unserved == 0
}

func (h *health) ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wasReady {
		return nil
	}
	return fmt.Errorf("manifest files are refused and have no last good state: %w", h.unready)
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(descs chan<- *prometheus.Desc) { descs <- descRefused }

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(metrics chan<- prometheus.Metric) {
	w.health.mu.Lock()
	defer w.health.mu.Unlock()
	for serves, files := range map[string]int{"last_good": w.health.served, "nothing": w.health.unserved} {
		metrics <- prometheus.MustNewConstMetric(descRefused, prometheus.GaugeValue, float64(files), serves)
	}
}
