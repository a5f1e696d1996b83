package main

import (
	"cmp"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/reach"
	"github.com/jovalle/usher/proxy/takeover"
	"github.com/jovalle/usher/proxy/trusted"
)

const (
	// longestService bounds the name of a service, in bytes, so that a message with it is short.
	longestService = 253

	// leastHelloMemory is room for fifteen of the longest ClientHellos, in bytes.
	leastHelloMemory = 1 << 20

	// podNamespace is the file in which Kubernetes tells a pod its namespace.
	podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// settings are the flags of usher run, and what is read of them.
type settings struct {
	*runOptions
	edge      *rest.Config     // of the edge cluster; nil with --manifests
	namespace string           // of usher in the edge cluster; empty with --manifests
	listen    []netip.AddrPort // all addresses that this process is going to listen on
	server    *proxy.Server    // as far as flags describe it
}

// settings reads the flags, and refuses what is wrong or makes no sense together:
// all of it at once, before anything is started.
func (o *runOptions) settings() (*settings, error) {
	s := &settings{runOptions: o}
	err := errors.Join(
		o.checkHalves(), o.checkManifests(), o.checkService(), o.checkControllers(), o.checkLogLevel(),
		s.readEdge(), s.readListen(), s.readServer())
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
		return badFlag("state-dir", "the snapshot is the proxy's, and --proxy=false runs none")
	}
	return nil
}

// checkManifests refuses what needs an API server beside --manifests.
func (o *runOptions) checkManifests() error {
	switch {
	case o.manifests == "":
		return nil
	case o.controllers || !o.proxy:
		return badFlag("manifests", "files feed the proxy alone: add --controllers=false, and leave --proxy on")
	case o.kubeconfig != "":
		return badFlag("manifests", "files stand in for an API server: leave --kubeconfig out")
	}
	if _, err := os.ReadDir(o.manifests); err != nil {
		return badFlag("manifests", "%w", err)
	}
	return nil
}

func (o *runOptions) checkService() error {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(o.service) > longestService || strings.ContainsFunc(o.service, unprintable) {
		return badFlag("service", "%q: a name is at most %d printable ASCII characters, without spaces", o.service, longestService)
	}
	return nil
}

// checkControllers refuses limits that would publish nothing, and a grace that is none.
func (o *runOptions) checkControllers() error {
	var wrong []error
	if o.handoverGrace < 0 {
		wrong = append(wrong, badFlag("handover-grace", "%v is negative", o.handoverGrace))
	}
	for _, limit := range []struct {
		flag  string
		hosts int
	}{{"max-source-hosts", o.limits.SourceHosts}, {"max-member-hosts", o.limits.MemberHosts}} {
		if limit.hosts <= 0 {
			wrong = append(wrong, badFlag(limit.flag, "%d is not a positive number", limit.hosts))
		}
	}
	return errors.Join(wrong...)
}

