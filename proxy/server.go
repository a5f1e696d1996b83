package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/eventloop"
	"github.com/jovalle/usher/proxy/health"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/reach"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
	"github.com/jovalle/usher/proxy/takeover"
	"github.com/jovalle/usher/proxy/trusted"
)

// Server is the data plane. Set its fields, call Listen, then Serve. The zero
// value of an option means its default.
type Server struct {
	// HTTPSListen and HTTPListen are the addresses to serve, as "host:port".
	// An address without a host, or with [::], covers IPv4 and IPv6.
	HTTPSListen, HTTPListen []string

	// TLSListen are further TLS ports to serve. They differ from HTTPSListen only in
	// their names, by which a routing.Route has the ports of its host.
	TLSListen []TLSListen

	// Process lets another process of the same service take over the addresses.
	// If it is nil, they are not shared.
	Process *takeover.Process

	// Self holds the addresses of this process, which are not dialled. Listen adds
	// those that it binds; the caller runs the set. By default it is a new set,
	// with the machine's addresses at the time of Listen.
	Self *selfaddr.Set

	// Table holds the routes. Required.
	Table *routing.Live

	// Log gets few lines, at a bounded rate: clients must not be able to fill it.
	Log logr.Logger

	// AccessLog logs each TLS connection when it ends.
	AccessLog bool

	// AccessLogRefused logs each refused client, on either port, at a bounded
	// rate.
	AccessLogRefused bool

	// AccessOutput gets the lines of AccessLog as JSON; if it is nil, Log gets them.
	AccessOutput io.Writer

	// Knocks records what refused clients have asked for. May be nil.
	Knocks *knocks.Book

	// CDNLoops remembers redirected requests that a CDN has received over TLS. May be nil.
	CDNLoops *plainhttp.CDNLoops

	// Timeouts of each connection; by default limit.DefaultTimeouts.
	Timeouts limit.Timeouts

	// MaxConnections bounds the connections that are open at once. The default is
	// what the limit on descriptors allows.
	MaxConnections int

	// MaxConnectionsPerClient bounds the connections of one IPv4 address or IPv6
	// /64. By default there is no limit, because clients of a CDN share addresses.
	MaxConnectionsPerClient int

	// ProxyProtocolFrom are the clients that must send a PROXY header, v1 or
	// v2. Connections of other clients that send one are refused as malformed.
	ProxyProtocolFrom trusted.Networks

	// HelloMemory bounds the bytes that all TLS connections together hold until
	// the ClientHello is sent to the backend. If they need more, the connections
	// that have waited longest are refused.
	HelloMemory int64

	// SelfCheck are the machine's own addresses at which Serve checks whether
	// connections reach this process; by default none. See Reached.
	SelfCheck reach.Addresses

	// Loops is how many threads may forward TLS connections; the default is
	// GOMAXPROCS. A further thread accepts connections only while the others are
	// busy.
	Loops int

	// HealthChanged is called with the name of a cluster whose Health has changed. It
	// must not block. May be nil.
	HealthChanged func(cluster string)

	limits    limit.Connections
	endpoints *endpoint.Memory
	open      endpoint.Connections // to the addresses of routes that count them
	forwarder eventloop.Forwarder
	metrics   *plainhttp.Metrics
	check     reach.Check
	health    health.Checks
	tls       []*eventloop.Listener // of HTTPSListen, and of TLSListen
	http      []net.Listener
}

// TLSListen is a TLS port of the edge.
type TLSListen struct {
	// Name of the port: a DNS label other than routing.PortHTTPS.
	Name string
	// Addresses to serve, as in Server.HTTPSListen.
	Addresses []string
}

// Listen binds all addresses, or none if there is an error. Call it once, before
// Serve.
func (s *Server) Listen() error {
	if s.Table == nil {
		return errors.New("the proxy needs a routing table")
	}
	s.setDefaults()
	if err := s.bind(); err != nil {
		s.closeListeners()
		return err
	}
	var all []netip.AddrPort
	for _, listener := range s.tls {
		all = append(all, listener.Addr())
	}
	s.Self.Add(slices.Concat(all, s.HTTPAddrs())...)
	s.check = reach.Check{
		HTTPS:             all,
		HTTP:              s.HTTPAddrs(),
		Addresses:         s.SelfCheck,
		ProxyProtocolFrom: s.ProxyProtocolFrom,
		Limited:           s.limits.Refused,
		Log:               s.Log,
	}
	s.forwarder.IsSelfCheckHost = s.check.Seen
	return nil
}

func (s *Server) bind() error {
	ctx := context.Background()
	for _, address := range s.HTTPSListen {
		if err := s.bindTLS(ctx, routing.PortHTTPS, address); err != nil {
			return fmt.Errorf("listen for HTTPS: %w", err)
		}
	}
	for _, port := range s.TLSListen {
		for _, address := range port.Addresses {
			if err := s.bindTLS(ctx, port.Name, address); err != nil {
				return fmt.Errorf("listen for TLS port %s: %w", port.Name, err)
			}
		}
	}
	for _, address := range s.HTTPListen {
		listener, err := s.Process.Listen(ctx, address, nil)
		if err != nil {
			return fmt.Errorf("listen for HTTP: %w", err)
		}
		s.http = append(s.http, listener)
	}
	return nil
}

func (s *Server) bindTLS(ctx context.Context, port, address string) error {
	listener, err := eventloop.Listen(ctx, address, s.Process)
	if err != nil {
		return err
	}
	listener.Port = port
	s.tls = append(s.tls, listener)
	return nil
}

