// Package testenv brings up the whole of usher on real parts: an edge cluster, two
// member clusters with a Traefik each, apps behind those, and usher's own
// program in front. The demo shows it, the end-to-end tests assert on it.
//
// It builds on hack/testbed, and must not import usher's own packages: what it
// knows of usher is its program, its CRDs and its command line.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/testbed"
)

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
	Bed             *testbed.Bed
	Edge            *testbed.Cluster
	Hades, Illmatic *Member
	*Usher
	options Options
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

// StartUsher starts usher's program, once more after it has ended, and waits until it is ready.
func (s *Stage) StartUsher(ctx context.Context) (err error) {
	s.Usher, err = Run(ctx, s.Bed, "usher", s.options.Usher, s.Edge, s.options.Args...)
	return err
}
