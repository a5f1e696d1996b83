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
// lines at once; and on how many wait to be written.
const (
	refusalRate, refusalBurst = 10, 50
	failureRate, failureBurst = 1, 10
	waitingLines              = 1024
)

// journal writes log lines for the loops, which must not wait for a slow log:
// lines that do not fit are dropped and counted.
type journal struct {
	log       logr.Logger
	accessLog bool
	refusals  *rate.Limiter
	failures  *rate.Limiter
	lines     chan func()
	dropped   atomic.Uint64
}

func newJournal(log logr.Logger, accessLog bool) *journal {
	return &journal{
		log:       log,
		accessLog: accessLog,
		refusals:  rate.NewLimiter(refusalRate, refusalBurst),
		failures:  rate.NewLimiter(failureRate, failureBurst),
		lines:     make(chan func(), waitingLines),
	}
}

// run writes lines until ctx ends, and those that wait then.
func (j *journal) run(ctx context.Context) {
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

func (j *journal) flush() {
	for {
		select {
		case line := <-j.lines:
			line()
		default:
			return
		}
	}
}

func (j *journal) add(line func()) {
	select {
	case j.lines <- line:
	default:
		j.dropped.Add(1)
	}
}

// refused notes that a client was told no.
func (j *journal) refused(c *conn, why refusal) {
	if !j.log.V(1).Enabled() || !j.refusals.Allow() {
		return
	}
	peer, host := c.client, c.opening.host
	j.add(func() { j.log.V(1).Info("Connection refused", "client", peer, "host", host, "reason", why.String()) })
}

// limited notes a client that there was no room for.
func (j *journal) limited(peer netip.AddrPort) {
	if !j.failures.Allow() {
		return
	}
	j.add(func() {
		j.log.Info("Connection refused", "client", peer, "reason", tooManyConnections.String())
	})
}

// dialFailed notes an address or name of a backend that was no use.
func (j *journal) dialFailed(c *conn, address string, err error) {
	if !j.failures.Allow() {
		return
	}
	host, cluster := c.opening.host, c.traffic.cluster
	j.add(func() {
		j.log.Info("Backend cannot be dialled", "host", host, "cluster", cluster, "address", address, "reason", err.Error())
	})
}

// acceptFailed notes that connections wait because something has run out.
func (j *journal) acceptFailed(err unix.Errno) {
	if !j.failures.Allow() {
		return
	}
	j.add(func() { j.log.Error(err, "Cannot accept connections") })
}

// closed writes the access log.
func (j *journal) closed(c *conn, why ending) {
	if !j.accessLog {
		return
	}
	values := []any{
		"client", c.client, "host", c.route.Host, "cluster", c.traffic.cluster,
		"up", c.up.moved, "down", c.down.moved,
		"seconds", time.Duration(c.loop.now - c.began).Seconds(), "reason", why.String(),
	}
	j.add(func() { j.log.Info("Connection closed", values...) })
}
