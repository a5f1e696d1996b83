package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/jovalle/usher/hack/bench/peer"
	"github.com/jovalle/usher/hack/bench/results"
	"github.com/jovalle/usher/hack/bench/workload"
)

// A test is one table of the report.
type test struct {
	name, title string
	work        string // of package workload
	manyHosts   int    // names that proxies know in a second run of each; 0: there is none
	reference   string
	columns     []results.Column
	proxies     []peer.Peer
}

// How many names proxies know in most tests, and in the one about many names.
const (
	fewHosts  = 100
	manyHosts = 100_000
)

// The measurements of a test with many names.
const (
	few    = "few"
	many   = "many"
	growth = "growth"
)

// The names of those that ratios are to.
const (
	haproxy          = "HAProxy"
	haproxyOneThread = "HAProxy, 1 thread"
	usher            = "usher"
)

var (
	cpuMicros   = results.Column{Key: workload.CPU, Title: "CPU, µs", Scale: 1e6, Ratio: true}
	addedMicros = results.Column{Key: workload.Total, Title: "CPU added in all, µs", Scale: 1e6, Added: true, Ratio: true}
	wholeMicros = results.Column{Key: workload.Total, Title: "CPU in all, µs", Scale: 1e6}
	perSecond   = results.Column{Key: workload.Rate, Title: "connections/s", Scale: 1}
	p50Millis   = results.Column{Key: workload.P50, Title: "p50, ms", Scale: 1e3}
	p99Millis   = results.Column{Key: workload.P99, Title: "p99, ms", Scale: 1e3}

	shortColumns = []results.Column{cpuMicros, addedMicros, wholeMicros, perSecond, p50Millis, p99Millis}
	bulkColumns  = []results.Column{
		{Key: workload.CPU, Title: "CPU, s/GB", Scale: 1, Ratio: true},
		{Key: workload.Total, Title: "CPU added in all, s/GB", Scale: 1, Added: true, Ratio: true},
		{Key: workload.Total, Title: "CPU in all, s/GB", Scale: 1},
		{Key: workload.Rate, Title: "GB/s", Scale: 1},
	}
	latencyColumns = []results.Column{
		{Key: workload.P50, Title: "added p50, µs", Scale: 1e6, Added: true, Ratio: true},
		{Key: workload.P50, Title: "p50, µs", Scale: 1e6},
		{Key: workload.P99, Title: "p99, µs", Scale: 1e6},
		cpuMicros,
	}
	idleColumns = []results.Column{
		{Key: workload.User, Title: "user memory, bytes", Scale: 1, Ratio: true},
		{Key: workload.Kernel, Title: "kernel memory added, bytes", Scale: 1, Added: true, Ratio: true},
		{Key: workload.Descriptors, Title: "descriptors", Scale: 1, Ratio: true},
		{Key: workload.Whole, Title: "user memory in all, MB", Scale: 1e-6},
		{Key: workload.Connections, Title: "connections", Scale: 1},
	}
	hostsColumns = []results.Column{
		{Key: few, Title: "CPU with 100 names, µs", Scale: 1e6},
		{Key: many, Title: "CPU with 100,000 names, µs", Scale: 1e6},
		{Key: growth, Title: "growth, times", Scale: 1},
	}
)

// selected returns the tests that the options ask for, in the order of the
// report: idle connections first, before others leave their TIME_WAIT sockets in
// the kernel's memory.
func (o *options) selected(self string) []test {
	all, threads, features := o.peers(self), o.oneThread(), o.features()
	tests := []test{
		{name: "idle", title: "An idle connection", work: "idle", reference: haproxy, columns: idleColumns, proxies: all},
		{name: "hello", title: "Short connections, without cryptography", work: "hello", reference: haproxy, columns: shortColumns, proxies: all},
		{name: "connect", title: "Short TLS 1.3 connections", work: "connect", reference: haproxy, columns: shortColumns, proxies: all},
		{name: "down", title: "Streams from the backend", work: "down", reference: haproxy, columns: bulkColumns, proxies: all},
		{name: "up", title: "Streams to the backend", work: "up", reference: haproxy, columns: bulkColumns, proxies: all},
		{name: "latency", title: "Round trips on an open connection", work: "latency", reference: haproxy, columns: latencyColumns, proxies: all},
		{name: "hosts", title: "Short connections, by the number of names", work: "hello", manyHosts: manyHosts, reference: haproxy, columns: hostsColumns, proxies: withoutDirect(all)},
		{name: "threads", title: "Short connections, one thread each", work: "hello", reference: haproxyOneThread, columns: shortColumns, proxies: threads},
		{name: "features", title: "Short connections, by what usher is asked to do", work: "hello", reference: usher, columns: shortColumns, proxies: features},
	}
	if o.quick && o.tests == "" {
		tests = tests[:6]
	}
	return slices.DeleteFunc(tests, func(t test) bool { return !listed(o.tests, t.name) })
}

