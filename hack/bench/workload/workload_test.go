package workload

import (
	"bytes"
	"context"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jovalle/usher/hack/bench/usage"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/clienthello"
)

func TestAnOrderTravelsInAClientHello(t *testing.T) {
	want := order{mode: down, count: 1 << 40}
	hello := want.hello("h000001.bench.example")
	if len(hello) != helloBytes {
		t.Errorf("the ClientHello has %d bytes, want %d", len(hello), helloBytes)
	}
	var parser clienthello.Parser
	if host, err := parser.Parse(hello); host != "h000001.bench.example" || err != nil {
		t.Errorf("usher reads the host %q, error %v", host, err)
	}
	if got, ok := orderOf(hello); got != want || !ok {
		t.Errorf("a backend reads %v, %v; want %v", got, ok, want)
	}
}

func TestReadHello(t *testing.T) {
	hello := order{mode: reply}.hello("a.example")
	header := append(append([]byte(nil), proxySignature...), 0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 2, 1, 0, 1, 187)
	tests := []struct {
		name   string
		stream []byte
		want   []byte
	}{
		{"a ClientHello", hello, hello},
		{"one after a PROXY header", append(header, hello...), hello},
		{"something else", []byte("GET / HTTP/1.1\r\n\r\n"), nil},
		{"half of one", hello[:100], nil},
		{"a PROXY header that claims too much", append(append([]byte(nil), proxySignature...), 0x21, 0x11, 255, 255, 0, 0), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readHello(iotest.HalfReader(bytes.NewReader(test.stream)), make([]byte, maxHello))
			if test.want == nil && err == nil {
				t.Fatalf("got %q, want an error", got)
			}
			if test.want != nil && (err != nil || !bytes.Equal(got, test.want)) {
				t.Errorf("got %q, error %v", got, err)
			}
		})
	}
}

// small is enough work to see whether a test does any.
var small = Size{Connections: 200, TLSConnections: 20, Concurrency: 4, Streams: 2, StreamBytes: 4e6, Idle: 50, RoundTrips: 100}

func TestEachTestMeasuresABackend(t *testing.T) {
	address := startBackend(t)
	for name, test := range Tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			// This process stands in for the proxy, so that there is one to read.
			target := Target{Address: address, Hosts: []string{"a.example"}, Parties: usage.Parties{Proxy: []int{os.Getpid()}}}
			sample, err := test(ctx, target, small)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{CPU, Rate, Total} {
				if name != "idle" && sample[key] <= 0 {
					t.Errorf("%s is %v", key, sample[key])
				}
			}
			if name == "idle" && sample[Descriptors] < 1 {
				t.Errorf("an idle connection takes %v descriptors", sample[Descriptors])
			}
		})
	}
}

func startBackend(t *testing.T) (address string) {
	t.Helper()
	address = testkit.FreeAddress(t, "127.0.1.1")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Backend(ctx, []string{address}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, "the backend should answer", func() error { return Probe(t.Context(), address, "a.example") })
	return address
}
