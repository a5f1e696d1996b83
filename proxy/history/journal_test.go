package history

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// The environment variables with which a test runs the test binary for another purpose.
const (
	envWriter   = "USHER_TEST_HISTORY_WRITER" // write a journal into this directory until killed
	envFullDisk = "USHER_TEST_FULL_DISK"      // this process may mount a file system
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envWriter); dir != "" {
		writeForever(dir)
	}
	os.Exit(m.Run())
}

// running is a journal that runs.
type running struct {
	*Journal
	t     *testing.T
	table *routing.Live
	stop  func()
}

func options(dir string) Options {
	return Options{Dir: dir, Age: time.Hour, Size: 1 << 20, Table: &routing.Live{}, Log: logr.Discard()}
}

// run runs a journal for a table that has the routes at the start.
func run(t *testing.T, o Options, routes ...routing.Route) *running {
	t.Helper()
	j := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	o.Table.Store(routing.NewTable(routes))
	var group sync.WaitGroup
	filled := make(chan struct{})
	close(filled)
	group.Go(func() { j.Run(ctx, filled) })
	r := &running{Journal: j, t: t, table: o.Table, stop: sync.OnceFunc(func() { cancel(); group.Wait() })}
	t.Cleanup(r.stop)
	return r
}

func (r *running) with(route routing.Route) { r.table.Store(r.table.Load().With(route)) }
func (r *running) withoutA()                { r.table.Store(r.table.Load().Without("a.is")) }

// await waits until the answer to the query has these events, and returns it.
func (r *running) await(q Query, events string) Answer {
	r.t.Helper()
	var a Answer
	testkit.Eventually(r.t, "the journal should have "+events, func() error {
		var err error
		if a, err = r.Answer(q); err == nil && eventsOf(a) != events {
			err = fmt.Errorf("it has %s", eventsOf(a))
		}
		return err
	})
	return a
}

func eventsOf(a Answer) string {
	var events []string
	for _, l := range a.Changes {
		events = append(events, string(l.Event))
	}
	return strings.Join(events, " ")
}

func routeTo(host, cluster, address string) routing.Route {
	return routing.Route{
		Host: host, Backends: []routing.Backend{{Cluster: cluster, Addresses: []string{address}, HTTPSPort: 443}},
		Source: &routing.Source{Cluster: cluster, Kind: "IngressRoute", Namespace: "default", Name: "app"},
	}
}

func TestChanges(t *testing.T) {
	for name, dir := range map[string]string{"disk": t.TempDir(), "memory": ""} {
		t.Run(name, func(t *testing.T) {
			r := run(t, options(dir))
			r.await(Query{}, "started")
			r.with(routeTo("a.is", "hades", "192.0.2.1"))
			for range 3 {
				r.table.Load().Own("a.is").Reached.Connections.Add(1)
			}
			r.with(routing.Route{Host: "refused.is", Refusal: "AllowedDomains"})
			r.await(Query{}, "started exposed")
			middle := time.Now()
			r.with(routeTo("a.is", "hades", "192.0.2.2"))
			r.with(routeTo("a.is", "illmatic", "192.0.2.3"))
			r.with(routing.Route{Host: "a.is", Refusal: "Conflict"})
			a := r.await(Query{Host: "a.is"}, "started exposed changed moved withdrawn")
			last := a.Changes[4]
			if last.Reason != "Conflict" || last.Connections != 3 || last.By.String() != "IngressRoute default/app of illmatic" {
				t.Errorf("%+v", last)
			}
			if len(a.Periods) != 3 || a.Periods[0].To == nil || a.Periods[0].Clusters[0] != "hades" || a.Periods[2].Connections != 3 {
				t.Errorf("%+v", a.Periods)
			}
			then, err := r.Answer(Query{At: middle})
			if err != nil || len(then.Periods) != 1 || then.Periods[0].Backends[0] != "192.0.2.1:443" {
				t.Errorf("at that time: %+v, %v", then, err)
			}
			if now, _ := r.Answer(Query{At: time.Now()}); len(now.Periods) != 0 {
				t.Errorf("now: %+v", now.Periods)
			}
		})
	}
}

// A host is public for a moment only, and its source is known only later.
func TestBriefExposureIsRecorded(t *testing.T) {
	r := run(t, options(t.TempDir()))
	route := routeTo("a.is", "hades", "192.0.2.1")
	unknown := route
	unknown.Source = nil
	r.with(unknown)
	r.with(route)
	r.withoutA()
	a := r.await(Query{Host: "a.is"}, "started exposed withdrawn")
	if a.Changes[1].By == nil || a.Changes[1].By.Cluster != "hades" {
		t.Errorf("%+v", a.Changes[1])
	}
}