// listed reports whether a comma-separated list names s; an empty one names all.
func listed(list, s string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), s)
}

// peers returns the proxies of most tests, each at its defaults.
func (o *options) peers(self string) []peer.Peer {
	all := []peer.Peer{
		{Name: peer.Direct, Descriptors: 1},
		peer.HAProxy(haproxy, 0),
		peer.Baseline(self, baselineCommand),
	}
	if !o.quick {
		all = append(all, peer.Nginx(), peer.SNIProxy())
	}
	if !o.quick && o.traefik != "" {
		all = append(all, peer.Traefik(o.traefik))
	}
	all = slices.Insert(all, 1, o.ushers("", peer.UsherOptions{})...)
	return slices.DeleteFunc(all, func(p peer.Peer) bool { return !listed(o.proxies, p.Name) })
}

// ushers returns usher, and the builds to compare it with by the names of their
// files.
func (o *options) ushers(suffix string, u peer.UsherOptions) []peer.Peer {
	all := []peer.Peer{peer.Usher(usher+suffix, o.usher, u)}
	for file := range strings.SplitSeq(o.others, ",") {
		if file != "" {
			all = append(all, peer.Usher(filepath.Base(file)+suffix, file, u))
		}
	}
	return all
}

// withoutDirect returns those that have a table of names.
func withoutDirect(all []peer.Peer) []peer.Peer {
	return slices.DeleteFunc(slices.Clone(all), func(p peer.Peer) bool { return p.IsDirect() })
}

// oneThread returns proxies that may use one processor.
func (o *options) oneThread() []peer.Peer {
	return append([]peer.Peer{
		{Name: peer.Direct, Descriptors: 1},
		peer.HAProxy(haproxyOneThread, 1),
	}, o.ushers(", 1 thread", peer.UsherOptions{Env: []string{"GOMAXPROCS=1"}})...)
}

// features returns variants of usher; each does one thing more.
func (o *options) features() []peer.Peer {
	return []peer.Peer{
		{Name: peer.Direct, Descriptors: 1},
		peer.Usher(usher, o.usher, peer.UsherOptions{}),
		peer.Usher("usher, access log", o.usher, peer.UsherOptions{Flags: []string{"--access-log"}}),
		peer.Usher("usher, status page open", o.usher, peer.UsherOptions{Page: true}),
		peer.Usher("usher, a limit a client", o.usher, peer.UsherOptions{Flags: []string{"--max-connections-per-client=1000"}}),
		peer.Usher("usher, allowFrom of 3 networks", o.usher, peer.UsherOptions{AllowFrom: []string{"192.168.0.0/16", "2001:db8::/32", "127.0.0.0/8"}}),
		peer.Usher("usher, RoundRobin over 1 cluster", o.usher, peer.UsherOptions{Strategy: "RoundRobin"}),
		peer.Usher("usher, RoundRobin over 10 clusters", o.usher, peer.UsherOptions{Strategy: "RoundRobin", Backends: 10}),
		peer.Usher("usher, LeastConnections over 10 clusters", o.usher, peer.UsherOptions{Strategy: "LeastConnections", Backends: 10}),
		peer.Usher("usher, ClientHash over 10 clusters", o.usher, peer.UsherOptions{Strategy: "ClientHash", Backends: 10}),
		peer.Usher("usher, PROXY v2 to the backend", o.usher, peer.UsherOptions{ProxyProtocol: "V2"}),
	}
}
