package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy/routing"
)

// leaseName is the Lease by which replicas elect the one that writes.
const leaseName = "usher"

// A leader that was killed is followed by another after leaseDuration and two
// retries at most; one that ends in order hands over at once.
const (
	leaseDuration = 10 * time.Second
	renewDeadline = 7 * time.Second
	retryPeriod   = 1 * time.Second
)

// restarts are the pauses before a manager that has failed is replaced. They begin
// again from the first every restartsReset.
var restarts = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5, Cap: 15 * time.Second}

const restartsReset = time.Minute

// EdgeOptions say what an EdgeFeed runs.
type EdgeOptions struct {
	// Config reaches the edge cluster. Required.
	Config *rest.Config
	// Namespace has the members' kubeconfig Secrets, and the Lease. Required.
	Namespace string

	// Controllers runs the control plane, with LeaderElect on one of several
	// replicas, and with what ControlPlane tells it.
	Controllers  bool
	LeaderElect  bool
	ControlPlane []controllers.Option

	// Table is kept by the data plane's reconciler. Nil: no proxy serves by it, and
	// the reconciler is not run.
	Table *routing.Live
	// Snapshot keeps on disk what the table rests on. Nil: nothing does.
	Snapshot *manifest.Snapshot

	// Log gets what the controllers and their manager have to say.
	Log logr.Logger
}

// EdgeFeed fills the routing table from the edge cluster: it runs the reconcilers.
// A controller-runtime manager that fails, because there is no API server or
// because its lease was lost, is replaced by a new one. The table stays as it is
// meanwhile.
type EdgeFeed struct {
	*tableGate
	options EdgeOptions
	synced  atomic.Bool // the edge cluster's objects have been read
}

// NewEdgeFeed returns a feed that has not been started.
func NewEdgeFeed(options EdgeOptions) *EdgeFeed {
	return &EdgeFeed{tableGate: newTableGate(options.Table, options.Log), options: options}
}

// Ready implements Feed: it is an error until the table has been filled, or, where
// there is none, until the edge cluster has been read.
func (f *EdgeFeed) Ready() error {
	switch {
	case f.options.Table != nil:
		return f.tableGate.Ready()
	case !f.synced.Load():
		return errors.New("the edge cluster has not been read yet")
	}
	return nil
}

// Run implements Feed. It fills the table from the snapshot, if there is one, and
// keeps a manager running until ctx ends. An error is that of the last write of the
// snapshot.
func (f *EdgeFeed) Run(ctx context.Context) error {
	snapshot := f.options.Snapshot
	if snapshot == nil {
		f.keepManager(ctx)
		return nil
	}
	if hosts, clusters, ok := snapshot.Load(); ok {
		f.fill(hosts, clusters)
		f.log.Info("Serving from the snapshot until the edge cluster has been read", "hosts", f.table.Load().Len())
	}
	managing, managed := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer managed() // what the last manager stored is written after it has ended
		f.keepManager(ctx)
	}()
	return snapshot.Run(managing)
}

// keepManager replaces each manager that fails, until ctx ends.
func (f *EdgeFeed) keepManager(ctx context.Context) {
	pauses := restarts.DelayWithReset(clock.RealClock{}, restartsReset)
	_ = pauses.Until(ctx, true, true, func(ctx context.Context) (done bool, _ error) {
		if err := f.manage(ctx); ctx.Err() == nil {
			f.log.Error(err, "The controllers stopped and start again; the proxy serves on")
		}
		return false, nil
	}) // the only error is that of ctx
}

// manage runs one manager until it fails or ctx ends.
func (f *EdgeFeed) manage(ctx context.Context) error {
	mgr, err := f.newManager()
	if err != nil {
		return fmt.Errorf("make a manager: %w", err)
	}
	if f.options.Controllers {
		if err := controllers.SetupControlPlane(ctx, mgr, f.options.Namespace, f.options.ControlPlane...); err != nil {
			return err
		}
	}
	if f.options.Table != nil {
		if err := controllers.SetupDataPlane(mgr, f.routes(mgr)); err != nil {
			return err
		}
	}
	if err := mgr.Add(onEveryReplica(f.noteSynced)); err != nil {
		return fmt.Errorf("add a runnable: %w", err)
	}
	return mgr.Start(ctx)
}

func (f *EdgeFeed) newManager() (manager.Manager, error) {
	return ctrl.NewManager(f.options.Config, ctrl.Options{
		Scheme:                        controllers.Scheme(),
		Cache:                         controllers.CacheOptions(f.options.Namespace),
		Logger:                        f.log,
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // the admin listener shows them
		LeaderElection:                f.options.LeaderElect && f.options.Controllers,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       f.options.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	})
}

// routes returns the reconciler that keeps the table, opens the gate once it is
// filled, and has the snapshot written.
func (f *EdgeFeed) routes(mgr manager.Manager) *controllers.RouteReconciler {
	r := &controllers.RouteReconciler{Client: mgr.GetClient(), Table: f.table}
	r.Stored = func() {
		f.open()
		if f.options.Snapshot != nil {
			f.options.Snapshot.Store(r.Served)
		}
	}
	return r
}

// onEveryReplica is a runnable that does not wait for the election: a replica that
// stands by is ready too.
type onEveryReplica func(context.Context) error

// Start implements manager.Runnable.
func (run onEveryReplica) Start(ctx context.Context) error { return run(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (onEveryReplica) NeedLeaderElection() bool { return false }

// noteSynced runs once the caches are in sync.
func (f *EdgeFeed) noteSynced(context.Context) error {
	f.synced.Store(true)
	return nil
}