// logLevels are the values of --log-level.
var logLevels = map[string]zapcore.Level{"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "error": zapcore.ErrorLevel}

func (o *runOptions) checkLogLevel() error {
	if _, known := logLevels[o.logLevel]; !known {
		return badFlag("log-level", "%q is none of debug, info, error", o.logLevel)
	}
	return nil
}

// readEdge finds out how to reach the edge cluster, and usher's namespace there.
func (s *settings) readEdge() error {
	if s.manifests != "" {
		return nil
	}
	s.namespace = cmp.Or(s.runOptions.namespace, ownNamespace())
	var wrong []error
	for _, problem := range validation.IsDNS1123Label(s.namespace) {
		wrong = append(wrong, badFlag("namespace", "%q: %s", s.namespace, problem))
	}
	var err error
	if s.edge, err = edgeConfig(s.kubeconfig); err != nil {
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// ownNamespace returns the pod's namespace, else the default one.
func ownNamespace() string {
	data, err := os.ReadFile(podNamespace)
	if name := strings.TrimSpace(string(data)); err == nil && name != "" {
		return name
	}
	return defaultNamespace
}

// edgeConfig returns how to reach the edge cluster.
func edgeConfig(file string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if file != "" {
		config, err = clientcmd.BuildConfigFromFlags("", file)
	}
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, badFlag("kubeconfig", "usher does not run in a cluster: give the edge cluster's kubeconfig")
	case err != nil:
		return nil, badFlag("kubeconfig", "%w", err)
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return nil, badFlag("kubeconfig", "%w", err)
	}
	config.QPS = -1 // the API server's own fairness bounds what we ask
	config.UserAgent = "usher/" + version
	return config, nil
}

// listening is an address of a flag.
type listening struct {
	flag, address string
	parsed        netip.AddrPort
}

// readListen refuses what is no address to listen on, and a port that is given
// twice: the kernel would let the process have it twice, and choose one of the two.
func (s *settings) readListen() error {
	var wrong []error
	var taken []listening
	for _, flag := range []struct {
		name      string
		addresses []string
		used      bool
	}{
		{"https-listen", s.httpsListen, s.proxy},
		{"http-listen", s.httpListen, s.proxy},
		{"admin-listen", s.adminListen, true},
	} {
		for _, address := range flag.addresses {
			parsed, err := takeover.ParseAddress(address)
			if err != nil {
				wrong = append(wrong, badFlag(flag.name, "%w", err))
				continue
			}
			if !flag.used {
				continue
			}
			wanted := listening{flag.name, address, parsed}
			wrong = append(wrong, wanted.refuseTaken(taken))
			taken = append(taken, wanted)
			s.listen = append(s.listen, parsed)
		}
	}
	return errors.Join(wrong...)
}

// refuseTaken refuses an address that overlaps with one before it.
func (l listening) refuseTaken(taken []listening) error {
	for _, other := range taken {
		if takeover.Overlap(l.parsed, other.parsed) {
			return badFlag(l.flag, "%s overlaps with %s of --%s: give each a port or an IP address of its own (an address without an IP, 0.0.0.0 and [::] cover all of IPv4 and IPv6)",
				l.address, other.address, other.flag)
		}
	}
	return nil
}

// readServer makes the proxy that the flags describe.
func (s *settings) readServer() error {
	from, err := trusted.Parse(s.proxyProtocolFrom)
	wrong := []error{flagError("proxy-protocol-from", err), s.checkTimeouts(), s.checkMaxConnections()}
	selfCheck, err := s.readSelfCheck()
	wrong = append(wrong, flagError("self-check", err))
	helloMemory, err := resource.ParseQuantity(s.maxHelloMemory)
	if err != nil || helloMemory.Value() < leastHelloMemory {
		wrong = append(wrong, badFlag("max-hello-memory", "%q is not a number of bytes of at least 1Mi, such as 16Mi", s.maxHelloMemory))
	}
	s.server = &proxy.Server{
		HTTPSListen:             s.httpsListen,
		HTTPListen:              s.httpListen,
		AccessLog:               s.accessLog,
		AccessLogRefused:        s.accessLogRefused,
		Timeouts:                s.timeouts,
		MaxConnections:          s.maxConnections,
		MaxConnectionsPerClient: s.maxConnectionsPerClient,
		ProxyProtocolFrom:       from,
		HelloMemory:             helloMemory.Value(),
		SelfCheck:               selfCheck,
	}
	return errors.Join(wrong...)
}

// flagError says which flag an error is about.
func flagError(name string, err error) error {
	if err == nil {
		return nil
	}
	return badFlag(name, "%w", err)
}

func (o *runOptions) checkTimeouts() error {
	var wrong []error
	for _, t := range o.timeoutFlags() {
		if *t.value <= 0 {
			wrong = append(wrong, badFlag(t.name, "%v is not a positive duration", *t.value))
		}
	}
	return errors.Join(wrong...)
}

func (o *runOptions) checkMaxConnections() error {
	var wrong []error
	if o.maxConnections < 0 {
		wrong = append(wrong, badFlag("max-connections", "%d is negative", o.maxConnections))
	}
	if o.maxConnectionsPerClient < 0 {
		wrong = append(wrong, badFlag("max-connections-per-client", "%d is negative", o.maxConnectionsPerClient))
	}
	return errors.Join(wrong...)
}

// readSelfCheck refuses an address that nothing listens on: it would look as if it
// were checked.
func (s *settings) readSelfCheck() (reach.Addresses, error) {
	addresses, err := reach.ParseAddresses(s.selfCheck)
	if err != nil || !s.proxy {
		return addresses, err
	}
	var bound []netip.AddrPort
	for _, address := range slices.Concat(s.httpsListen, s.httpListen) {
		parsed, err := takeover.ParseAddress(address)
		if err != nil {
			return addresses, nil // readListen says so
		}
		bound = append(bound, parsed)
	}
	return addresses, addresses.Validate(bound)
}
