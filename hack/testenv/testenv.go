// Package testenv runs usher as a whole on real servers: an edge, with or without
// Kubernetes, two member clusters with a Traefik each, apps behind those, and usher's
// own program in front. The demo and the end-to-end tests use it.
//
// It builds on hack/testbed, and must not import usher's own packages: it uses only
// usher's program, CRDs and command line.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/testbed"
)

// Options configure an Env.
type Options struct {
	// Usher is the path of usher's program. CRDs is a glob pattern of the CRD files.
	Usher, CRDs string
	// Args are more flags of usher run.
	Args []string
	// Standalone makes usher serve the API of the edge itself, instead of an edge cluster.
	Standalone bool
	// Output gets a line for each server that is ready. Nil: none.
	Output io.Writer
}

// Env is an edge, two member clusters and usher, all running.
type Env struct {
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

// Start starts an Env. The caller stops its Bed. After an error nothing runs, and the
// error names the folder of the logs.
func Start(ctx context.Context, o Options) (*Env, error) {
	clusters := []string{"hades", "illmatic"}
	if !o.Standalone {
		clusters = append(clusters, "edge")
	}
	bed, err := testbed.Start(ctx, testbed.Options{Clusters: clusters, Output: o.Output})
	if err != nil {
		return nil, err
	}
	e := &Env{Bed: bed, options: o}
	if err := e.start(ctx); err != nil {
		bed.KeepLogs()
		return nil, errors.Join(fmt.Errorf("%w (logs in %s)", err, bed.LogDir()), bed.Stop())
	}
	return e, nil
}

// start prepares the clusters, and then starts usher.
func (e *Env) start(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { e.Hades, err = e.member(groupCtx, "hades"); return err })
	group.Go(func() (err error) { e.Illmatic, err = e.member(groupCtx, "illmatic"); return err })
	if e.options.Standalone {
		group.Go(func() error { return e.startStandalone(groupCtx) })
	} else {
		e.Edge = e.Bed.Cluster("edge")
		group.Go(func() error { return e.Edge.ApplyFiles(groupCtx, e.options.CRDs) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range []*Member{e.Hades, e.Illmatic} {
		if err := e.Enroll(ctx, m); err != nil {
			return err
		}
	}
	if e.options.Standalone {
		return e.AwaitReady(ctx)
	}
	return e.StartUsher(ctx)
}

// startStandalone starts usher with an API of its own, and waits until that serves.
func (e *Env) startStandalone(ctx context.Context) (err error) {
	if e.Edge, err = e.Bed.ReserveCluster(ctx, "edge"); err != nil {
		return err
	}
	e.Usher, err = begin(e.Bed, "usher", e.options.Usher, append([]string{
		"--standalone", filepath.Dir(e.Edge.KubeconfigFile()), "--api-listen", e.Edge.Address().String(),
	}, e.options.Args...)...)
	if err != nil {
		return err
	}
	return e.Edge.Connect(ctx)
}

func (e *Env) member(ctx context.Context, name string) (*Member, error) {
	cluster := e.Bed.Cluster(name)
	traefik, err := cluster.StartTraefik(ctx)
	return &Member{Cluster: cluster, Traefik: traefik}, err
}

// Enroll creates a member's Secret and MemberCluster in the edge cluster.
func (e *Env) Enroll(ctx context.Context, m *Member) error {
	kubeconfig, err := m.Kubeconfig()
	if err != nil {
		return err
	}
	return e.Edge.Apply(ctx, fmt.Sprintf(`
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

// StartUsher starts usher, which must not be running, and waits until it is ready.
func (e *Env) StartUsher(ctx context.Context) (err error) {
	e.Usher, err = Run(ctx, e.Bed, "usher", e.options.Usher, e.Edge, e.options.Args...)
	return err
}
