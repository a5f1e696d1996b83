package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/proxy/routing"
)

// leaseName is the Lease by which replicas elect the one that writes.
const leaseName = "usher"

// control runs the reconcilers. A controller-runtime manager that fails, for
// want of an API server or because its lease was lost, is replaced by a new one:
// the proxy beside it serves on from the table that it has.
type control struct {
	options *runOptions
	edge    *rest.Config
	table   *routing.Live
	log     logr.Logger

	synced atomic.Bool // the edge cluster's objects have been read
	fed    atomic.Bool // the table has been filled
}

// ready returns what usher still waits for, or nil.
func (c *control) ready() error {
	switch {
	case c.options.proxy && !c.fed.Load():
		return errors.New("the routing table has not been filled yet")
	case !c.options.proxy && !c.synced.Load():
		return errors.New("the edge cluster has not been read yet")
	}
	return nil
}

// run keeps a manager running until ctx ends.
func (c *control) run(ctx context.Context) error {
	backoff := wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 5, Cap: 15 * time.Second}
	retry := backoff
	for {
		began := time.Now()
		err := c.manage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > time.Minute {
			retry = backoff
		}
		c.log.Error(err, "The controllers stopped and start again; the proxy serves on")
		select {
		case <-ctx.Done():
			return nil
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
	})
	if err != nil {
		return fmt.Errorf("make a manager: %w", err)
	}
	if c.options.controllers {
		if err := controllers.SetupControlPlane(ctx, mgr, c.options.namespace); err != nil {
			return err
		}
	}
	if c.options.proxy {
		if err := controllers.SetupDataPlane(mgr, &controllers.RouteReconciler{Client: mgr.GetClient(), Table: c.table, Stored: c.stored}); err != nil {
			return err
		}
	}
	if err := mgr.Add(manager.RunnableFunc(c.noteSynced)); err != nil {
		return fmt.Errorf("add a runnable: %w", err)
	}
	return mgr.Start(ctx)
}

// noteSynced runs once the caches are in sync.
func (c *control) noteSynced(context.Context) error {
	c.synced.Store(true)
	return nil
}

// stored hears of each new routing table.
func (c *control) stored([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster) { c.fed.Store(true) }
