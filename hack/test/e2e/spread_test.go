package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

const (
	// perSecond is how many new connections the tests make.
	perSecond = 200

	// attemptDelay is after which time usher dials the next address beside one that does
	// not answer, and dialTimeout is the default of --dial-timeout.
	attemptDelay = 250 * time.Millisecond
	dialTimeout  = 5 * time.Second
)

// startPair starts two member clusters that serve one host with an app each. Their Traefiks
// log all.
func startPair(t *testing.T, name, host string) (north, south *testenv.Member) {
	t.Helper()
	member := func(name string) *testenv.Member {
		cluster, err := env.Bed.StartCluster(t.Context(), name)
		testkit.Must(t, err)
		traefik, err := cluster.StartTraefik(t.Context(), "--log.level=DEBUG")
		testkit.Must(t, err)
		m := &testenv.Member{Cluster: cluster, Traefik: traefik}
		testkit.Must(t, m.Publish(t.Context(), name, host))
		testkit.Must(t, env.Enroll(t.Context(), m))
		t.Cleanup(func() {
			_, _ = env.Edge.Kubectl(context.Background(), "delete", "membercluster", name)
			traefik.Stop()
			cluster.Stop()
		})
		return m
	}
	return member(name + "-north"), member(name + "-south")
}

// takeTurns publishes a host with backends, which are YAML, and the strategy RoundRobin.
func takeTurns(t *testing.T, host string, backends ...string) {
	t.Helper()
	testkit.Must(t, env.Edge.Apply(t.Context(), fmt.Sprintf(`
apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata: {name: %[1]s}
spec: {host: %[1]s, strategy: RoundRobin, backends: [%[2]s]}
`, host, strings.Join(backends, ", "))))
	t.Cleanup(func() {
		_, _ = env.Edge.Kubectl(context.Background(), "delete", "exposedhost", host)
	})
	testkit.Eventually(t, host+" should be served", func() error {
		_, err := getHTTPS(t.Context(), host)
		return err
	})
}

func clusterBackend(m *testenv.Member, weight int) string {
	return fmt.Sprintf("{cluster: %s, weight: %d}", m.Name(), weight)
}

// visit is a request on a connection of its own.
type visit struct {
	began, ended time.Time
	cluster      string // that answered
	err          error
}

// flood makes perSecond visits to a host until stop is called, which returns them in the
// order in which they began.
func flood(t *testing.T, host string) (stop func() []visit) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var mu sync.Mutex
	var visits []visit
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(time.Second / perSecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			running.Go(func() {
				v := visit{began: time.Now()}
				answer, err := getHTTPS(context.WithoutCancel(ctx), host)
				v.ended, v.cluster, v.err = time.Now(), answer.Cluster, err
				mu.Lock()
				defer mu.Unlock()
				visits = append(visits, v)
			})
		}
	})
	return func() []visit {
		cancel()
		running.Wait()
		slices.SortFunc(visits, func(a, b visit) int { return a.began.Compare(b.began) })
		return visits
	}
}

// seen are the visits around an event.
type seen struct {
	total, failed int
	underWay      int           // of the failed: began before the event
	delayed       int           // took attemptDelay or more, and did not fail
	longest       time.Duration // of those that did not fail
	recovered     time.Duration // from the event until the end of the last visit that failed or was delayed
}

func look(visits []visit, event time.Time) seen {
	var s seen
	for _, v := range visits {
		s.total++
		took := v.ended.Sub(v.began)
		switch {
		case v.err != nil:
			s.failed++
			if v.began.Before(event) {
				s.underWay++
			}
		case took >= attemptDelay && v.ended.After(event):
			s.delayed++
		}
		if v.err == nil {
			s.longest = max(s.longest, took)
		}
		if (v.err != nil || took >= attemptDelay) && v.ended.After(event) {
			s.recovered = max(s.recovered, v.ended.Sub(event))
		}
	}
	return s
}

