package traefikrule

import (
	"regexp"
	"slices"
)

// tcpV2 is Traefik 2's grammar of TCP routers.
var tcpV2 = grammar{
	"ALPN":          {build: hostless(protocols)},
	"ClientIP":      {build: hostless(addresses)},
	"HostSNI":       {build: hostSNIV2},
	"HostSNIRegexp": {build: hostSNIRegexpV2},
}

// tcpV3 is Traefik 3's grammar of TCP routers.
var tcpV3 = grammar{
	"ALPN":          {arity: []int{1}, build: hostless(protocols)},
	"ClientIP":      {arity: []int{1}, build: hostless(addresses)},
	"HostSNI":       {arity: []int{1}, build: hostSNIV3},
	"HostSNIRegexp": {arity: []int{1}, build: hostSNIRegexpV3},
}

// serverName matches the server names that Traefik 2 allows, apart from "*".
var serverName = regexp.MustCompile(`^[[:word:].:-]+$`)

// serverNameOrWildcard matches the server names and wildcards that Traefik 3 allows.
var serverNameOrWildcard = regexp.MustCompile(`^(\*\.)?[[:word:].:-]+$`)

func hostSNIV2(r *reading, values []string) (expr, error) {
	for _, value := range values {
		if value != "*" && !serverName.MatchString(value) {
			return nil, badHost(value)
		}
	}
	if slices.Contains(values, "*") {
		return everyHost, nil
	}
	return r.manyHosts(values), nil
}

func hostSNIV3(r *reading, values []string) (expr, error) {
	switch value := values[0]; {
	case value == "*":
		return everyHost, nil
	case !serverNameOrWildcard.MatchString(value):
		return nil, badHost(value)
	default:
		return r.hostOrWildcard(value), nil
	}
}

func hostSNIRegexpV2(r *reading, values []string) (expr, error) {
	return r.templates(values, sniTemplate)
}

func hostSNIRegexpV3(r *reading, values []string) (expr, error) {
	if err := ascii(values[0]); err != nil {
		return nil, err
	}
	p, err := r.compile(values[0])
	if err != nil {
		return nil, err
	}
	return anyOf(p), nil
}
