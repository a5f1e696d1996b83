package controllers_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/proxy/routing"
)

var (
	simSeed   = flag.Uint64("sim.seed", 11, "seed of the simulation; 0: a random one")
	simRounds = flag.Int("sim.rounds", 15, "number of rounds of the simulation; 0: it is skipped")
	simBound  = flag.Duration("sim.bound", 30*time.Second, "how soon usher must follow a change of an honest member or a person: milliseconds on an idle machine")
)

// allWithin is how soon usher must follow all changes, those of the hostile member too.
func allWithin() time.Duration { return 3 * *simBound }

// inFlight is how long a decision that rests on a former state may take until the
// table shows it.
func inFlight() time.Duration { return *simBound / 3 }

// simGrace is the hand-over grace: much longer than it takes to replace an object, and
// to read it.
func simGrace() time.Duration { return *simBound / 2 }

const (
	simClock  = "15:04:05.000"
	simLines  = 120 // of the log that a failure prints
	simRoutes = 8   // of a host, that it prints
)

// Honest members, a hostile one and persons make random changes, and faults come
// between. Each table that comes into force serves each host as some state of a moment
// ago permits. At the end of each round the table is as the current state demands. The
// oracle says what that is.
//
// A seed makes the same changes each time; their interleaving with usher's work differs.
// make simulation runs more rounds, with a random seed.
func TestSimulation(t *testing.T) {
	if *simRounds == 0 {
		t.Skip("-sim.rounds is 0")
	}
	seed := *simSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("-sim.seed=%d", seed)
	s := startSimulation(t, seed)
	for s.number = range *simRounds {
		began := time.Now()
		err := s.run(s.draw())
		if took := time.Since(began); took > 5*time.Second {
			t.Logf("round %d took %v", s.number, took)
		}
		if err != nil {
			t.Fatalf("round %d of -sim.seed=%d: %v\nthe last changes, as statements of a test:\n%s", s.number, seed, err, s.story())
		}
	}
	s.report()
}

// simulation is one usher, and all that acts on it.
type simulation struct {
	t       *testing.T
	random  *rand.Rand
	edge    client.Client
	world   *world
	members []*simMember
	table   *routing.Live
	stop    func()         // ends the controllers
	number  int            // of the round
	due     map[int][]step // round → the steps that it begins with
	given   int            // addresses

	before  map[string]*routing.Route // host → its own route in the last table
	history map[string][]string       // host → its last routes
	tables  int
	wrong   error // what was first wrong in any table

	mu    sync.Mutex
	lines []string // the log
	took  []time.Duration
}

// step is one change. It returns the hosts that an honest actor waits for.
type step func() (hosts []string, err error)

// round is what all actors do at the same time, each its steps in order.
type round struct {
	honest  [][]step
	hostile []step
	down    bool // the controllers do not run meanwhile
}

func startSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	s := &simulation{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), edge: edge(t), world: newWorld(), table: &routing.Live{},
		due: map[int][]step{}, before: map[string]*routing.Route{}, history: map[string][]string{},
	}
	s.addMembers()
	s.start()
	t.Cleanup(func() { s.stop() })
	if err := s.run(round{honest: [][]step{s.putMarkers()}}); err != nil {
		t.Fatalf("at the start: %v", err)
	}
	return s
}

func (s *simulation) start() {
	reconciler := &controllers.RouteReconciler{Table: s.table, Stored: s.checkTable}
	s.stop = runControllers(s.t, reconciler, logr.Discard(), controllers.OwnAddress(isOwn), controllers.Limits(simLimits), controllers.HandoverGrace(simGrace()))
}

// run has the actors do a round, and waits until usher has followed it.
func (s *simulation) run(r round) error {
	if r.down {
		s.log("stop()")
		s.stop()
		s.world.mu.Lock()
		s.world.restart(s.table.Load())
		for _, m := range s.members {
			m.read = nil
		}
		s.resolve()
		s.world.mu.Unlock()
	}
	var honest, hostile actors
	hostile.run(r.hostile)
	for _, steps := range r.honest {
		honest.run(steps)
	}
	honest.running.Wait()
	within := *simBound
	if r.down {
		hostile.running.Wait()
		s.log("stop = startControllers(t, table)")
		s.start()
		within = allWithin()
	}
	began := time.Now()
	err := s.await(honest.hosts, within)
	s.took = append(s.took, time.Since(began))
	hostile.running.Wait()
	if err := errors.Join(honest.err, hostile.err, err); err != nil {
		return err
	}
	s.world.mu.Lock()
	all := s.world.hosts()
	s.world.mu.Unlock()
	if err := s.await(all, allWithin()); err != nil {
		return err
	}
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	s.world.settle(s.table.Load())
	return nil
}

