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

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy/routing"
)

// If a leader is killed, another replica becomes leader after at most leaseDuration and
// two retries. A leader that stops normally releases the Lease at once.
const (
	leaseDuration = 10 * time.Second
	renewDeadline = 7 * time.Second
	retryPeriod   = 1 * time.Second
)

// restartBackoff is the backoff before a failed manager is replaced. It starts again
// every restartBackoffReset.
var restartBackoff = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5, Cap: 15 * time.Second}

const restartBackoffReset = time.Minute

// EdgeOptions are the options of an EdgeFeed.
type EdgeOptions struct {
	// Config is the client configuration of the edge cluster. Required.
	Config *rest.Config
	// Namespace has the members' kubeconfig Secrets, and the Lease. Required.
	Namespace string

	// Controllers runs the control plane with the options in ControlPlane. LeaderElect
	// runs it on only one of several replicas.
	Controllers  bool
	LeaderElect  bool
	ControlPlane []controllers.Option

	// Await returns when the API server may be asked, before each manager starts. Nil: it
	// is not waited for.
	Await func(context.Context) error

	// Table is updated by the data plane's reconciler. Nil: there is no proxy, and the
	// reconciler does not run.
	Table *routing.Live
	// Snapshot stores the objects of the table on disk. Nil: they are not stored.
	Snapshot *manifest.Snapshot

	// Objects, if not nil, follows the caches of the managers.
	Objects *controllers.Objects

	// Log is the logger of the feed, the controllers and their manager.
	Log logr.Logger
}

// EdgeFeed fills the routing table from the edge cluster: it runs the reconcilers. A
// controller-runtime manager fails if there is no API server, or if it loses its Lease.
// The feed then replaces it. The table does not change meanwhile.
type EdgeFeed struct {
	*tableGate
	options EdgeOptions
	synced  atomic.Bool // the edge cluster's objects have been read
}

// NewEdgeFeed returns a feed that has not been started.
func NewEdgeFeed(options EdgeOptions) *EdgeFeed {
	return &EdgeFeed{tableGate: newTableGate(options.Table, options.Log), options: options}
}

// Ready implements Feed. It returns an error until the table has been filled or, if
// there is no table, until the edge cluster has been read.
func (f *EdgeFeed) Ready() error {
	switch {
	case f.options.Table != nil:
		return f.tableGate.Ready()
	case !f.synced.Load():
		return errors.New("the edge cluster has not been read yet")
	}
	return nil
}

// Run implements Feed. It fills the table from the snapshot, if there is one, and runs
// managers until ctx ends. Its error is that of the last write of the snapshot.
func (f *EdgeFeed) Run(ctx context.Context) error {
	snapshot := f.options.Snapshot
	if snapshot == nil {
		f.runManagers(ctx)
		return nil
	}
	if all, ok := snapshot.Load(); ok {
		f.fill(all)
		f.log.Info("Serving from the snapshot until the edge cluster has been read", "hosts", f.table.Load().Len())
	}
	snapshotContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer stop() // after the last manager has ended, so that its last changes are written
		f.runManagers(ctx)
	}()
	return snapshot.Run(snapshotContext)
}

// runManagers replaces each manager that fails, until ctx ends.
func (f *EdgeFeed) runManagers(ctx context.Context) {
	backoff := restartBackoff.DelayWithReset(clock.RealClock{}, restartBackoffReset)
	_ = backoff.Until(ctx, true, true, func(ctx context.Context) (done bool, _ error) {
		if err := f.runManager(ctx); ctx.Err() == nil {
			f.log.Error(err, "The controllers failed and are restarted; the proxy continues to serve")
		}
		return false, nil
	}) // the only error is that of ctx
}

// runManager runs one manager until it fails or ctx ends.
func (f *EdgeFeed) runManager(ctx context.Context) error {
	if f.options.Await != nil {
		if err := f.options.Await(ctx); err != nil {
			return fmt.Errorf("wait for the API server: %w", err)
		}
	}
	mgr, err := f.newManager()
	if err != nil {
		return fmt.Errorf("create a manager: %w", err)
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
	if f.options.Objects != nil {
		if err := f.options.Objects.Follow(ctx, mgr); err != nil {
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
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // the admin listener serves them
		LeaderElection:                f.options.LeaderElect && f.options.Controllers,
		LeaderElectionID:              v1alpha1.LeaseName,
		LeaderElectionNamespace:       f.options.Namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	})
}

// routes returns the reconciler that updates the table. After each update it opens the
// gate and requests a write of the snapshot.
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

// onEveryReplica is a runnable that does not wait for the election, since a replica
// that is not the leader must become ready, too.
type onEveryReplica func(context.Context) error

// Start implements manager.Runnable.
func (run onEveryReplica) Start(ctx context.Context) error { return run(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (onEveryReplica) NeedLeaderElection() bool { return false }

// noteSynced runs when the caches have synced.
func (f *EdgeFeed) noteSynced(context.Context) error {
	f.synced.Store(true)
	return nil
}
