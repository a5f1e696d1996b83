// Package stage brings up the whole of usher on real parts: an edge cluster, two
// member clusters with a Traefik each, apps behind those, and usher's own
// program in front. The demo shows it, the end-to-end tests assert on it.
//
// It builds on hack/testbed, and must not import usher's own packages: what it
// knows of usher is its program, its CRDs and its command line.
package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/process"
)

// readyTimeout is how long usher may take until it is ready.
const readyTimeout = time.Minute

// Options say what a Stage is made of.
type Options struct {
	// Usher is the path of usher's program, CRDs a glob of its CRDs' files.
	Usher, CRDs string
	// Args are more flags of usher run.
	Args []string
	// Output is told what is ready. Nil: nobody.
	Output io.Writer
}

// Stage is all of it, running.
type Stage struct {
	Bed              *testbed.Bed
	Edge             *testbed.Cluster
	Hades, Illmatic  *Member
	HTTPS, HTTP, API netip.AddrPort // where usher listens; API is the admin listener
	options          Options
	usher            *process.Process
}

// Member is a member cluster and its Traefik.
type Member struct {
	*testbed.Cluster
	Traefik *testbed.Traefik
}

// Raise brings a Stage up. Whoever raised it stops its Bed.
func Raise(ctx context.Context, o Options) (*Stage, error) {
	bed, err := testbed.Start(ctx, testbed.Options{Clusters: []string{"edge", "hades", "illmatic"}, Output: o.Output})
	if err != nil {
		return nil, err
	}
	s := &Stage{Bed: bed, Edge: bed.Cluster("edge"), options: o}
	if err := s.furnish(ctx); err != nil {
		bed.KeepLogs()
		return nil, errors.Join(fmt.Errorf("%w (logs in %s)", err, bed.LogDir()), bed.Stop())
	}
	return s, nil
}

// furnish puts on the Stage what stands between the clusters and a client.
func (s *Stage) furnish(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { s.Hades, err = s.member(groupCtx, "hades"); return err })
	group.Go(func() (err error) { s.Illmatic, err = s.member(groupCtx, "illmatic"); return err })
	group.Go(func() error { return s.Edge.ApplyFiles(groupCtx, s.options.CRDs) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range []*Member{s.Hades, s.Illmatic} {
		if err := s.Enroll(ctx, m); err != nil {
			return err
		}
	}
	return s.StartUsher(ctx)
}

func (s *Stage) member(ctx context.Context, name string) (*Member, error) {
	cluster := s.Bed.Cluster(name)
	traefik, err := cluster.StartTraefik(ctx)
	return &Member{Cluster: cluster, Traefik: traefik}, err
}

// Enroll makes a member's Secret and MemberCluster at the edge.
func (s *Stage) Enroll(ctx context.Context, m *Member) error {
	kubeconfig, err := m.Kubeconfig()
	if err != nil {
		return err
	}
	return s.Edge.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: usher-system}
---
apiVersion: v1
kind: Secret
metadata: {name: %[1]s-kubeconfig, namespace: usher-system}
stringData: {kubeconfig: %[2]q}
---
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: %[1]s}
spec:
  kubeconfig: {secretName: %[1]s-kubeconfig}
  ingress: {addresses: [%[3]q], httpsPort: %[4]d, httpPort: %[5]d}
`, m.Name(), kubeconfig, m.Traefik.HTTPS.Addr(), m.Traefik.HTTPS.Port(), m.Traefik.HTTP.Port()))
}

// StartUsher starts usher's program on free ports and waits until it is ready.
func (s *Stage) StartUsher(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	args := append([]string{"run", "--kubeconfig", s.Edge.KubeconfigFile(),
		"--https-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, s.options.Args...)
	var err error
	if s.usher, err = s.Bed.Run("usher", nil, s.options.Usher, args...); err != nil {
		return err
	}
	return s.usher.AwaitReady(ctx, s.ready)
}

// ready finds where usher listens and asks whether it is ready.
func (s *Stage) ready(ctx context.Context) error {
	if err := s.readAddresses(filepath.Join(s.Bed.LogDir(), "usher.log")); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/readyz", s.API), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("usher is not ready: %s", response.Status)
	}
	return nil
}

// KillUsher ends usher at once, as kill -9 does.
func (s *Stage) KillUsher() { s.usher.Kill() }

// StopUsher asks usher to end, and returns how it did.
func (s *Stage) StopUsher(ctx context.Context) error { return s.usher.Terminate(ctx) }
