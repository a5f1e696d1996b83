package controllers_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/proxy/routing"
)

var (
	simSeed   = flag.Uint64("sim.seed", 0, "what the simulation draws its steps by; 0: another one each time")
	simRounds = flag.Int("sim.rounds", 100, "how many rounds of steps the simulation takes")
)

var followedWithin = flag.Duration("sim.bound", 15*time.Second, "how soon what an honest member or a person says must be served, whatever the hostile member does meanwhile; milliseconds on an idle machine")

const (
	// allWithin is how soon everything must be, what the hostile member says too.
	allWithin = 45 * time.Second
	keptLines = 60 // of what was done before a failure
)

// Members that are honest, one that is hostile, persons and faults act at random on
// the real reconcilers. At any moment each host is served as what was said a moment
// ago permits, and soon as what is said now demands: see world.
func TestSimulation(t *testing.T) {
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	s := startSimulation(t, seed)
	t.Logf("seed %d", seed)
	for s.round = range *simRounds {
		if err := s.play(s.draw()); err != nil {
			t.Fatalf("round %d of -sim.seed=%d: %v\nthe last that was done, as statements of a test:\n%s", s.round, seed, err, s.story())
		}
	}
	s.report()
}

// simulation drives all that acts on one usher.
type simulation struct {
	t       *testing.T
	random  *rand.Rand
	edge    client.Client
	world   *world
	members []*simMember
	table   *routing.Live
	stop    func() // ends the controllers
	round   int
	due     map[int][]step // round → what it has to begin with
	drawn   int            // numbers that were given away

	mu     sync.Mutex
	lines  []string // the last that was done
	took   []time.Duration
	before map[string]*routing.Route // host → its own route in the last table
	broken error                     // the first moment at which a host was not served as it must be
	swaps  int
}

// step is one thing that an actor does. It returns the names that it is about.
type step func() (names []string, err error)

// script is what the actors do in a round, all at the same time, and each its
// steps in order.
type script struct {
	honest, hostile [][]step
	down            bool // the controllers do not run meanwhile
}

func startSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), edge: edge(t), world: newWorld(), table: &routing.Live{},
		due: map[int][]step{}, before: map[string]*routing.Route{},
	}
	s.addMembers()
	s.start()
	t.Cleanup(func() { s.stop() })
	if err := s.play(script{honest: [][]step{s.settling()}}); err != nil {
		t.Fatalf("at the start: %v", err)
	}
	return s
}

func (s *simulation) start() {
	reconciler := &controllers.RouteReconciler{Table: s.table, Stored: s.stored}
	s.stop = runControllers(s.t, reconciler, quiet, controllers.OwnAddress(isOwn))
}

// stored looks at each table that comes into force.
func (s *simulation) stored() {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	table := s.table.Load()
	s.swaps++
	now := map[string]*routing.Route{}
	for route := range table.All() {
		now[route.Host] = route
	}
	changed := map[string]bool{}
	for host, route := range now {
		changed[host] = s.before[host] != route
	}
	for host := range s.before {
		changed[host] = changed[host] || now[host] == nil
	}
	s.before = now
	for host, is := range changed {
		if is {
			s.judge(table, host)
		}
	}
}

// judge looks whether a host, and what is under it, is served as it may be.
func (s *simulation) judge(table *routing.Table, host string) {
	names := []string{host}
	if parent, wildcard := strings.CutPrefix(host, "*."); wildcard {
		names = s.world.namesUnder(parent)
	}
	for _, name := range names {
		got := outcomeOf(table.Lookup(name))
		if s.broken == nil && !s.world.permits(name, got) {
			s.broken = fmt.Errorf("%s was %v: %s", name, got, s.world.explain(name))
		}
	}
}

// play has the actors do a script, and waits until all is as it should be.
func (s *simulation) play(script script) error {
	if script.down {
		s.do("stop()")
		s.stop()
		s.world.mu.Lock()
		s.world.restart(s.members)
		s.world.mu.Unlock()
	}
	var acting sync.WaitGroup
	var hostile, honest outcomes
	for _, steps := range script.hostile {
		acting.Go(func() { hostile.run(steps) })
	}
	for _, steps := range script.honest {
		honest.running.Go(func() { honest.run(steps) })
	}
	honest.running.Wait()
	if script.down {
		acting.Wait()
		s.do("stop = startControllers(t, table)")
		s.start()
	}
	began := time.Now()
	within := *followedWithin
	if script.down {
		within = allWithin
	}
	err := s.await(honest.names, within)
	s.took = append(s.took, time.Since(began))
	acting.Wait()
	if err == nil {
		err = s.await(nil, allWithin)
	}
	for _, e := range []error{honest.err, hostile.err, s.violation()} {
		if e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.settle()
	return nil
}

// outcomes gathers what came of several actors' steps.
type outcomes struct {
	running sync.WaitGroup
	mu      sync.Mutex
	names   []string
	err     error
}

func (o *outcomes) run(steps []step) {
	for _, step := range steps {
		names, err := step()
		o.mu.Lock()
		o.names = append(o.names, names...)
		if o.err == nil {
			o.err = err
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// violation returns what was wrong at any moment.
func (s *simulation) violation() error {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	return s.broken
}

// await waits until names are served as they should be; nil: all names.
func (s *simulation) await(names []string, within time.Duration) error {
	var wrong error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s.world.mu.Lock()
		if wrong = s.broken; wrong == nil {
			wrong = s.differs(names)
		}
		broken := s.broken
		s.world.mu.Unlock()
		if wrong == nil || broken != nil {
			return broken
		}
	}
	return fmt.Errorf("after %v %w", within, wrong)
}

// differs returns where the table is not as it should be.
func (s *simulation) differs(names []string) error {
	if names == nil {
		names = s.world.allNames()
	}
	table := s.table.Load()
	for _, name := range names {
		if got, want := outcomeOf(table.Lookup(name)), s.world.lookup(name); got != want {
			return fmt.Errorf("%s is %v, and not %v: %s%s", name, got, want, s.world.explain(name), s.recorded(name))
		}
	}
	return nil
}

// recorded is what the ExposedHosts say that count for a name.
func (s *simulation) recorded(name string) string {
	var said strings.Builder
	for _, host := range []string{name, wildcardOver(name)} {
		var eh v1alpha1.ExposedHost
		err := s.edge.Get(s.t.Context(), client.ObjectKey{Name: objectName(host)}, &eh)
		fmt.Fprintf(&said, "\n  ExposedHost %s: %v %v %+v %+v", host, err, eh.Labels, eh.Spec, eh.Status)
	}
	return said.String()
}

// do notes what is done, as a statement of a test.
func (s *simulation) do(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("// %3d %s\n", s.round, time.Now().Format("15:04:05.000"))+fmt.Sprintf(format, args...))
	s.lines = s.lines[max(0, len(s.lines)-keptLines):]
}

func (s *simulation) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// report says how fast what honest ones said was served.
func (s *simulation) report() {
	slices.Sort(s.took)
	at := func(part float64) time.Duration {
		return s.took[int(part*float64(len(s.took)-1))].Round(time.Millisecond)
	}
	s.t.Logf("%d rounds, %d tables; what honest members and persons said was served after %v (median), %v (p99), %v (longest)",
		len(s.took), s.swaps, at(0.5), at(0.99), at(1))
}
