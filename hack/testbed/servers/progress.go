package servers

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

const (
	heartbeat = 15 * time.Second // interval of the reports of a build
	barWidth  = 20               // characters
)

// A plan is what one call of Build builds, and how far it is.
type plan struct {
	out   io.Writer
	total time.Duration // expected for all targets
	done  time.Duration // expected for the finished ones
}

// newPlan announces the targets and the time that they take.
func newPlan(out io.Writer, targets []target) *plan {
	p := &plan{out: out}
	var parts []string
	for _, t := range targets {
		p.total += t.takes
		part := t.name
		if t.takes >= 30*time.Second {
			part += " (" + minutes(t.takes) + ")"
		}
		parts = append(parts, part)
	}
	if p.total >= time.Minute {
		fmt.Fprintf(out, "testbed: building %s: about %s on two idle cores, once; later runs use the cache\n", strings.Join(parts, ", "), minutes(p.total))
	}
	return p
}

// minutes formats a duration in minutes, rounded to halves.
func minutes(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Round(30*time.Second).Minutes()), ".0") + " min"
}

// run builds one target, and reports its start, its progress and its result.
func (p *plan) run(t target, work func(*packages) error) error {
	var compiled packages
	start := time.Now()
	p.report(t, &compiled, "building")
	done := make(chan error, 1)
	go func() { done <- work(&compiled) }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				p.report(t, &compiled, "failed after "+since(start))
				return err
			}
			p.done += t.takes
			p.report(t, nil, "ready after "+since(start))
			return nil
		case <-beat.C:
			p.report(t, &compiled, compiled.String()+since(start))
		}
	}
}

func since(start time.Time) string { return time.Since(start).Round(100 * time.Millisecond).String() }

// report writes one line with a bar of the whole plan. The packages are those of a target that is
// being built.
func (p *plan) report(t target, of *packages, what string) {
	share := 1.0
	if p.total > 0 {
		share = (float64(p.done) + float64(t.takes)*of.share()) / float64(p.total)
	}
	full := int(share * barWidth)
	fmt.Fprintf(p.out, "testbed [%s%s] %3.0f%% %s: %s\n", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), share*100, t.name, what)
}

// packages counts the packages that a build has compiled. It is the standard error of `go build -v`,
// which writes a line with the import path of each.
type packages struct {
	stale, built atomic.Int64
	messages     bytes.Buffer // lines that are not import paths
	rest         []byte       // an incomplete line
}

func (p *packages) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, found := bytes.Cut(p.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		if bytes.ContainsAny(line, " :\t") {
			p.messages.Write(append(line, '\n'))
		} else {
			p.built.Add(1)
		}
		p.rest = bytes.Clone(rest)
	}
}

// share returns the compiled share of the packages, from 0 to 1; 0 without any.
func (p *packages) share() float64 {
	if p == nil || p.stale.Load() == 0 {
		return 0
	}
	return min(1, float64(p.built.Load())/float64(p.stale.Load()))
}

func (p *packages) String() string {
	if p.stale.Load() == 0 {
		return ""
	}
	if p.share() == 1 {
		return "linking, "
	}
	return fmt.Sprintf("%d of %d packages, ", p.built.Load(), p.stale.Load())
}
