package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// connectRate is how many connections are made in a second at most, and atOnce how
	// many hosts are audited at once.
	connectRate = 25
	atOnce      = 4

	// hostTimeout bounds the audit of one host.
	hostTimeout = 45 * time.Second

	maxBackends  = 4   // of a host
	maxAddresses = 4   // of a backend
	maxPrivate   = 5   // private names that are asked for on the connection of a host
	maxPaired    = 3   // exposed names that are asked for on the connection of a host
	maxCompared  = 512 // hosts that are looked at to find them
	maxNamed     = 3   // names in one sentence
)

// Doctor audits hosts. Set its fields before the first audit; they must not change later.
// It may be used by any number of goroutines.
type Doctor struct {
	// Version of usher, for the User-Agent.
	Version string
	// Own reports whether a connection to an address would reach this process; nil if no
	// address does.
	Own func(netip.AddrPort) bool
	// Lookup resolves the DNS names among addresses, as net.Resolver.LookupNetIP does.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Private returns no more than most names that objects of a cluster name and that none
	// publishes. nil: they are not known.
	Private func(cluster string, most int) []string
	// Inside asks the resolver of this network for a name; nil: it is not asked.
	Inside func(ctx context.Context, name string) (DNSAnswer, error)
	// Direct reports whether an address is one of the edge's public ones: a CDN has
	// others.
	Direct func(netip.Addr) bool
	// Redirected returns how many requests to a host usher itself has redirected lately
	// although a CDN had received them over TLS; nil: it is not known.
	Redirected func(host string) int
	// PublicPort is the port at which clients reach the edge; 0: whether this network
	// reaches the edge's public address is not audited.
	PublicPort uint16

	limit *rate.Limiter
}

// New returns a Doctor. It makes few connections at once.
func New() *Doctor { return &Doctor{limit: rate.NewLimiter(connectRate, atOnce)} }

// Audit audits hosts until ctx ends, and calls each with the findings of each host that
// was audited to the end. The calls come one after another.
func (d *Doctor) Audit(ctx context.Context, hosts []*Host, all *Inventory, each func(h *Host, findings []Finding)) {
	queue := make(chan *Host)
	var reported sync.Mutex
	var workers sync.WaitGroup
	for range min(atOnce, len(hosts)) {
		workers.Go(func() {
			for h := range queue {
				findings := d.Host(ctx, h, all)
				if ctx.Err() != nil {
					continue
				}
				reported.Lock()
				each(h, findings)
				reported.Unlock()
			}
		})
	}
	for _, h := range hosts {
		select {
		case queue <- h:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	workers.Wait()
}

// Host audits one host. All has the others.
func (d *Doctor) Host(ctx context.Context, h *Host, all *Inventory) []Finding {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	answer := d.ask(ctx, h)
	findings := append(d.dns(h, answer), d.redirects(h)...)
	for i := range h.Backends[:min(len(h.Backends), maxBackends)] {
		b := &backend{Backend: &h.Backends[i], host: h}
		findings = append(findings, d.backend(ctx, b, all)...)
	}
	return Sort(append(findings, d.hairpin(ctx, h, answer, findings)...))
}

// backend is one backend of a host.
type backend struct {
	*routing.Backend
	host *Host
}

// found returns a finding at the backend.
func (b *backend) found(kind string, cure []string, evidence string, parts ...any) Finding {
	return b.host.found(kind, b.Cluster, cure, evidence, parts...)
}

// backend audits a backend of a host: whether each of its addresses is reached, and what
// the first one that is reached answers.
func (d *Doctor) backend(ctx context.Context, b *backend, all *Inventory) (findings []Finding) {
	addresses, findings := d.addresses(ctx, b)
	if b.host.PlainOnly {
		return append(findings, d.plain(ctx, b, addresses)...)
	}
	var first *session
	for _, address := range addresses {
		s, found := d.reach(ctx, b, netip.AddrPortFrom(address, b.HTTPSPort))
		findings = append(findings, found...)
		switch {
		case s == nil:
		case first == nil:
			first = s
		default:
			s.close()
		}
	}
	findings = append(findings, d.plain(ctx, b, addresses)...)
	if first == nil {
		return findings
	}
	defer first.close()
	findings = append(findings, certificate(b, &first.state, time.Now())...)
	findings = append(findings, d.ech(ctx, b, first)...)
	findings = append(findings, d.others(ctx, b, first, all)...)
	return findings
}

// addresses returns the addresses of a backend that usher dials.
func (d *Doctor) addresses(ctx context.Context, b *backend) (addresses []netip.Addr, findings []Finding) {
	port := b.HTTPSPort
	if b.host.PlainOnly {
		port = b.HTTPPort
	}
	for _, text := range b.Addresses {
		resolved, err := d.resolve(ctx, text)
		if err != nil {
			findings = append(findings, b.unreachable("%s: %s", text, message.Of(err)))
		}
		for _, address := range resolved {
			switch {
			case len(addresses) == maxAddresses:
				return addresses, findings
			case d.isOwn(address, port):
				findings = append(findings, b.loop(text, address))
			case !b.Dials(address):
				findings = append(findings, b.unreachable("%s is not dialled: no backend may have the address %s", text, address))
			default:
				addresses = append(addresses, address)
			}
		}
	}
	return addresses, findings
}

func (d *Doctor) isOwn(address netip.Addr, port uint16) bool {
	return d.Own != nil && d.Own(netip.AddrPortFrom(address, port))
}

// resolve returns the addresses of an address or a DNS name.
func (d *Doctor) resolve(ctx context.Context, text string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return []netip.Addr{address}, nil
	}
	if d.Lookup == nil {
		return nil, errors.New("no resolver is known")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	resolved, err := d.Lookup(ctx, "ip", text)
	if err != nil {
		return nil, err
	}
	for i := range resolved {
		resolved[i] = resolved[i].Unmap()
	}
	return resolved[:min(len(resolved), maxAddresses)], nil
}

// unknownName returns a name that nobody serves.
func unknownName() string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // it never fails
	return fmt.Sprintf("usher-doctor-%s.invalid", hex.EncodeToString(random[:]))
}
