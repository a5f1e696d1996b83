package takeover_test

import (
	"net"
	"testing"
	"time"

	"github.com/jovalle/usher/proxy/takeover"
)

// process stands for one that listens.
type process struct {
	listener *takeover.Listener
	accepted int // connections, so far
}

func begin(t *testing.T, address string) *process {
	t.Helper()
	listener, err := announce(t, "usher").Listen(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return &process{listener: listener}
}

func (p *process) address() string { return p.listener.Addr().String() }

// acceptAll takes what the kernel has for the process.
func (p *process) acceptAll(t *testing.T) {
	t.Helper()
	for {
		if err := p.listener.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
		p.accepted++
	}
}

// connect makes connections to an address. They are there when it returns.
func connect(t *testing.T, address string, count int) {
	t.Helper()
	for range count {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// Each connection is the newcomer's, however often one process has taken over
// from another, and where the newcomer ends first the former has them again.
func TestNewConnectionsAreTheNewcomers(t *testing.T) {
	const count = 32 // were they spread, all would be one process's by a chance of 2 in 2^32
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			former := begin(t, address)
			_, port, err := net.SplitHostPort(former.address())
			if err != nil {
				t.Fatal(err)
			}
			at := net.JoinHostPort("127.0.0.1", port)
			expect := func(when string, p *process) {
				t.Helper()
				before := p.accepted
				connect(t, at, count)
				if p.acceptAll(t); p.accepted-before != count {
					t.Errorf("%s: the process that should have all %d connections has %d", when, count, p.accepted-before)
				}
			}
			expect("alone", former)
			newcomer := begin(t, former.address())
			expect("beside the former", newcomer)
			_ = former.listener.Close()
			expect("after the former", newcomer)
			third := begin(t, newcomer.address())
			expect("a third beside it", third)
			_ = third.listener.Close()
			expect("the third is gone", newcomer)
		})
	}
}
