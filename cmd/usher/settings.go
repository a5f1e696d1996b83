//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/controllers/kubeconfig"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/reach"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/takeover"
	"github.com/jovalle/usher/proxy/trusted"
)

const (
	// maxServiceName is the maximum length of a service name, in bytes. It keeps messages short.
	maxServiceName = 253

	// minHelloMemory is enough for fifteen ClientHellos of maximum length, in bytes.
	minHelloMemory = 1 << 20

	// minHistory is the minimum size of the history, in bytes.
	minHistory = 1 << 20

	// podNamespaceFile holds the namespace of the pod.
	podNamespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// settings are the flags of usher run, and the values that are parsed from them.
type settings struct {
	*runOptions
	edge      *rest.Config     // of the edge cluster; nil with --manifests
	namespace string           // of usher in the edge cluster; empty with --manifests
	listen    []netip.AddrPort // all addresses that this process will listen on
	tlsListen []proxy.TLSListen
	server    *proxy.Server // its fields that flags set
	health    healthChecks  // of server
	dns       dnsrecord.Config
	resolver  netip.AddrPort // of --dns-resolver; invalid without one
	history   int64          // maximum size in bytes; 0: none

	adminHosts []string // of --admin-host, in lower case

	apiServer string // host and port at which this process reaches the API of --standalone
}

// settings parses the flags and checks them, also against each other. Its error names
// every mistake. It starts nothing.
func (o *runOptions) settings() (*settings, error) {
	s := &settings{runOptions: o}
	err := errors.Join(
		s.readStandalone(), o.checkHalves(), o.checkManifests(), o.checkService(), o.checkControllers(),
		oneOf("log-level", o.logLevel, logLevels...), oneOf("log-format", o.logFormat, logFormats...),
		s.readEdge(), s.readHistory(), s.readTLSListen(), s.readListen(), s.readAdmin(), s.readServer(), s.readDNS())
	if err != nil {
		return nil, &usageError{err}
	}
	return s, nil
}

func (o *runOptions) checkHalves() error {
	if !o.controllers && !o.proxy {
		return errors.New("--controllers=false and --proxy=false leave nothing to run")
	}
	if o.stateDir != "" && !o.proxy {
		return badFlag("state-dir", "only the proxy uses a snapshot: leave --proxy on")
	}
	return nil
}

// checkManifests refuses flags that need an API server if --manifests is set.
func (o *runOptions) checkManifests() error {
	switch {
	case o.manifests == "":
		return nil
	case o.controllers || !o.proxy:
		return badFlag("manifests", "manifests are for the proxy only: add --controllers=false, and leave --proxy on")
	case o.kubeconfig != "":
		return badFlag("manifests", "manifests replace the API server: remove --kubeconfig")
	}
	return flagError("manifests", checkDirectory(o.manifests))
}

func (o *runOptions) checkService() error {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(o.service) > maxServiceName || strings.ContainsFunc(o.service, unprintable) {
		return badFlag("service", "%q: a service name has at most %d printable ASCII characters and no spaces", o.service, maxServiceName)
	}
	return nil
}

// checkControllers refuses limits that would publish nothing, and a negative grace period.
func (o *runOptions) checkControllers() error {
	var errs []error
	if o.handoverGrace < 0 {
		errs = append(errs, badFlag("handover-grace", "%v is negative; write a duration such as 10s, or 0", o.handoverGrace))
	}
	for _, limit := range []struct {
		flag  string
		hosts int
	}{{"max-source-hosts", o.limits.SourceHosts}, {"max-member-hosts", o.limits.MemberHosts}} {
		if limit.hosts <= 0 {
			errs = append(errs, badFlag(limit.flag, "%d is not a positive number, such as 500", limit.hosts))
		}
	}
	return errors.Join(errs...)
}

// readEdge reads the client configuration of the edge cluster, and usher's namespace there.
func (s *settings) readEdge() error {
	if s.manifests != "" || s.standalone != "" && s.edge == nil { // else checkStandalone has said what is wrong
		return nil
	}
	s.namespace = cmp.Or(s.runOptions.namespace, ownNamespace())
	var errs []error
	errs = append(errs, flagError("namespace", enroll.CheckName(s.namespace)))
	if s.edge != nil { // the one of --standalone
		return errors.Join(errs...)
	}
	var err error
	if s.edge, err = edgeConfig(s.kubeconfig); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ownNamespace returns the pod's namespace, else the default one.
func ownNamespace() string {
	data, err := os.ReadFile(podNamespaceFile)
	if name := strings.TrimSpace(string(data)); err == nil && name != "" {
		return name
	}
	return defaultNamespace
}

// edgeConfig returns the client configuration of the edge cluster.
func edgeConfig(file string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	switch {
	case file != "":
		from, failure := kubeconfig.Source{Cluster: "the edge cluster", File: file, FileFlag: "kubeconfig"}.Load()
		if failure != nil {
			return nil, &usageError{failure}
		}
		config = from.REST
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, badFlag("kubeconfig", "usher does not run in a cluster: give the kubeconfig of the edge cluster, such as --kubeconfig /etc/rancher/k3s/k3s.yaml")
	case err != nil:
		return nil, badFlag("kubeconfig", "usher runs in a pod whose account cannot be used: %w", err)
	}
	return asUsher(config), nil
}

// asUsher sets what all clients of the edge have in common.
func asUsher(config *rest.Config) *rest.Config {
	config.QPS = -1 // no client-side limit: the API server bounds the requests
	config.UserAgent = "usher/" + version
	return config
}

// readHistory parses the bounds of the history.
func (s *settings) readHistory() error {
	var errs []error
	size, err := resource.ParseQuantity(s.historySize)
	if s.history = size.Value(); err != nil || s.history != 0 && s.history < minHistory {
		errs = append(errs, badFlag("history-size", "%q is not a number of bytes of at least 1Mi, such as 64Mi, or 0 for no history", s.historySize))
	}
	if s.historyAge <= 0 {
		errs = append(errs, badFlag("history-age", "%v is not a positive duration, such as 2160h", s.historyAge))
	}
	return errors.Join(errs...)
}

// readTLSListen parses --tls-listen, except for its addresses.
func (s *settings) readTLSListen() error {
	var errs []error
	for _, value := range s.runOptions.tlsListen {
		name, addresses, found := strings.Cut(value, "=")
		same := func(other proxy.TLSListen) bool { return other.Name == name }
		switch {
		case !found:
			errs = append(errs, badFlag("tls-listen", "%q: write NAME=ADDRESS, such as mqtts=:8883", value))
		case enroll.CheckName(name) != nil:
			errs = append(errs, badFlag("tls-listen", "%q: the name of a port has 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end", name))
		case name == v1alpha1.PortHTTPS:
			errs = append(errs, badFlag("tls-listen", "%s is the port of --https-listen: give its addresses there, or choose another name", name))
		case slices.ContainsFunc(s.tlsListen, same):
			errs = append(errs, badFlag("tls-listen", "%s is given twice: give all of its addresses at once, separated by commas", name))
		default:
			s.tlsListen = append(s.tlsListen, proxy.TLSListen{Name: name, Addresses: strings.Split(addresses, ",")})
		}
	}
	if len(s.tlsListen) >= v1alpha1.MaxPorts {
		errs = append(errs, badFlag("tls-listen", "there are %d ports, and at most %d may be given", len(s.tlsListen), v1alpha1.MaxPorts-1))
	}
	return errors.Join(errs...)
}

// tlsPorts returns the names of the TLS ports other than https that the edge listens on;
// nil if they are not known, since the proxy is another process.
func (s *settings) tlsPorts() []string {
	if !s.proxy && len(s.tlsListen) == 0 {
		return nil
	}
	names := []string{}
	for _, port := range s.tlsListen {
		names = append(names, port.Name)
	}
	return names
}

// readAdmin parses --admin-host and --admin-auth.
func (s *settings) readAdmin() error {
	errs := []error{oneOf("admin-auth", s.adminAuth, adminAuths...)}
	for _, name := range s.adminHost {
		host, err := routing.ParseHost(name)
		if err != nil || strings.HasPrefix(host, "*.") {
			errs = append(errs, badFlag("admin-host", "%q is not a host name without a port, such as edge.home.arpa", name))
		}
		s.adminHosts = append(s.adminHosts, host)
	}
	if s.adminAuth == adminAuthKubernetes && s.manifests != "" {
		errs = append(errs, badFlag("admin-auth", "with --manifests there is no API server that knows who may read: leave it at none"))
	}
	return errors.Join(errs...)
}

// listenAddress is an address that a flag gives.
type listenAddress struct {
	flag, address string
	parsed        netip.AddrPort
}

// readListen parses the addresses to listen on. It refuses addresses that overlap: with
// SO_REUSEPORT the kernel would let this process bind both, and distribute the
// connections between them.
func (s *settings) readListen() error {
	type listenFlag struct {
		name      string
		addresses []string
		used      bool
	}
	flags := []listenFlag{{"https-listen", s.httpsListen, s.proxy}}
	for _, port := range s.tlsListen {
		flags = append(flags, listenFlag{"tls-listen", port.Addresses, s.proxy})
	}
	flags = append(flags, listenFlag{"http-listen", s.httpListen, s.proxy}, listenFlag{"admin-listen", s.adminListen, true})
	if s.standalone != "" {
		flags = append(flags, listenFlag{"api-listen", []string{s.apiListen}, true})
	}
	var errs []error
	var earlier []listenAddress
	for _, flag := range flags {
		for _, address := range flag.addresses {
			parsed, err := takeover.ParseAddress(address)
			if err != nil {
				errs = append(errs, badFlag(flag.name, "%w%s", err, severalHint(address)))
				continue
			}
			if !flag.used {
				continue
			}
			listen := listenAddress{flag.name, address, parsed}
			errs = append(errs, listen.checkOverlap(earlier))
			earlier = append(earlier, listen)
			s.listen = append(s.listen, parsed)
		}
	}
	return errors.Join(errs...)
}

// checkOverlap returns an error if the address overlaps with an earlier one.
func (l listenAddress) checkOverlap(earlier []listenAddress) error {
	for _, other := range earlier {
		if takeover.Overlap(l.parsed, other.parsed) {
			return badFlag(l.flag, "%s overlaps with %s of --%s: give each a port or an IP address of its own (an address without an IP, 0.0.0.0 and [::] cover all of IPv4 and IPv6)",
				l.address, other.address, other.flag)
		}
	}
	return nil
}

// readServer creates the proxy with the options that the flags set.
func (s *settings) readServer() error {
	from, err := trusted.Parse(s.proxyProtocolFrom)
	if err != nil {
		err = badFlag("proxy-protocol-from", "%w%s", err, severalHint(s.proxyProtocolFrom...))
	}
	errs := []error{err, s.checkTimeouts(), s.checkMaxConnections()}
	selfCheck, err := s.readSelfCheck()
	if err != nil {
		errs = append(errs, badFlag("self-check", "%w%s", err, severalHint(s.selfCheck...)))
	}
	helloMemory, err := resource.ParseQuantity(s.maxHelloMemory)
	if err != nil || helloMemory.Value() < minHelloMemory {
		errs = append(errs, badFlag("max-hello-memory", "%q is not a number of bytes of at least 1Mi, such as 16Mi", s.maxHelloMemory))
	}
	s.server = &proxy.Server{
		HTTPSListen:             s.httpsListen,
		TLSListen:               s.tlsListen,
		HTTPListen:              s.httpListen,
		AccessLog:               s.accessLog,
		AccessLogRefused:        s.accessLogRefused,
		Timeouts:                s.timeouts,
		MaxConnections:          s.maxConnections,
		MaxConnectionsPerClient: s.maxConnectionsPerClient,
		ProxyProtocolFrom:       from,
		HelloMemory:             helloMemory.Value(),
		SelfCheck:               selfCheck,
		CDNLoops:                new(plainhttp.CDNLoops),
	}
	return errors.Join(errs...)
}

// readDNS parses the flags about DNS records. The control plane writes them.
func (s *settings) readDNS() error {
	var errs []error
	var err error
	s.dns, err = s.runOptions.dns.config()
	errs = append(errs, err)
	switch {
	case s.dnsResolver == "":
	case s.dns.Off():
		errs = append(errs, badFlag("dns-resolver", "there are no records to look for: give --dns-target"))
	default:
		if s.resolver, err = parseResolver(s.dnsResolver); err != nil {
			errs = append(errs, flagError("dns-resolver", err))
		}
	}
	if !s.controllers && !s.dns.Off() {
		errs = append(errs, badFlag("dns-target", "the control plane writes the records: leave --controllers on, or give the flags about DNS to the process that runs it"))
	}
	return errors.Join(errs...)
}

// parseResolver parses the address of a resolver; without a port, 53.
func parseResolver(value string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(value); err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	resolver, err := netip.ParseAddrPort(value)
	if err != nil || resolver.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not an IP address with a port, such as 9.9.9.9:53 or [2620:fe::fe]:53", value)
	}
	return resolver, nil
}

func (o *runOptions) checkTimeouts() error {
	var errs []error
	for _, t := range o.timeoutFlags() {
		if *t.value <= 0 {
			errs = append(errs, badFlag(t.name, "%v is not a positive duration, such as %v", *t.value, t.standard))
		}
	}
	return errors.Join(errs...)
}

func (o *runOptions) checkMaxConnections() error {
	var errs []error
	if o.maxConnections < 0 {
		errs = append(errs, badFlag("max-connections", "%d is negative; write a number such as 20000, or 0 for what the descriptor limit allows", o.maxConnections))
	}
	if o.maxConnectionsPerClient < 0 {
		errs = append(errs, badFlag("max-connections-per-client", "%d is negative; write a number such as 100, or 0 for no limit", o.maxConnectionsPerClient))
	}
	return errors.Join(errs...)
}

// readSelfCheck parses --self-check. It refuses an address that no flag listens on,
// since nothing would be checked there.
func (s *settings) readSelfCheck() (reach.Addresses, error) {
	check, err := reach.ParseAddresses(s.selfCheck)
	if err != nil || !s.proxy {
		return check, err
	}
	addresses := slices.Concat(s.httpsListen, s.httpListen)
	for _, port := range s.tlsListen {
		addresses = append(addresses, port.Addresses...)
	}
	var bound []netip.AddrPort
	for _, address := range addresses {
		parsed, err := takeover.ParseAddress(address)
		if err != nil {
			return check, nil // readListen reports it
		}
		bound = append(bound, parsed)
	}
	return check, check.Validate(bound)
}