// What changed while usher did not run is recorded as such, and counts continue.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	a, b := routeTo("a.is", "hades", "192.0.2.1"), routeTo("b.is", "hades", "192.0.2.1")
	first := run(t, options(dir), a, b)
	first.await(Query{}, "started exposed exposed") //nolint:dupword // of two hosts
	first.table.Load().Own("a.is").Reached.Connections.Add(5)
	first.table.Store(routing.NewTable([]routing.Route{a, b})) // all routes are made again
	first.table.Load().Own("a.is").Reached.Connections.Add(2)
	first.stop()

	second := run(t, options(dir), a, routeTo("c.is", "hades", "192.0.2.1"))
	answer := second.await(Query{}, "started exposed exposed stopped started withdrawn exposed") //nolint:dupword // of two hosts
	if b := answer.Changes[5]; b.Host != "b.is" || !b.Away {
		t.Errorf("%+v", b)
	}
	if c := answer.Changes[6]; c.Host != "c.is" || !c.Away {
		t.Errorf("%+v", c)
	}
	second.table.Load().Own("a.is").Reached.Connections.Add(1)
	second.withoutA()
	answer = second.await(Query{Host: "a.is"}, "started exposed stopped started withdrawn")
	if last := answer.Changes[4]; last.Connections != 8 || last.Since == nil || last.Away {
		t.Errorf("%+v", last)
	}
}

// A hostile member exposes and withdraws its host all the time: its changes are counted
// instead of recorded, those of others are recorded, and in the end the journal is right.
func TestFloodOfOneCluster(t *testing.T) {
	o := options(t.TempDir())
	j := New(o)
	testkit.Must(t, j.start())
	j.burst = 10
	o.Table.Store(routing.NewTable(nil))
	step := func(route routing.Route) {
		o.Table.Store(o.Table.Load().With(route))
		j.step()
	}
	for i := range 100 {
		step(routeTo("x.is", "evil", fmt.Sprintf("192.0.2.%d", i)))
	}
	step(routeTo("a.is", "hades", "192.0.2.1"))
	a, err := j.Answer(Query{})
	if err != nil || len(a.Changes) != 11 || a.Changes[10].Host != "a.is" {
		t.Fatalf("%d changes, %v", len(a.Changes), err)
	}
	j.report()
	if a, _ = j.Answer(Query{}); len(a.Changes) != 11 {
		t.Errorf("%d changes are reported beyond the limit", len(a.Changes)-11)
	}
	delete(j.limits, "evil") // a day later
	j.report()
	a, _ = j.Answer(Query{})
	if got := eventsOf(Answer{Changes: a.Changes[11:]}); got != "dropped changed" || a.Changes[11].Count != 90 || a.Changes[12].Backends[0] != "192.0.2.99:443" {
		t.Errorf("%s: %+v", got, a.Changes[11:])
	}
	j.store.close()
}

func TestBoundedSize(t *testing.T) {
	o := options(t.TempDir())
	o.Size = 64 << 10
	j := New(o)
	testkit.Must(t, j.start())
	o.Table.Store(routing.NewTable(nil))
	o.Table.Store(routing.NewTable([]routing.Route{routeTo("a.is", "hades", "192.0.2.1")}))
	for i := range 600 {
		o.Table.Store(o.Table.Load().With(routeTo("b.is", "hades", fmt.Sprintf("192.0.2.%d", i%200))))
		j.step()
	}
	total := int64(0)
	for _, name := range filesIn(o.Dir) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > o.Size+o.Size/files {
		t.Errorf("the journal has %d bytes", total)
	}
	a, err := j.Answer(Query{Host: "a.is"})
	if err != nil || len(a.Periods) != 1 || a.Periods[0].To != nil || !a.Periods[0].From.Before(a.From) {
		t.Errorf("a.is, of which the line is gone: %+v, %v", a, err)
	}
	j.store.age = -time.Hour
	j.store.expire(time.Now())
	if names := filesIn(o.Dir); len(names) != 1 {
		t.Errorf("there are %v", names)
	}
	j.store.close()
}

// A write was interrupted, and a line in the middle is damaged.
func TestTornAndDamagedLines(t *testing.T) {
	dir := t.TempDir()
	first := run(t, options(dir), routeTo("a.is", "hades", "192.0.2.1"))
	first.await(Query{}, "started exposed")
	first.stop()
	name := filesIn(dir)[0]
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text = append([]byte("\x00\xff{\n"+strings.Repeat("x", 2*maxLine)+"\n"), text...)
	if err := os.WriteFile(name, append(text, `{"time":"2026-`...), 0o600); err != nil {
		t.Fatal(err)
	}
	second := run(t, options(dir), routeTo("a.is", "hades", "192.0.2.1"))
	second.await(Query{}, "started exposed stopped started")
	second.withoutA()
	second.await(Query{}, "started exposed stopped started withdrawn")
}

