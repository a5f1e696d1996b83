package main

import (
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/proxy/reach"
	"github.com/jovalle/usher/proxy/takeover"
	"github.com/jovalle/usher/proxy/trusted"
)

// validateEdge finds out how to reach the edge cluster.
func (o *runOptions) validateEdge() error {
	if o.manifests != "" {
		return nil
	}
	if o.namespace == "" {
		o.namespace = ownNamespace()
	}
	var wrong []error
	for _, problem := range validation.IsDNS1123Label(o.namespace) {
		wrong = append(wrong, badFlag("namespace", "%q: %s", o.namespace, problem))
	}
	var err error
	if o.edge, err = edgeConfig(o.kubeconfig); err != nil {
		wrong = append(wrong, err)
	}
	return errors.Join(wrong...)
}

// listening is an address of a flag.
type listening struct {
	flag, address string
	parsed        netip.AddrPort
}

// validateListen refuses what is no address to listen on, and a port that is given
// twice: the kernel would let the process have it twice, and choose one of the two.
func (o *runOptions) validateListen() error {
	var wrong []error
	var taken []listening
	for _, flag := range []struct {
		name      string
		addresses []string
		used      bool
	}{
		{"https-listen", o.server.HTTPSListen, o.proxy},
		{"http-listen", o.server.HTTPListen, o.proxy},
		{"admin-listen", o.admin, true},
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

// longestService bounds the name of a service, in bytes, so that a message with it is short.
const longestService = 253

func (o *runOptions) validateService() error {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(o.service) > longestService || strings.ContainsFunc(o.service, unprintable) {
		return badFlag("service", "%q: a name is at most %d printable ASCII characters, without spaces", o.service, longestService)
	}
	return nil
}

// validateTrusted reads --proxy-protocol-from.
func (o *runOptions) validateTrusted() error {
	var err error
	if o.server.ProxyProtocolFrom, err = trusted.Parse(o.trusted); err != nil {
		return badFlag("proxy-protocol-from", "%w", err)
	}
	return nil
}

// validateSelfCheck reads --self-check. An address that nothing listens on would
// look as if it were checked.
func (o *runOptions) validateSelfCheck() error {
	var err error
	if o.server.SelfCheck, err = reach.ParseAddresses(o.selfCheck); err != nil {
		return badFlag("self-check", "%w", err)
	}
	var bound []netip.AddrPort
	for _, address := range slices.Concat(o.server.HTTPSListen, o.server.HTTPListen) {
		parsed, err := takeover.ParseAddress(address)
		if err != nil {
			return nil // validateListen says so
		}
		bound = append(bound, parsed)
	}
	if err := o.server.SelfCheck.Validate(bound); err != nil && o.proxy {
		return badFlag("self-check", "%w", err)
	}
	return nil
}

// warnOfTrusted logs whose word counts where it is everybody's: that is right only
// where nobody but a load balancer reaches usher.
func (o *runOptions) warnOfTrusted(log logr.Logger) {
	for _, prefix := range o.server.ProxyProtocolFrom {
		if prefix.Bits() == 0 {
			log.Info("Every client must send a PROXY header, and is believed: any can say that it is another, and pass allowFrom", "proxyProtocolFrom", prefix)
		}
	}
}

func (o *runOptions) validateLogLevel() error {
	if _, known := logLevels[o.logLevel]; !known {
		return badFlag("log-level", "%q is none of debug, info, error", o.logLevel)
	}
	return nil
}
