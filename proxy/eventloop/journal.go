package eventloop

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// Bounds on what strangers can make the log grow by, in lines a second and in
// lines at once; and on how many wait to be written. Refusals take no more than
// half of these places, so that a flood of them leaves room for the others.
const (
	refusalRate, refusalBurst             = 10, 50
	loggedRefusalRate, loggedRefusalBurst = 200, maxQueuedLines / 2 // in the access log
	failureRate, failureBurst             = 1, 10
	maxQueuedLines                        = 1024
)

// logQueue writes log lines for the loops, which must not wait for a slow log:
// lines that do not fit are dropped and counted.
type logQueue struct {
	log       logr.Logger
	accessLog bool
	refused   bool // the access log has a line for each refusal
	refusals  *rate.Limiter
	failures  *rate.Limiter
	lines     chan func()
	dropped   atomic.Uint64
}

func newLogQueue(log logr.Logger, accessLog, refused bool) *logQueue {
	refusals := rate.NewLimiter(refusalRate, refusalBurst)
	if refused {
		refusals = rate.NewLimiter(loggedRefusalRate, loggedRefusalBurst)
	}
	return &logQueue{
		log:       log,
		accessLog: accessLog,
		refused:   refused,
		refusals:  refusals,
		failures:  rate.NewLimiter(failureRate, failureBurst),
		lines:     make(chan func(), maxQueuedLines),
	}
}

// run writes lines until ctx ends, and those that wait then.
func (j *logQueue) run(ctx context.Context) {
	for {
		select {
		case line := <-j.lines:
			line()
		case <-ctx.Done():
			j.flush()
			return
		}
	}
}

func (j *logQueue) flush() {
	for {
		select {
		case line := <-j.lines:
			line()
		default:
			return
		}
	}
}

func (j *logQueue) add(line func()) {
	select {
	case j.lines <- line:
	default:
		j.dropped.Add(1)
	}
}

// logRefused notes that a client was told no. host is empty where it is not known,
// and canonical where it is: nothing that a stranger wrote gets into the log. because
// is what the route of a refused host says, or empty.
func (j *logQueue) logRefused(client netip.AddrPort, host, reason, because string) {
	if !j.refused && !j.log.V(1).Enabled() {
		return
	}
	if len(j.lines) >= maxQueuedLines/2 || !j.refusals.Allow() {
		if j.refused {
			j.dropped.Add(1)
		}
		return
	}
	log := j.log
	if !j.refused {
		log = log.V(1)
	}
	// The order is documented: tools read the line by an expression.
	values := []any{"client", client, "host", host, "reason", reason}
	if because != "" {
		values = append(values, "because", because)
	}
	j.add(func() { log.Info("Connection refused", values...) })
}

// logLimited notes a client that there was no room for.
func (j *logQueue) logLimited(peer netip.AddrPort) {
	if j.refused {
		j.logRefused(peer, "", tooManyConnections.String(), "")
		return
	}
	if !j.failures.Allow() {
		return
	}
	j.add(func() {
		j.log.Info("Connection refused", "client", peer, "host", "", "reason", tooManyConnections.String())
	})
}

// logDialFailed notes an address or name of a backend that was no use.
func (j *logQueue) logDialFailed(c *conn, address string, err error) {
	if !j.failures.Allow() {
		return
	}
	host, cluster := c.opening.host, c.traffic.cluster
	j.add(func() {
		j.log.Info("Backend cannot be dialled", "host", host, "cluster", cluster, "address", address, "reason", err.Error())
	})
}

// logAcceptFailed notes that connections wait because something has run out.
func (j *logQueue) logAcceptFailed(err unix.Errno) {
	if !j.failures.Allow() {
		return
	}
	j.add(func() { j.log.Error(err, "Cannot accept connections") })
}

// logClosed writes the access log.
func (j *logQueue) logClosed(c *conn, why ending) {
	if !j.accessLog {
		return
	}
	values := []any{
		"client", c.client, "host", c.route.Host, "cluster", c.traffic.cluster,
		"up", c.up.moved, "down", c.down.moved,
		"seconds", time.Duration(c.loop.now - c.accepted).Seconds(), "reason", why.String(),
	}
	j.add(func() { j.log.Info("Connection closed", values...) })
}