// actors are those that act at the same time.
type actors struct {
	running sync.WaitGroup
	mu      sync.Mutex
	hosts   []string
	err     error
}

// run begins the steps of an actor.
func (a *actors) run(steps []step) {
	a.running.Go(func() {
		for _, step := range steps {
			hosts, err := step()
			a.mu.Lock()
			a.hosts, a.err = append(a.hosts, hosts...), errors.Join(a.err, err)
			a.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
}

// checkTable checks each table that comes into force, where it differs from the one before.
func (s *simulation) checkTable() {
	w, table := s.world, s.table.Load()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.tables++
	now := map[string]*routing.Route{}
	for route := range table.All() {
		now[route.Host] = route
	}
	hosts := w.hosts()
	for host := range now {
		if _, named := slices.BinarySearch(hosts, host); !named {
			hosts = append(hosts, host)
		}
	}
	for _, host := range hosts {
		wildcard := wildcardOver(host)
		if now[host] == s.before[host] && (now[host] != nil || now[wildcard] == s.before[wildcard]) {
			continue
		}
		h := slices.Concat(s.history[host], []string{fmt.Sprintf("%s %+v", time.Now().Format(simClock), now[host])})
		s.history[host] = h[max(0, len(h)-simRoutes):]
		if err := w.check(host, table, true); err != nil && s.wrong == nil {
			s.wrong = s.describe(host, err)
		}
		w.noteServed(host, now[host])
	}
	s.before = now
}

// await waits until hosts are served as they must be.
func (s *simulation) await(hosts []string, within time.Duration) error {
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		late := time.Now().After(deadline)
		done, err := s.checkHosts(hosts, late)
		if done || err != nil {
			return err
		}
	}
}

// checkHosts reports whether hosts are served as they must be. That they are not is an
// error when it is late, and what was wrong in any table always.
func (s *simulation) checkHosts(hosts []string, late bool) (done bool, err error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	if s.wrong != nil {
		return false, s.wrong
	}
	table := s.table.Load()
	for _, host := range hosts {
		switch err := s.world.check(host, table, false); {
		case err == nil:
		case late:
			return false, s.describe(host, err)
		default:
			return false, nil
		}
	}
	return true, nil
}

// describe adds to an error what the route of a host rests on, and its last routes.
func (s *simulation) describe(host string, err error) error {
	text := []string{s.world.explain(host)}
	for _, host := range []string{host, wildcardOver(host)} {
		for _, route := range s.history[host] {
			text = append(text, fmt.Sprintf("%s had at %s", host, route))
		}
		var eh v1alpha1.ExposedHost
		if err := s.edge.Get(s.t.Context(), client.ObjectKey{Name: objectName(host)}, &eh); err == nil {
			text = append(text, fmt.Sprintf("ExposedHost %s: %v %+v %+v", host, eh.Labels, eh.Spec, eh.Status))
		}
	}
	return fmt.Errorf("at %s %w%s", time.Now().Format(simClock), err, strings.Join(text, "\n  "))
}

// log notes a change, as a statement of a test.
func (s *simulation) log(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf("// round %d, %s\n", s.number, time.Now().Format(simClock))+fmt.Sprintf(format, args...))
	s.lines = s.lines[max(0, len(s.lines)-simLines):]
}

func (s *simulation) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// report prints how soon usher followed the changes of honest members and persons.
func (s *simulation) report() {
	slices.Sort(s.took)
	at := func(part float64) time.Duration {
		return s.took[int(part*float64(len(s.took)-1))].Round(time.Millisecond)
	}
	s.t.Logf("%d rounds, %d tables; honest changes took %v (median), %v (p99), %v (longest)", len(s.took), s.tables, at(0.5), at(0.99), at(1))
}
