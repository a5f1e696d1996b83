package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/bench/peer"
	"github.com/jovalle/usher/hack/bench/results"
	"github.com/jovalle/usher/hack/bench/usage"
	"github.com/jovalle/usher/hack/bench/workload"
)

// run runs all tests. It writes the report after each of them, so that an interrupted
// run loses no results.
func (b *bench) run(ctx context.Context, path string) error {
	for _, t := range b.tests {
		table := results.Table{Name: t.name, Title: t.title, Reference: t.reference, Columns: t.columns, Series: make([]results.Series, len(t.proxies))}
		for i := range t.proxies {
			table.Series[i] = results.Series{Proxy: t.proxies[i].Name, Samples: make([]workload.Sample, b.report.Rounds)}
		}
		for round := range b.report.Rounds {
			if err := b.round(ctx, t, round, table.Series); err != nil {
				return err
			}
		}
		b.report.Tables = append(b.report.Tables, table)
		if err := b.report.Write(path); err != nil {
			return err
		}
	}
	return nil
}

// round measures each proxy once, in random order, so that the state of the kernel's
// caches does not always favour the same proxy. A failed round does not invalidate
// others.
func (b *bench) round(ctx context.Context, t test, round int, series []results.Series) error {
	for _, i := range rand.Perm(len(t.proxies)) {
		sample, err := b.sample(ctx, t, &t.proxies[i])
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			series[i].Errors = append(series[i].Errors, err.Error())
			fmt.Fprintf(os.Stderr, "%s, round %d, %s: %v\n", t.name, round+1, t.proxies[i].Name, err)
			continue
		}
		series[i].Samples[round] = sample
		fmt.Fprintf(os.Stderr, "%s, round %d, %s: %v\n", t.name, round+1, t.proxies[i].Name, sample)
	}
	return nil
}

// sample runs a test of one proxy: twice, in an order of chance, where it is
// about the number of names.
func (b *bench) sample(ctx context.Context, t test, p *peer.Peer) (workload.Sample, error) {
	if t.manyHosts == 0 {
		return b.one(ctx, t.work, p, fewHosts)
	}
	cpu := map[int]float64{} // names → processor time a connection
	counts := []int{fewHosts, t.manyHosts}
	for _, i := range rand.Perm(len(counts)) {
		if p.MaxHosts > 0 && counts[i] > p.MaxHosts {
			continue
		}
		sample, err := b.one(ctx, t.work, p, counts[i])
		if err != nil {
			return nil, err
		}
		cpu[counts[i]] = sample[workload.CPU]
	}
	sample := workload.Sample{few: cpu[fewHosts]}
	if grown, ok := cpu[t.manyHosts]; ok {
		sample[many], sample[growth] = grown, grown/cpu[fewHosts]
	}
	return sample, nil
}

// one starts a proxy, runs a test with it and stops it.
func (b *bench) one(ctx context.Context, work string, p *peer.Peer, hosts int) (workload.Sample, error) {
	site := peer.Site{Dir: filepath.Join(b.dir, "site"), Hosts: hostNames(hosts), Backends: b.backends}
	if err := errors.Join(os.RemoveAll(site.Dir), os.Mkdir(site.Dir, 0o700)); err != nil {
		return nil, err
	}
	target := workload.Target{Address: b.backends[0].String(), Hosts: site.Hosts, Parties: b.parties(nil)}
	if !p.IsDirect() {
		var err error
		if site.Listen, err = freeAddress(ctx); err != nil {
			return nil, err
		}
		if site.Admin, err = freeAddress(ctx); err != nil {
			return nil, err
		}
		proxy, err := b.start(ctx, p, site)
		if err != nil {
			return nil, err
		}
		defer proxy.Stop()
		target.Address, target.Parties = site.Listen, b.parties(proxy)
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	return workload.Tests[work](ctx, target, b.sizeFor(p))
}

// start starts a proxy, and waits until it serves the last of its hosts and is idle, so
// that the cost of the start is not measured.
func (b *bench) start(ctx context.Context, p *peer.Peer, site peer.Site) (*peer.Running, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	proxy, err := p.Start(ctx, site, func(ctx context.Context) error {
		return workload.Probe(ctx, site.Listen, site.Hosts[len(site.Hosts)-1])
	})
	if err != nil {
		return nil, err
	}
	if err := awaitCalm(ctx, b.parties(proxy)); err != nil {
		proxy.Stop()
		return nil, fmt.Errorf("%s has no rest after its start: %w", p.Name, err)
	}
	return proxy, nil
}

// A proxy is calm when it uses less than calmShare of a processor for calmTime:
// less than Go's runtime takes to give the memory of a start back to the kernel
// (scavengePercent of runtime/mgcscavenge.go, 1 %).
const (
	calmTime  = 500 * time.Millisecond
	calmShare = 0.004
)

func awaitCalm(ctx context.Context, parties usage.Parties) error {
	before, err := usage.ReadCPU(parties)
	for err == nil {
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(calmTime):
		}
		var now usage.CPU
		now, err = usage.ReadCPU(parties)
		if err == nil && float64(now.Proxy-before.Proxy) < calmShare*float64(time.Since(began)) {
			return nil
		}
		before = now
	}
	return err
}

// spareDescriptors are reserved for files that are no connections.
const spareDescriptors = 1000

// sizeFor returns the size of a test, with as many idle connections as a proxy
// can have by its limit on descriptors.
func (b *bench) sizeFor(p *peer.Peer) workload.Size {
	size := b.report.Size
	size.Idle = min(size.Idle, (b.limit-spareDescriptors)/p.Descriptors)
	return size
}

// hostNames returns count host names.
func hostNames(count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("h%06d.bench.example", i)
	}
	return names
}