// writeForever records changes as fast as it can, and prints a byte after each.
func writeForever(dir string) {
	o := options(dir)
	o.Size = 256 << 10
	j := New(o)
	if err := j.start(); err != nil {
		panic(err)
	}
	o.Table.Store(routing.NewTable(nil))
	for i := len(j.public); ; i++ {
		o.Table.Store(o.Table.Load().With(routeTo(fmt.Sprintf("h%d.is", i), "hades", "192.0.2.1")))
		j.step()
		fmt.Print("!")
	}
}

// Each change that was written is there after a kill at any moment, and nothing else is.
func TestAKillAtAnyMomentLosesNoLine(t *testing.T) {
	dir := t.TempDir()
	written := 0
	for range 15 {
		written += killWriter(t, dir)
		a, err := Read(dir, Query{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(a.Periods); n < written || n > written+1 {
			t.Fatalf("%d hosts are public, and %d were written", n, written)
		}
		written = len(a.Periods)
	}
}

// killWriter starts a writer, kills it while it writes, and returns how many changes it
// has written.
func killWriter(t *testing.T, dir string) int {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), envWriter+"="+dir)
	writer.Stderr = os.Stderr
	stdout, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatalf("the writer: %v", err)
	}
	time.Sleep(rand.N(50 * time.Millisecond)) // a random moment of a write
	if err := writer.Process.Kill(); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(stdout)
	if err != nil {
		t.Error(err)
	}
	_ = writer.Wait() // the error is that it was killed
	return 1 + len(rest)
}

// While the disk is full, the table changes without a delay; the lines are written later.
func TestAFullDisk(t *testing.T) {
	if os.Getenv(envFullDisk) == "" {
		testkit.InMountNamespace(t, envFullDisk)
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	o := options(dir)
	j := New(o)
	testkit.Must(t, j.start())
	o.Table.Store(routing.NewTable(nil))
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	for i := range 50 {
		o.Table.Store(o.Table.Load().With(routeTo(fmt.Sprintf("h%d.is", i), "hades", "192.0.2.1")))
		j.step()
	}
	if !j.failing {
		t.Error("the writes did not fail")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	j.step()
	if a, err := Read(dir, Query{}); err != nil || len(a.Periods) != 50 || len(a.Changes) != 50 {
		t.Errorf("%d hosts are public by %d lines, %v", len(a.Periods), len(a.Changes), err)
	}
	j.store.close()
}

// A process drains while the next one of the service starts: the journal has the changes
// of both, one after the other.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	a := routeTo("a.is", "hades", "192.0.2.1")
	first := run(t, options(dir), a)
	first.await(Query{}, "started exposed")
	second := run(t, options(dir), a)
	second.with(routeTo("b.is", "hades", "192.0.2.1"))
	first.withoutA()
	first.await(Query{}, "started exposed withdrawn")
	first.stop()
	answer := second.await(Query{}, "started exposed withdrawn stopped started exposed exposed") //nolint:dupword // of two hosts
	if last := answer.Changes[6]; last.Host != "b.is" || last.Away {
		t.Errorf("%+v", last)
	}
}

// The answers of two processes are one: the longer one, with the connections of both.
func TestMerge(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 24, 10, minute, 0, 0, time.UTC) }
	until := func(minute int) *time.Time { return new(at(minute)) }
	long := Answer{From: at(0), Periods: []Period{
		{Host: "a.is", From: at(1), To: until(10), Connections: 1},
		{Host: "a.is", From: at(10), Connections: 10},
		{Host: "b.is", From: at(20), To: until(30), Connections: 100},
	}}
	late := Answer{From: at(9), Periods: []Period{
		{Host: "a.is", From: at(9), To: until(11), Connections: 2}, // noticed a minute later
		{Host: "a.is", From: at(11), Connections: 20},
		{Host: "b.is", From: at(21), To: until(30), Connections: 200},
		{Host: "c.is", From: at(15), To: until(16), Connections: 1000},
	}}
	merged := Merge([]Answer{late, long})
	var counts []uint64
	for _, p := range merged.Periods {
		counts = append(counts, p.Connections)
	}
	if !merged.From.Equal(at(0)) || fmt.Sprint(counts) != "[3 30 1000 300]" {
		t.Errorf("%+v", merged)
	}
}
