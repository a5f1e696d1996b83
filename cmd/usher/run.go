//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/dnsquery"
	"github.com/jovalle/usher/controllers/doctor"
	"github.com/jovalle/usher/controllers/lifecycle"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
	"github.com/jovalle/usher/proxy/trusted"
)

// gcPercent is a GOGC that halves the garbage in memory. Collections stay rare all
// the same: most of usher's memory is caches that rarely change, and the proxy
// allocates very little.
const gcPercent = 50

// run checks the flags, and runs what they describe until ctx ends.
func (o *runOptions) run(ctx context.Context) error {
	s, err := o.settings()
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// run runs the control plane, the data plane or both until ctx ends, and then drains.
func (s *settings) run(ctx context.Context) error {
	log := newLogger(s.logLevel, s.logFormat)
	looks := &observed{}
	defer handleSignals(log)()
	warnIfAllTrusted(s.server.ProxyProtocolFrom, log)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	table, self := &routing.Live{}, selfaddr.New(s.listen...)
	s.server.HealthChanged = s.health.report
	if err := s.prepareStandalone(ctx); err != nil {
		return err
	}
	feed, err := s.feed(table, self, looks, log)
	if err != nil {
		return err
	}
	process := &lifecycle.Process{Feed: feed}
	takeoverProcess := s.announce(ctx, log)
	defer takeoverProcess.Close()
	adminServer := &admin.Server{Listen: s.adminListen, Process: takeoverProcess, Ready: process.Ready, Metrics: metrics.Registry, Hosts: s.adminHosts}
	if err := s.protect(adminServer, log); err != nil {
		return err
	}
	s.observe(table, self, looks, adminServer, log)
	if err := adminServer.Bind(); err != nil {
		return err
	}
	self.Add(adminServer.Addrs()...)
	if s.proxy {
		s.server.Table, s.server.Self, s.server.Process, s.server.Log = table, self, takeoverProcess, log.WithName("proxy")
		process.Proxy = observedProxy{s.server, &s.health}
	}
	process.Started = func() {
		log.Info("Started", "version", version, "https", s.server.HTTPSAddrs(), "http", s.server.HTTPAddrs(), "tls", s.server.TLSPorts(), "admin", adminServer.Addrs())
	}
	process.Stopping = func() {
		takeoverProcess.Stopping()
		adminServer.Drain()
	}
	drainContext, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { adminServer.Serve(drainContext) })
	background.Go(func() { self.Run(drainContext, log) })
	if looks.journal != nil {
		background.Go(func() { looks.journal.Run(drainContext, feed.Filled()) })
	}
	err = process.Run(ctx)
	stop()
	background.Wait()
	log.Info("Stopped")
	return err
}

// observedProxy shows the metrics and the health checks of the proxy once it listens.
type observedProxy struct {
	*proxy.Server
	health *healthChecks
}

// Listen implements lifecycle.Proxy.
func (o observedProxy) Listen() error {
	if err := o.Server.Listen(); err != nil {
		return err
	}
	if err := metrics.Registry.Register(o.Collector()); err != nil {
		return fmt.Errorf("register the proxy's metrics: %w", err)
	}
	o.health.proxy.Store(o.Server)
	return nil
}

// feed returns the feed that fills the table, from manifests or from the edge cluster.
func (s *settings) feed(table *routing.Live, self *selfaddr.Set, looks *observed, log logr.Logger) (lifecycle.Feed, error) {
	if s.manifests != "" {
		return s.fileFeed(table, log)
	}
	edge := lifecycle.EdgeOptions{
		Config:       s.edge,
		Namespace:    s.namespace,
		Controllers:  s.controllers,
		LeaderElect:  s.leaderElect,
		ControlPlane: []controllers.Option{controllers.Limits(s.limits), controllers.HandoverGrace(s.handoverGrace), controllers.TLSPorts(s.tlsPorts()), controllers.Lookup(net.DefaultResolver.LookupNetIP), controllers.Serving(looks.setServing), controllers.Explaining(looks.setFacts)},
		Objects:      &looks.objects,
		Log:          log,
	}
	edge.ControlPlane = append(edge.ControlPlane, controllers.Doctor(s.doctorOptions(looks)))
	if !s.dns.Off() {
		edge.ControlPlane = append(edge.ControlPlane, s.dnsRecords())
	}
	if s.proxy {
		edge.Table = table
		edge.ControlPlane = append(edge.ControlPlane, controllers.OwnAddress(self.Reaches), controllers.Healthy(&s.health))
	}
	if s.stateDir != "" {
		var err error
		if edge.Snapshot, err = manifest.NewSnapshot(s.stateDir, log.WithName("snapshot")); err != nil {
			return nil, badFlag("state-dir", "%w", err)
		}
	}
	return s.withAPIServer(edge)
}

// dnsRecords returns the option of the control plane about DNS records.
func (s *settings) dnsRecords() controllers.Option {
	if !s.resolver.IsValid() {
		return controllers.DNS(s.dns, nil)
	}
	return controllers.DNS(s.dns, dnsquery.Resolver{Address: s.resolver}.Lookup)
}

// doctorOptions returns how hosts are audited.
func (s *settings) doctorOptions(looks *observed) controllers.DoctorOptions {
	o := controllers.DoctorOptions{Version: version, Periodic: s.runOptions.doctor, Serve: looks.setAudit}
	if resolver, err := dnsquery.OfThisMachine(); err == nil {
		o.Inside = func(ctx context.Context, name string) (doctor.DNSAnswer, error) {
			addrs, ech, err := resolver.LookupECH(ctx, name)
			return doctor.DNSAnswer{Addrs: addrs, ECH: ech}, err
		}
	}
	if s.proxy { // else the connections to the backends are those of another machine
		o.Machine = doctor.Machine{}.Audit
		o.Redirected = s.server.CDNLoops.Requests
	}
	return o
}

// fileFeed returns the feed from manifests, and registers its metrics.
func (s *settings) fileFeed(table *routing.Live, log logr.Logger) (lifecycle.Feed, error) {
	watcher, err := manifest.NewWatcher(s.manifests, s.stateDir, log.WithName("manifests"))
	if err != nil {
		return nil, badFlag("state-dir", "%w", err)
	}
	if err := metrics.Registry.Register(watcher); err != nil {
		return nil, fmt.Errorf("register the manifests' metrics: %w", err)
	}
	return lifecycle.NewFileFeed(watcher, table, log), nil
}

// warnIfAllTrusted logs a warning if the PROXY header of every client is trusted. This
// is safe only if nothing but a load balancer can connect to usher.
func warnIfAllTrusted(networks trusted.Networks, log logr.Logger) {
	for _, network := range networks {
		if network.Bits() == 0 {
			log.Info("Every client must send a PROXY header, and every header is trusted: any client can pretend to have another address and pass allowFrom", "proxyProtocolFrom", network)
		}
	}
}

// newLogger returns the process's logger, and makes Kubernetes' libraries use it.
func newLogger(level, format string) logr.Logger {
	var lowest zapcore.Level
	_ = lowest.Set(level) // it is one of logLevels
	options := []zap.Opts{zap.WriteTo(os.Stderr), zap.Level(lowest), zap.StacktraceLevel(zapcore.PanicLevel)}
	if format == formatText {
		options = append(options, zap.ConsoleEncoder(func(c *zapcore.EncoderConfig) { c.EncodeTime = zapcore.RFC3339TimeEncoder }))
	}
	log := zap.New(options...)
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("kubernetes"))
	return log
}
