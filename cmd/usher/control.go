package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy/selfaddr"
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

// control is the feed from the edge cluster: it runs the reconcilers. A
// controller-runtime manager that fails, for want of an API server or because its
// lease was lost, is replaced by a new one: the proxy beside it serves on from
// the table that it has.
type control struct {
	*filling
	options  *runOptions
	edge     *rest.Config
	snapshot *manifest.Snapshot // nil: none is kept
	own      *selfaddr.Set      // where this process listens; nil: it runs no proxy

	synced atomic.Bool // the edge cluster's objects have been read
}

func (c *control) ready() error {
	if !c.options.proxy && !c.synced.Load() {
		return errors.New("the edge cluster has not been read yet")
	}
	if c.options.proxy {
		return c.filling.ready()
	}
	return nil
}

// run serves from the snapshot, if there is one, and keeps a manager running until ctx ends.
func (c *control) run(ctx context.Context) error {
	if c.own != nil {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go c.own.Run(ctx, c.log)
	}
	if c.snapshot == nil {
		c.keepManaging(ctx)
		return nil
	}
	if hosts, clusters, ok := c.snapshot.Load(); ok {
		c.fill(hosts, clusters)
		c.log.Info("Serving from the snapshot until the edge cluster has been read", "hosts", c.table.Load().Len())
	}
	managing, managed := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer managed() // what the last manager stored is written after it has ended
		c.keepManaging(ctx)
	}()
	return c.snapshot.Run(managing)
}

// keepManaging replaces each manager that fails, until ctx ends.
func (c *control) keepManaging(ctx context.Context) {
	backoff := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5, Cap: 15 * time.Second}
	retry := backoff
	for {
		began := time.Now()
		err := c.manage(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			retry = backoff
		}
		c.log.Error(err, "The controllers stopped and start again; the proxy serves on")
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry.Step()):
		}
	}
}

// manage runs one manager until it fails or ctx ends.
func (c *control) manage(ctx context.Context) error {
	mgr, err := ctrl.NewManager(c.edge, ctrl.Options{
		Scheme:                        controllers.Scheme(),
		Cache:                         controllers.CacheOptions(c.options.namespace),
		Logger:                        c.log,
		Metrics:                       metricsserver.Options{BindAddress: "0"}, // the admin listener shows them
		LeaderElection:                c.options.leaderElect && c.options.controllers,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       c.options.namespace,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	})
	if err != nil {
		return fmt.Errorf("make a manager: %w", err)
	}
	if c.options.controllers {
		told := []controllers.Option{controllers.OwnAddress(c.own.Leads), controllers.Lookup(net.DefaultResolver.LookupNetIP), controllers.HandoverGrace(c.options.handover)}
		if err := controllers.SetupControlPlane(ctx, mgr, c.options.namespace, told...); err != nil {
			return err
		}
	}
	if c.options.proxy {
		if err := controllers.SetupDataPlane(mgr, c.follow(&controllers.RouteReconciler{Client: mgr.GetClient(), Table: c.table})); err != nil {
			return err
		}
	}
	if err := mgr.Add(onEveryReplica(c.noteSynced)); err != nil {
		return fmt.Errorf("add a runnable: %w", err)
	}
	return mgr.Start(ctx)
}

// onEveryReplica is a runnable that waits for no election: one that stands by is
// ready too.
type onEveryReplica func(context.Context) error

func (run onEveryReplica) Start(ctx context.Context) error { return run(ctx) }

func (onEveryReplica) NeedLeaderElection() bool { return false }

// noteSynced runs once the caches are in sync.
func (c *control) noteSynced(context.Context) error {
	c.synced.Store(true)
	return nil
}

// follow has the reconciler that keeps the table tell when it was filled, and keep the snapshot.
func (c *control) follow(r *controllers.RouteReconciler) *controllers.RouteReconciler {
	r.Stored = func() {
		c.noteFilled()
		if c.snapshot != nil {
			c.snapshot.Store(r.Served)
		}
	}
	return r
}
