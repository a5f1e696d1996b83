package eventloop

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestDurationsAreInSeconds(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o))
	began := time.Now()
	e.open(o)
	send(t, dial(t, e.addr), helloFor(t, "b.techn.is")) // unknown: nothing is dialled
	e.awaitMetric(2, "hello_seconds")
	e.awaitMetric(1, "dial_seconds")
	most := 2 * time.Since(began).Seconds() // of both connections

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e.Forwarder)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	least := map[string]float64{
		"usher_hello_seconds": 0, // a ClientHello may be read in the turn that accepts the connection
		"usher_dial_seconds":  1e-9,
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if h := m.GetHistogram(); h != nil && (h.GetSampleSum() < least[family.GetName()] || h.GetSampleSum() > most) {
				t.Errorf("%s counts %v s in all, want at most %v", family.GetName(), h.GetSampleSum(), most)
			}
		}
	}
}