func (s *Server) closeListeners() {
	for _, listener := range s.tls {
		listener.Close()
	}
	for _, listener := range s.http {
		_ = listener.Close()
	}
}

// HTTPSAddrs returns the addresses that Listen bound for HTTPSListen.
func (s *Server) HTTPSAddrs() []netip.AddrPort { return s.TLSAddrs(routing.PortHTTPS) }

// TLSAddrs returns the addresses that Listen bound for the TLS port of a name.
func (s *Server) TLSAddrs(port string) []netip.AddrPort {
	addrs := []netip.AddrPort{}
	for _, listener := range s.tls {
		if listener.Port == port {
			addrs = append(addrs, listener.Addr())
		}
	}
	return addrs
}

// TLSPorts returns the names of the ports of TLSListen with the addresses that Listen
// bound for them.
func (s *Server) TLSPorts() map[string][]netip.AddrPort {
	ports := make(map[string][]netip.AddrPort, len(s.TLSListen))
	for _, port := range s.TLSListen {
		ports[port.Name] = s.TLSAddrs(port.Name)
	}
	return ports
}

// HTTPAddrs returns the addresses that Listen bound for plain HTTP.
func (s *Server) HTTPAddrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.http))
	for i, listener := range s.http {
		addrs[i] = listener.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Serve serves until ctx ends. It then stops accepting, waits up to
// Timeouts.DrainAfter for the open connections, closes the remaining ones and returns.
// If the TLS forwarder or the plain HTTP server ends, the other is stopped too.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer s.closeListeners()
	s.Log.Info("Serving", "https", s.HTTPSAddrs(), "http", s.HTTPAddrs(), "tls", s.TLSPorts(), "maxConnections", s.limits.Max)
	var halves sync.WaitGroup
	var err error
	halves.Go(func() {
		defer stop()
		err = s.forwarder.Serve(ctx, s.tls)
	})
	halves.Go(func() {
		defer stop()
		s.plainServer().Serve(ctx, s.http)
	})
	halves.Go(func() { s.check.Run(ctx) })
	halves.Go(func() { s.reportPorts(ctx) })
	halves.Go(func() { s.health.Run(ctx) })
	halves.Wait()
	return err
}

// Reached returns nil, or an error that says why clients do not reach this process
// although it listens, and what to do. The process serves in both cases. See
// package reach.
func (s *Server) Reached() error { return s.check.Err() }

// Health returns how many addresses of a cluster are healthy, of those that this process
// checks. Both are 0 if it checks none. Call it after Listen.
func (s *Server) Health(cluster string) (healthy, total int) {
	sum := s.health.Of(cluster)
	return sum.Healthy, sum.Total
}

// setDefaults sets the options that are zero, and the parts of the Server that
// use them.
func (s *Server) setDefaults() {
	s.Timeouts = s.Timeouts.OrDefault()
	if s.Self == nil {
		s.Self = selfaddr.New()
	}
	setDefault(&s.Loops, runtime.GOMAXPROCS(0))
	setDefault(&s.HelloMemory, eventloop.DefaultHelloMemory)
	setDefault(&s.MaxConnections, affordableConnections(s.Loops))
	s.limits.Max, s.limits.PerClient = s.MaxConnections, s.MaxConnectionsPerClient
	s.metrics = plainhttp.NewMetrics()
	s.endpoints = endpoint.NewMemory()
	s.health = health.Checks{
		Table:        s.Table,
		Endpoints:    s.endpoints,
		IsOwnAddress: s.Self.Reaches,
		Log:          s.Log,
		Changed:      s.HealthChanged,
	}
	s.forwarder = eventloop.Forwarder{
		Table:             s.Table,
		Limits:            &s.limits,
		Log:               s.Log,
		AccessLog:         s.AccessLog,
		AccessLogRefused:  s.AccessLogRefused,
		AccessOutput:      s.AccessOutput,
		Knocks:            s.Knocks,
		Timeouts:          s.Timeouts,
		ProxyProtocolFrom: s.ProxyProtocolFrom,
		Self:              s.Self,
		Endpoints:         s.endpoints,
		Connections:       &s.open,
		HelloMemory:       s.HelloMemory,
		Loops:             s.Loops,
	}
}

func setDefault[T comparable](option *T, value T) {
	var zero T
	if *option == zero {
		*option = value
	}
}

// httpRefused returns a function that logs and records refused requests.
func (s *Server) httpRefused() func(client netip.AddrPort, host, reason, routeRefusal string) {
	recorder := s.Knocks.Recorder()
	return func(client netip.AddrPort, host, reason, routeRefusal string) {
		s.forwarder.LogRefused(client, host, reason, routeRefusal)
		if plainhttp.IsKnock(reason) {
			recorder.Add(client.Addr(), host, reason)
		}
	}
}

func (s *Server) plainServer() *plainhttp.Server {
	return &plainhttp.Server{
		Handler: &plainhttp.Handler{
			Table:           s.Table,
			Log:             s.Log,
			Timeouts:        s.Timeouts,
			Metrics:         s.metrics,
			IsSelfCheckHost: s.check.Seen,
			IsOwnAddress:    s.Self.Reaches,
			Endpoints:       s.endpoints,
			Connections:     &s.open,
			Refused:         s.httpRefused(),
			CDNLoops:        s.CDNLoops,
		},
		Limits:            &s.limits,
		ProxyProtocolFrom: s.ProxyProtocolFrom,
	}
}

// Collector returns the metrics of the data plane, named usher_*. Call it after
// Listen.
func (s *Server) Collector() prometheus.Collector { return collector{s} }
