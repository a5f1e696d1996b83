package eventloop

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
)

// locked is a buffer that a test reads while a Forwarder writes to it.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
	writes int
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	return l.Buffer.Write(p)
}

func (l *locked) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

var record = accessRecord{
	at: time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC), client: netip.MustParseAddrPort("[2001:db8::1]:443"),
	host: "*.techn.is", cluster: "hades", port: "mqtts", up: 12, down: 1 << 40, lasted: 1234567 * time.Microsecond, why: idle,
}

func TestLineOfTheAccessLog(t *testing.T) {
	const want = `{"level":"info","ts":"2026-11-27T05:00:00Z","logger":"proxy","msg":"Connection closed","client":"[2001:db8::1]:443",` +
		`"host":"*.techn.is","cluster":"hades","up":12,"down":1099511627776,"seconds":1.234567,"reason":"idle_timeout","port":"mqtts"}` + "\n"
	if got := string(record.appendJSON(nil)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestAccessLogOfConnections(t *testing.T) {
	o := listen(t)
	var out locked
	e := start(t, routeA(o), func(f *Forwarder) { f.AccessLog, f.AccessOutput = true, &out })
	for range 20 {
		client, backend := e.open(o)
		send(t, backend, []byte("12345"))
		backend.Close()
		_, _ = io.ReadAll(client)
		client.Close()
	}
	testkit.WaitFor(t, "20 lines", func() bool { return bytes.Count([]byte(out.text()), []byte("\n")) == 20 })
	var line struct {
		Host, Cluster, Reason, Msg string
		Client                     netip.AddrPort
		Down                       int
		TS                         time.Time
	}
	first, _, _ := bytes.Cut([]byte(out.text()), []byte("\n"))
	if err := json.Unmarshal(first, &line); err != nil {
		t.Fatal(err)
	}
	if line.Host != hostA || line.Cluster != "hades" || line.Down != 5 || line.Reason != "closed" || time.Since(line.TS) > time.Minute || !line.Client.IsValid() {
		t.Errorf("%+v", line)
	}
}

// The output blocks: connections are not delayed, what does not fit is counted, and all
// that was kept is written in few calls.
func TestSlowOutputOfTheAccessLog(t *testing.T) {
	release := make(chan struct{})
	var out locked
	slow := writer(func(p []byte) (int, error) { <-release; return out.Write(p) })
	a := newAccessLog(logr.Discard(), slow)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	const lines = 3 * maxAccessRecords
	for range lines {
		a.put(record)
	}
	if a.droppedLines() == 0 {
		t.Error("no line was dropped")
	}
	close(release)
	stop()
	running.Wait()
	if n := uint64(bytes.Count(out.Bytes(), []byte("\n"))); n+a.droppedLines() != lines || out.writes > 4 {
		t.Errorf("%d lines in %d writes, %d dropped; want %d", n, out.writes, a.droppedLines(), lines)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// BenchmarkAccessLog measures a line: what the loop does, and all of it.
func BenchmarkAccessLog(b *testing.B) {
	b.Run("loop", func(b *testing.B) {
		a := newAccessLog(logr.Discard(), io.Discard)
		b.ReportAllocs()
		for b.Loop() {
			if a.put(record); a.waiting == len(a.ring) {
				a.waiting = 0
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		a := newAccessLog(logr.Discard(), io.Discard)
		b.ReportAllocs()
		for b.Loop() {
			if a.put(record); a.waiting == len(a.ring) {
				a.flush()
			}
		}
		a.flush()
	})
	b.Run("logr", func(b *testing.B) {
		a := newAccessLog(funcr.New(func(string, string) {}, funcr.Options{}), nil)
		b.ReportAllocs()
		for b.Loop() {
			a.put(record)
			a.flush()
		}
	})
}
