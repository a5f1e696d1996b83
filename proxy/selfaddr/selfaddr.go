// Package selfaddr tells which addresses lead back to this process. A route to
// one of them would have usher forward to itself, without end.
//
// It sees what the machine's interfaces say. An address that leads here by a NAT
// rule somewhere is not known to it: proxy/eventloop notices such a loop by what
// comes back. The other way round, a rule that hands a local address's port to
// someone else is not known either: where such an address is to be a backend, let
// usher listen on addresses of its own instead of on all.
//
// It must not import Kubernetes, nor anything else of usher.
package selfaddr

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// refreshEvery is how long a change of the interfaces' addresses may go unseen.
const refreshEvery = 5 * time.Second

// Set is the addresses that this process listens on. Its methods may be called
// from any goroutine. A nil Set leads nowhere.
type Set struct {
	mu        sync.Mutex                       // held while listeners is replaced
	listeners atomic.Pointer[[]netip.AddrPort] // unmapped, without zones
	local     atomic.Pointer[addresses]
}

// New returns the set of a process that listens on the given addresses, or is
// about to: an unspecified one is every address of this machine. It reads the
// interfaces once; Run keeps up with them.
func New(listeners ...netip.AddrPort) *Set {
	s := &Set{}
	s.Add(listeners...)
	s.local.Store(&addresses{})
	_ = s.refresh() // Run says so if it cannot be read
	return s
}

// Add adds addresses that the process listens on, such as those whose ports the
// kernel has chosen.
func (s *Set) Add(listeners ...netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []netip.AddrPort
	if known := s.listeners.Load(); known != nil {
		all = slices.Clone(*known)
	}
	for _, l := range listeners {
		if l = canonical(l); !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	s.listeners.Store(&all)
}

// Run reads the interfaces' addresses every few seconds until ctx ends. Where they
// cannot be read it says so in the log, once, and the last ones count, with
// loopback's.
func (s *Set) Run(ctx context.Context, log logr.Logger) {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for failed := false; ; {
		err := s.refresh()
		if err != nil && !failed {
			log.Error(err, "Cannot read this machine's addresses: a route back to usher is noticed only when it is used")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Set) refresh() error {
	local, err := readAddresses()
	if err == nil {
		s.local.Store(local)
	}
	return err
}

// Leads reports whether a connection to addr would reach a listener of this
// process. It costs no system call and no allocation.
func (s *Set) Leads(addr netip.AddrPort) bool {
	if s == nil {
		return false
	}
	addr = canonical(addr)
	for _, l := range *s.listeners.Load() {
		if l.Port() == addr.Port() && s.reaches(l.Addr(), addr.Addr()) {
			return true
		}
	}
	return false
}

// reaches reports whether a listener bound to one address hears of connections to
// another.
func (s *Set) reaches(bound, addr netip.Addr) bool {
	switch {
	case addr.IsUnspecified(): // the kernel, and package net, take it for loopback
		return bound.IsLoopback() || bound.IsUnspecified()
	case bound == addr:
		return true
	case !bound.IsUnspecified() || bound.Is4() && !addr.Is4(): // [::] is IPv4 too
		return false
	}
	return s.local.Load().contain(addr)
}

// canonical returns an address as netip compares them: IPv4-mapped IPv6 as IPv4,
// and without a zone.
func canonical(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}
