package eventloop

import (
	"context"
	"net/netip"
	"sync/atomic"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/routing"
)

// Bounds on the log lines that clients can cause, in lines a second and in lines at
// once, and on the lines that wait to be written. Refusals use at most half of the
// queue, so that a flood of them leaves room for other lines.
const (
	refusalRate, refusalBurst             = 10, 50
	loggedRefusalRate, loggedRefusalBurst = 200, maxQueuedLines / 2 // in the access log
	failureRate, failureBurst             = 1, 10
	maxQueuedLines                        = 1024
)

// logQueue writes log lines for the loops, which must not wait for a slow log. If the
// queue is full, lines are dropped and counted.
type logQueue struct {
	log      logr.Logger
	refused  bool // AccessLogRefused
	refusals *rate.Limiter
	failures *rate.Limiter
	lines    chan func()
	dropped  atomic.Uint64
}

func newLogQueue(log logr.Logger, refused bool) *logQueue {
	refusals := rate.NewLimiter(refusalRate, refusalBurst)
	if refused {
		refusals = rate.NewLimiter(loggedRefusalRate, loggedRefusalBurst)
	}
	return &logQueue{
		log:      log,
		refused:  refused,
		refusals: refusals,
		failures: rate.NewLimiter(failureRate, failureBurst),
		lines:    make(chan func(), maxQueuedLines),
	}
}

// run writes lines until ctx ends, and then those in the queue.
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

// logRefused logs a refused client. host is empty or canonical, so that no other input
// of a client gets into the log. routeRefusal is why the host's route refuses it, or
// empty. port is the name of the TLS port, or empty.
func (j *logQueue) logRefused(client netip.AddrPort, host, reason, routeRefusal, port string) {
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
	// The order is documented, because tools parse the line by a regular expression.
	values := []any{"client", client, "host", host, "reason", reason}
	if routeRefusal != "" {
		values = append(values, "because", routeRefusal)
	}
	values = withPort(values, port)
	j.add(func() { log.Info("Connection refused", values...) })
}

// logLimited logs a client that was refused because too many connections are open.
func (j *logQueue) logLimited(peer netip.AddrPort, port string) {
	if j.refused {
		j.logRefused(peer, "", tooManyConnections.String(), "", port)
		return
	}
	if !j.failures.Allow() {
		return
	}
	values := withPort([]any{"client", peer, "host", "", "reason", tooManyConnections.String()}, port)
	j.add(func() { j.log.Info("Connection refused", values...) })
}

// withPort appends the name of a TLS port to the values of a log line, if it is not the
// default one.
func withPort(values []any, port string) []any {
	if port == "" || port == routing.PortHTTPS {
		return values
	}
	return append(values, "port", port)
}

// logDialFailed logs a failed dial or lookup.
func (j *logQueue) logDialFailed(c *conn, t target, err error) {
	if !j.failures.Allow() {
		return
	}
	host, cluster, address := c.opening.host, t.backend.Cluster, t.String()
	j.add(func() {
		j.log.Info("Backend cannot be dialled", "host", host, "cluster", cluster, "address", address, "reason", err.Error())
	})
}

// logAcceptFailed logs an accept error, such as a lack of descriptors.
func (j *logQueue) logAcceptFailed(err unix.Errno) {
	if !j.failures.Allow() {
		return
	}
	j.add(func() { j.log.Error(err, "Cannot accept connections") })
}
