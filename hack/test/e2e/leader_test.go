package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

// writesWithin is how long it may take by default until another replica becomes the leader.
const writesWithin = 20 * time.Second

// There are two replicas on one edge cluster. The leader is killed while its member is
// unreachable, and the next leader is terminated. A replica serves at all times, and a
// new leader withdraws no host before it has read the member itself.
func TestLeaderChange(t *testing.T) {
	edge := newEdge(t, "edge-of-two", env.Hades)
	publish := func(name string) {
		t.Helper()
		testkit.Must(t, env.Hades.Publish(t.Context(), name, name+".techn.is", `usher.techn.is/expose: "true"`))
	}
	publish("lasting")
	replicas := []*testenv.Usher{replica(t, edge, "replica-a"), replica(t, edge, "replica-b")}
	for _, u := range replicas {
		served(t, u, "lasting.techn.is")
	}
	leader, other := byRole(t, replicas)
	interrupted := keepConnecting(t, other, "lasting.techn.is")
	born := creation(t, edge, "lasting.techn.is")

	testkit.Must(t, env.Hades.Pause())
	resume := sync.OnceValue(env.Hades.Resume)
	t.Cleanup(func() { _ = resume() })
	leader.Kill()
	killed := time.Now()
	testkit.Eventually(t, "the other should lead", func() error { return leads(t.Context(), other) })
	t.Logf("another leads %v after the leader was killed", time.Since(killed))
	testkit.Consistently(t, 3*time.Second, "the ExposedHost should stay", func() error {
		if now := creation(t, edge, "lasting.techn.is"); now != born {
			return fmt.Errorf("it was created at %s, and again at %s", born, now)
		}
		return nil
	})
	testkit.Must(t, resume())
	publish("later")
	served(t, other, "later.techn.is")
	t.Logf("it writes %v after the kill; for %v of that its member was away", time.Since(killed), 3*time.Second)
	if took := time.Since(killed); took > writesWithin {
		t.Errorf("the hand-over took %v", took)
	}

	// After SIGTERM the next leader does not wait until the Lease expires.
	third := replica(t, edge, "replica-c")
	served(t, third, "lasting.techn.is")
	interruptedToo := keepConnecting(t, third, "lasting.techn.is")
	if why := interrupted(); why != "" {
		t.Error(why)
	}
	ended := time.Now()
	testkit.Must(t, other.Terminate(t.Context()))
	publish("last")
	served(t, third, "last.techn.is")
	t.Logf("another writes %v after the leader was asked to end, its drain included", time.Since(ended))
	if took := time.Since(ended); took > writesWithin {
		t.Errorf("the hand-over took %v", took)
	}
	if why := interruptedToo(); why != "" {
		t.Error(why)
	}
	if now := creation(t, edge, "lasting.techn.is"); now != born {
		t.Errorf("the ExposedHost was made at %s, and again at %s", born, now)
	}
}

// newEdge starts another edge cluster with one member.
func newEdge(t *testing.T, name string, m *testenv.Member) *testbed.Cluster {
	t.Helper()
	edge, err := env.Bed.StartCluster(t.Context(), name)
	testkit.Must(t, err)
	t.Cleanup(edge.Stop)
	testkit.Must(t, edge.ApplyFiles(t.Context(), "../../../config/crd/*.yaml"))
	testkit.Must(t, (&testenv.Env{Bed: env.Bed, Edge: edge}).Enroll(t.Context(), m))
	return edge
}

// replica starts one of several usher processes.
func replica(t *testing.T, edge *testbed.Cluster, name string) *testenv.Usher {
	t.Helper()
	u, err := testenv.Run(t.Context(), env.Bed, name, program, edge, "--leader-elect", "--drain-timeout=1s")
	testkit.Must(t, err)
	t.Cleanup(u.Kill)
	return u
}

// served waits until one replica routes a host.
func served(t *testing.T, u *testenv.Usher, host string) {
	t.Helper()
	testkit.Eventually(t, host+" should be answered", func() error { return getFrom(t.Context(), u, host) })
}

func getFrom(ctx context.Context, u *testenv.Usher, host string) error {
	_, err := testbed.GetAnswer(ctx, testbed.ClientTo(u.HTTPS.String()), "https://"+host+"/")
	return err
}

// keepConnecting connects to a host repeatedly until the returned function is called.
// That function returns the failures, if there were any.
func keepConnecting(t *testing.T, u *testenv.Usher, host string) func() string {
	t.Helper()
	var failed string
	done := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if err := getFrom(context.Background(), u, host); err != nil {
				failed = fmt.Sprintf("%s: %v", host, err)
			}
		}
	})
	stop := sync.OnceFunc(func() { close(done); asking.Wait() })
	t.Cleanup(stop)
	return func() string { stop(); return failed }
}

// byRole waits until one of two replicas is the leader.
func byRole(t *testing.T, replicas []*testenv.Usher) (leader, other *testenv.Usher) {
	t.Helper()
	testkit.Eventually(t, "one should lead", func() (err error) {
		for i, u := range replicas {
			if err = leads(t.Context(), u); err == nil {
				leader, other = u, replicas[1-i]
				return nil
			}
		}
		return err
	})
	return leader, other
}

// leads returns nil if a replica has the metrics that only the leader has.
func leads(ctx context.Context, u *testenv.Usher) error {
	metrics, err := u.Get(ctx, "/metrics")
	if err == nil && !strings.Contains(metrics, "\nusher_member_condition{") {
		return fmt.Errorf("%s stands by", u.API)
	}
	return err
}

// creation returns the creation time and the UID of a host's ExposedHost.
func creation(t *testing.T, edge *testbed.Cluster, host string) string {
	t.Helper()
	return kubectl(t, edge, "get", "exposedhost", host, "-o", "jsonpath={.metadata.creationTimestamp} {.metadata.uid}")
}
