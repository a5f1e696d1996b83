package eventloop

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// resolves returns a resolver that knows these names only.
func resolves(names map[string]netip.Addr) *resolver {
	r := newResolver()
	r.lookup = func(_ context.Context, _, name string) ([]netip.Addr, error) {
		if addr, ok := names[name]; ok {
			return []netip.Addr{addr}, nil
		}
		return nil, errors.New("no such host")
	}
	return r
}

// neverResolves returns a resolver whose name server does not answer.
func neverResolves() *resolver {
	r := newResolver()
	r.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return r
}

func TestResolverAsksOnce(t *testing.T) {
	r := newResolver()
	var asked atomic.Int32
	goOn := make(chan struct{})
	r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		asked.Add(1)
		<-goOn
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
	answers := make(chan []netip.Addr, 10)
	for range cap(answers) {
		r.resolve(context.Background(), "a.is", func(addrs []netip.Addr) { answers <- addrs })
	}
	close(goOn)
	for range cap(answers) {
		if addrs := <-answers; len(addrs) != 1 {
			t.Errorf("answered %v", addrs)
		}
	}
	r.wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	if addrs, ok := r.cached("a.is"); !ok || len(addrs) != 1 {
		t.Errorf("cached: %v, %v", addrs, ok)
	}
}

func TestAnswersOutliveTheNameServer(t *testing.T) {
	home := netip.MustParseAddr("192.0.2.1")
	r := resolves(map[string]netip.Addr{"a.is": home})
	answers := make(chan []netip.Addr, 1)
	ask := func() []netip.Addr {
		r.resolve(context.Background(), "a.is", func(addrs []netip.Addr) { answers <- addrs })
		return <-answers
	}
	ask()
	r.wait()
	r.answers["a.is"].until = time.Time{} // no longer fresh
	r.lookup = neverResolves().lookup
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.resolve(ctx, "a.is", func(addrs []netip.Addr) { answers <- addrs })
	if addrs := <-answers; len(addrs) != 1 || addrs[0] != home {
		t.Errorf("answered %v after the name server was gone, want %v", addrs, home)
	}
}
