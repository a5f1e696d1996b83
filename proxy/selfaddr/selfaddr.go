// Package selfaddr reports which addresses lead back to this process. If a route
// led to one of them, usher would forward connections to itself in a loop.
//
// It knows the addresses of the machine's interfaces only. It does not know an
// address that a NAT rule redirects to this process: proxy/eventloop detects such a
// loop when a ClientHello returns. It does not know either that a NAT rule redirects
// a port of a local address to another program: to use such an address as a
// backend, let usher listen on single addresses instead of on all.
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

// refreshInterval is the time between two reads of the interfaces' addresses.
const refreshInterval = 5 * time.Second

// Set holds the addresses that this process listens on. Its methods may be called
// from any goroutine. No address reaches a nil Set.
type Set struct {
	mu        sync.Mutex                       // serialises Add
	listeners atomic.Pointer[[]netip.AddrPort] // unmapped, without zones
	local     atomic.Pointer[addresses]
}

// New returns the set of a process that listens, or will listen, on the given
// addresses. An unspecified address stands for every address of this machine. New
// reads the interfaces once; Run reads them regularly.
func New(listeners ...netip.AddrPort) *Set {
	s := &Set{}
	s.Add(listeners...)
	s.local.Store(&addresses{})
	_ = s.refresh() // Run logs the error
	return s
}

// Add adds addresses that the process listens on, such as those with ports that the
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

// Run reads the interfaces' addresses every few seconds until ctx ends. If they
// cannot be read, Run logs the first of consecutive errors, and the set keeps the
// addresses that it read last. Loopback addresses are always included.
func (s *Set) Run(ctx context.Context, log logr.Logger) {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	for failed := false; ; {
		err := s.refresh()
		if err != nil && !failed {
			log.Error(err, "Cannot read this machine's addresses: a route back to usher is detected only when it is used")
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

// Reaches reports whether a connection to addr would reach a listener of this
// process. It costs no system call and no allocation.
func (s *Set) Reaches(addr netip.AddrPort) bool {
	if s == nil {
		return false
	}
	addr = canonical(addr)
	for _, l := range *s.listeners.Load() {
		if l.Port() == addr.Port() && s.covers(l.Addr(), addr.Addr()) {
			return true
		}
	}
	return false
}

// covers reports whether a listener that is bound to one address accepts
// connections to addr.
func (s *Set) covers(bound, addr netip.Addr) bool {
	switch {
	case addr.IsUnspecified(): // the kernel and package net dial loopback instead
		return bound.IsLoopback() || bound.IsUnspecified()
	case bound == addr:
		return true
	case !bound.IsUnspecified() || bound.Is4() && !addr.Is4(): // [::] covers IPv4 too
		return false
	}
	return s.local.Load().contain(addr)
}

// canonical returns an address in a form that can be compared: IPv4-mapped IPv6 as
// IPv4, and without a zone.
func canonical(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port())
}