func (s seen) String() string {
	return fmt.Sprintf("%d connections: %d failed, of which %d were under way; %d delayed by %v or more, the longest took %v; the last that was affected ended %v after the event",
		s.total, s.failed, s.underWay, s.delayed, attemptDelay, s.longest.Round(time.Millisecond), s.recovered.Round(time.Millisecond))
}

// answers counts visits by the cluster that has answered.
func answers(visits []visit) map[string]int {
	counts := make(map[string]int)
	for _, v := range visits {
		if v.err == nil {
			counts[v.cluster]++
		}
	}
	return counts
}

// One of two Traefiks is killed under load. Its address refuses connections, so that no
// connection fails that begins later; it returns, and gets its share again.
func TestATraefikIsKilledUnderLoad(t *testing.T) {
	const host = "killed.spread.techn.is"
	north, south := startPair(t, "killed", host)
	takeTurns(t, host, clusterBackend(north, 50), clusterBackend(south, 50))
	stop := flood(t, host)
	time.Sleep(2 * time.Second)
	north.Traefik.Stop()
	killed := time.Now()
	time.Sleep(4 * time.Second)
	visits := stop()
	s := look(visits, killed)
	t.Logf("killed: %v; %v", s, answers(visits))
	if s.failed != s.underWay {
		t.Errorf("%d connections failed that began after the kill", s.failed-s.underWay)
		for _, v := range visits {
			if v.err != nil {
				t.Logf("%v after the kill: %v", v.began.Sub(killed), v.err)
			}
		}
	}

	testkit.Must(t, north.Traefik.Start(t.Context()))
	testkit.Must(t, north.Traefik.AwaitHost(t.Context(), host))
	returned := time.Now()
	testkit.Eventually(t, "the Traefik that has returned should be used", func() error {
		answer, err := getHTTPS(t.Context(), host)
		if err == nil && answer.Cluster != north.Name() {
			err = errors.New("it is not")
		}
		return err
	})
	t.Logf("used again %v after its return", time.Since(returned).Round(time.Millisecond))
}

// The packets to one of two addresses vanish under load: no connection fails that begins
// later. How many are delayed, and for how long, is logged: it depends on the machine too.
func TestPacketsVanishUnderLoad(t *testing.T) {
	const host = "vanish.spread.techn.is"
	north, south := startPair(t, "vanish", host)
	link := testkit.ListenSilent(t)
	link.Wake(t)
	relayed := relay(link.TCPListener, north.Traefik.HTTPS.String())
	port := link.Addr().(*net.TCPAddr).Port
	takeTurns(t, host, fmt.Sprintf("{address: 127.0.0.1, httpsPort: %d}", port),
		fmt.Sprintf("{address: %s, httpsPort: %d}", south.Traefik.HTTPS.Addr(), south.Traefik.HTTPS.Port()))
	stop := flood(t, host)
	time.Sleep(2 * time.Second)
	testkit.Must(t, link.SetDeadline(time.Now())) // ends the relay's accepts
	relayed()
	link.Silence(t)
	vanished := time.Now()
	time.Sleep(6 * time.Second)
	visits := stop()
	s := look(visits, vanished)
	t.Logf("vanished: %v; %v", s, answers(visits))
	if s.failed != s.underWay {
		t.Errorf("%d connections failed that began later", s.failed-s.underWay)
	}
}

// relay forwards the connections of a listener until its deadline. The result waits until
// it accepts none.
func relay(listener *net.TCPListener, to string) (accepting func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				far, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer far.Close()
				go func() {
					_, _ = io.Copy(far, conn)
					_ = far.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(conn, far)
			}()
		}
	}()
	return func() { <-done }
}

