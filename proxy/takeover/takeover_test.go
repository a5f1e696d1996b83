package takeover_test

import (
	"net"
	"testing"
	"time"

	"github.com/jovalle/usher/proxy/takeover"
)

// process stands for a process that listens.
type process struct {
	listener *takeover.Listener
	accepted int // connections so far
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

// acceptAll accepts the connections that the kernel has queued for the process.
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

// connect opens connections to an address. They are queued when it returns.
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

// Each new connection reaches the process that began to listen last, even after
// several take-overs. If that process ends first, they reach the former one again.
func TestNewConnectionsReachTheSecondListener(t *testing.T) {
	const count = 32 // if they were spread, one process would get all with a probability of 2 in 2^32
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
					t.Errorf("%s: the process that should get all %d connections gets %d", when, count, p.accepted-before)
				}
			}
			expect("alone", former)
			second := begin(t, former.address())
			expect("beside the former", second)
			_ = former.listener.Close()
			expect("after the former", second)
			third := begin(t, second.address())
			expect("a third beside it", third)
			_ = third.listener.Close()
			expect("the third is gone", second)
		})
	}
}
