package eventloop

import (
	"context"
	"io"
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxAccessRecords is how many lines of the access log may wait to be written. With
	// 20,000 connections a second that is 400 ms.
	maxAccessRecords = 8192

	// accessDelay is how long the first line of a batch waits for others.
	accessDelay = 50 * time.Millisecond

	// accessMessage is the message of each line.
	accessMessage = "Connection closed"
)

// accessLog writes a line for each connection that has ended. The loops only copy the
// facts of a connection into a ring; a goroutine of its own writes the lines, many in one
// system call. If the ring is full, lines are dropped and counted. A nil accessLog ignores
// everything.
type accessLog struct {
	log    logr.Logger
	output io.Writer     // of JSON lines; nil: log gets them
	wake   chan struct{} // holds one value after the ring was empty
	full   chan struct{} // holds one value after the ring was half full

	mu      sync.Mutex
	ring    []accessRecord // maxAccessRecords
	waiting int            // of them
	dropped uint64

	batch  []accessRecord // the writer's own
	buffer []byte         // the writer's own
}

// accessRecord is a line of the access log.
type accessRecord struct {
	at       time.Time
	client   netip.AddrPort
	host     string
	cluster  string
	port     string // empty for routing.PortHTTPS
	up, down uint64 // bytes
	lasted   time.Duration
	why      ending
}

func newAccessLog(log logr.Logger, output io.Writer) *accessLog {
	return &accessLog{
		log: log, output: output,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		ring: make([]accessRecord, maxAccessRecords), batch: make([]accessRecord, maxAccessRecords),
	}
}

// add adds the line of a connection that has ended.
func (a *accessLog) add(c *conn, why ending) {
	if a == nil {
		return
	}
	port := c.loop.ports[c.port]
	if port == routing.PortHTTPS {
		port = ""
	}
	a.put(accessRecord{
		at: time.Now(), client: c.client, host: c.route.Host, cluster: c.traffic.cluster, port: port,
		up: c.up.moved, down: c.down.moved, lasted: time.Duration(c.loop.now - c.accepted), why: why,
	})
}

func (a *accessLog) put(r accessRecord) {
	a.mu.Lock()
	n := a.waiting
	if n < len(a.ring) {
		a.ring[n] = r
		a.waiting++
	} else {
		a.dropped++
	}
	a.mu.Unlock()
	switch n {
	case 0:
		notify(a.wake)
	case maxAccessRecords / 2:
		notify(a.full)
	}
}

func notify(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

func (a *accessLog) droppedLines() uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dropped
}

// run writes lines until ctx ends, and then those in the ring.
func (a *accessLog) run(ctx context.Context) {
	if a == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			a.flush()
			return
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
		case <-a.full:
		case <-time.After(accessDelay):
		}
		a.flush()
	}
}

// flush writes the lines in the ring.
func (a *accessLog) flush() {
	a.mu.Lock()
	a.ring, a.batch = a.batch, a.ring
	records := a.batch[:a.waiting]
	a.waiting = 0
	a.mu.Unlock()
	if len(records) == 0 {
		return
	}
	if a.output == nil {
		for i := range records {
			a.log.Info(accessMessage, records[i].values()...)
		}
	} else {
		a.buffer = a.buffer[:0]
		for i := range records {
			a.buffer = records[i].appendJSON(a.buffer)
		}
		_, _ = a.output.Write(a.buffer) // like every log line
	}
	clear(records) // the strings belong to routes that may be gone
}

// values returns the keys and values of the line. Their names and order are documented.
func (r *accessRecord) values() []any {
	return withPort([]any{
		"client", r.client, "host", r.host, "cluster", r.cluster,
		"up", r.up, "down", r.down, "seconds", r.lasted.Seconds(), "reason", r.why.String(),
	}, r.port)
}

// appendJSON appends the line as JSON, as the logger of usher writes it. Clients cannot
// choose any of the strings, and all but the address consist of characters that JSON does
// not escape: hosts and names of clusters and ports are DNS names.
func (r *accessRecord) appendJSON(b []byte) []byte {
	b = append(b, `{"level":"info","ts":"`...)
	b = r.at.AppendFormat(b, time.RFC3339)
	b = append(b, `","logger":"proxy","msg":"`+accessMessage+`","client":"`...)
	b = r.client.AppendTo(b)
	b = append(b, `","host":"`...)
	b = append(b, r.host...)
	b = append(b, `","cluster":"`...)
	b = append(b, r.cluster...)
	b = append(b, `","up":`...)
	b = strconv.AppendUint(b, r.up, 10)
	b = append(b, `,"down":`...)
	b = strconv.AppendUint(b, r.down, 10)
	b = append(b, `,"seconds":`...)
	b = strconv.AppendFloat(b, math.Round(r.lasted.Seconds()*1e6)/1e6, 'f', -1, 64)
	b = append(b, `,"reason":"`...)
	b = append(b, r.why.String()...)
	if r.port != "" {
		b = append(b, `","port":"`...)
		b = append(b, r.port...)
	}
	return append(b, "\"}\n"...)
}