// A Traefik hangs: the kernel accepts connections for it, so that dials show nothing. Its
// health check does, and its connections go to the other one; it continues, and is used
// again. A check leaves nothing in Traefik's log.
func TestAHealthCheckFindsATraefikThatHangs(t *testing.T) {
	const host = "hangs.spread.techn.is"
	north, south := startPair(t, "hangs", host)
	for _, m := range []*testenv.Member{north, south} {
		kubectl(t, env.Edge, "patch", "membercluster", m.Name(), "--type=merge", "-p",
			`{"spec":{"ingress":{"healthCheck":{"type":"TLS","interval":"1s","timeout":"500ms","rise":2,"fall":2}}}}`)
	}
	takeTurns(t, host, clusterBackend(north, 50), clusterBackend(south, 50))
	healthy := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("the metrics should be %q", want), func() error {
			metrics, err := env.Get(t.Context(), "/metrics")
			for _, line := range want {
				if err == nil && !strings.Contains(metrics, line) {
					err = fmt.Errorf("%s is missing", line)
				}
			}
			return err
		})
	}
	gauge := func(m *testenv.Member, state string, n int) string {
		return fmt.Sprintf("usher_health_addresses{cluster=%q,state=%q} %d", m.Name(), state, n)
	}
	healthy(gauge(north, "healthy", 1), gauge(south, "healthy", 1))
	testkit.Must(t, north.Traefik.Pause())
	paused := time.Now()
	healthy(gauge(north, "unhealthy", 1))
	t.Logf("found after %v", time.Since(paused).Round(time.Millisecond))
	kubectl(t, env.Edge, "wait", "--for=condition=Healthy=False", "--timeout=30s", "membercluster/"+north.Name())
	kubectl(t, env.Edge, "wait", "--for=condition=Healthy=True", "--timeout=30s", "membercluster/"+south.Name())
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), dialTimeout)
		answer, err := testbed.GetAnswer(ctx, testbed.ClientTo(env.HTTPS.String()), "https://"+host+"/")
		cancel()
		if err != nil || answer.Cluster != south.Name() {
			t.Fatalf("%q answers, %v", answer.Cluster, err)
		}
	}
	testkit.Must(t, north.Traefik.Resume())
	resumed := time.Now()
	healthy(gauge(north, "healthy", 1))
	t.Logf("healthy again after %v", time.Since(resumed).Round(time.Millisecond))
	kubectl(t, env.Edge, "wait", "--for=condition=Healthy=True", "--timeout=30s", "membercluster/"+north.Name())
	testkit.Eventually(t, "the Traefik that continues should be used", func() error {
		answer, err := getHTTPS(t.Context(), host)
		if err == nil && answer.Cluster != north.Name() {
			err = errors.New("it is not")
		}
		return err
	})
	log, err := os.ReadFile(filepath.Join(env.Bed.LogDir(), south.Name()+"-traefik.log"))
	testkit.Must(t, err)
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, "TLS handshake error") {
			t.Errorf("a check is in Traefik's log: %s", line)
		}
	}
}

// Connections through real Traefiks spread as the weights say, and follow a change.
func TestSharesOfTwoTraefiks(t *testing.T) {
	const host, n = "shares.spread.techn.is", 1000
	north, south := startPair(t, "shares", host)
	for _, weights := range [][2]int{{70, 30}, {0, 100}} {
		takeTurns(t, host, clusterBackend(north, weights[0]), clusterBackend(south, weights[1]))
		testkit.Eventually(t, "the weights should be used", func() error {
			for range 20 {
				answer, err := getHTTPS(t.Context(), host)
				if err != nil || weights[0] == 0 && answer.Cluster != south.Name() {
					return fmt.Errorf("%s answers: %w", answer.Cluster, err)
				}
			}
			return nil
		})
		counts := make(map[string]int)
		for range n {
			answer, err := getHTTPS(t.Context(), host)
			testkit.Must(t, err)
			counts[answer.Cluster]++
		}
		t.Logf("weights %v: %v", weights, counts)
		if got, want := float64(counts[north.Name()])/n, float64(weights[0])/100; math.Abs(got-want) > 0.02 {
			t.Errorf("%s answers %.3f of the connections, want %.2f", north.Name(), got, want)
		}
	}
}
