package e2e

import (
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testenv"
)

// The tests that use the API of the edge pass with an edge without Kubernetes, too.
func TestStandaloneEdge(t *testing.T) {
	kubernetes := env
	standalone, err := testenv.Start(t.Context(), testenv.Options{Usher: program, Standalone: true, Args: flags})
	testkit.Must(t, err)
	t.Cleanup(func() {
		env = kubernetes
		if t.Failed() {
			standalone.Bed.KeepLogs()
			t.Log("the logs are in", standalone.Bed.LogDir())
		}
		testkit.Must(t, standalone.Bed.Stop())
	})
	env = standalone
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"expose", TestExposedHostsReachTheirClusterAndOthersDoNot},
		{"refusals", TestRefusalsInTheAccessLog},
		{"plain HTTP", TestPlainHTTP},
		{"address", TestPersonsExposedHostWithAnAddress},
		{"latency", TestLatencyFromAnnotationToFirstConnection},
		{"isolation", TestIsolation},
		{"ports", TestMQTTOverTLS},
		{"move", TestAnAppMovesWithoutADroppedRequest},
		{"doctor", TestDoctorFindsLeaks},
		{"status page", TestStatusPage},
	} {
		t.Run(test.name, test.run)
	}
}
