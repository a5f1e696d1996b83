package selfaddr

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

func TestReaches(t *testing.T) {
	for name, tt := range map[string]struct {
		listeners, reaching, other string
	}{
		"one address": {
			"127.0.0.1:443", "127.0.0.1:443 [::ffff:127.0.0.1]:443 0.0.0.0:443 [::ffff:0.0.0.0]:443 [::]:443",
			"127.0.0.1:80 127.0.0.2:443 [::1]:443 [::]:80",
		},
		"all of IPv4": {
			"0.0.0.0:443", "127.0.0.1:443 127.9.9.9:443 [::ffff:127.0.0.3]:443 0.0.0.0:443",
			"[::1]:443 192.0.2.1:443 127.0.0.1:8443",
		},
		"all": {
			"[::]:443", "127.0.0.1:443 127.9.9.9:443 [::1]:443 [::1%lo]:443 [::]:443 0.0.0.0:443",
			"192.0.2.1:443 [2001:db8::1]:443 [::1]:444",
		},
		"mapped": {"[::ffff:127.0.0.1]:443", "127.0.0.1:443", "[::1]:443 127.0.0.2:443"},
		"IPv6":   {"[::1]:443", "[::1]:443 [::]:443", "127.0.0.1:443"},
		"beyond": {"192.0.2.1:443", "192.0.2.1:443", "0.0.0.0:443 127.0.0.1:443"},
		"several": {
			"127.0.0.1:443 127.0.0.2:80", "127.0.0.1:443 127.0.0.2:80", "127.0.0.1:80 127.0.0.2:443",
		},
		"none": {"", "", "127.0.0.1:443"},
	} {
		t.Run(name, func(t *testing.T) {
			set := New(parse(tt.listeners)...)
			for _, addr := range parse(tt.reaching) {
				if !set.Reaches(addr) {
					t.Errorf("%v should reach the set", addr)
				}
			}
			for _, addr := range parse(tt.other) {
				if set.Reaches(addr) {
					t.Errorf("%v should not reach the set", addr)
				}
			}
		})
	}
	var none *Set
	if none.Reaches(netip.MustParseAddrPort("127.0.0.1:443")) {
		t.Error("an address reaches a nil set")
	}
}

func TestAdd(t *testing.T) {
	first, second := netip.MustParseAddrPort("127.0.0.1:443"), netip.MustParseAddrPort("[::ffff:127.0.0.2]:80")
	set := New(first)
	var asking sync.WaitGroup
	asking.Go(func() {
		for range 1000 {
			set.Reaches(second)
		}
	})
	set.Add(second, second)
	asking.Wait()
	if !set.Reaches(second) {
		t.Errorf("%v does not reach the set", second)
	}
	if !set.Reaches(first) {
		t.Errorf("%v does not reach the set any more", first)
	}
	if listeners := *set.listeners.Load(); len(listeners) != 2 {
		t.Errorf("the set is %v", listeners)
	}
}

func parse(list string) []netip.AddrPort {
	var addrs []netip.AddrPort
	for word := range strings.FieldsSeq(list) {
		addrs = append(addrs, netip.MustParseAddrPort(word))
	}
	return addrs
}

// TestReachesAgreesWithKernel dials each address of this machine, and one more: the
// result must be what Reaches returns.
func TestReachesAgreesWithKernel(t *testing.T) {
	for _, bind := range []string{"tcp 0.0.0.0:0", "tcp4 0.0.0.0:0", "tcp [::]:0", "tcp 127.0.0.1:0", "tcp [::1]:0"} {
		t.Run(bind, func(t *testing.T) {
			network, address, _ := strings.Cut(bind, " ")
			listener, err := net.Listen(network, address)
			if err != nil {
				t.Skipf("cannot listen: %v", err)
			}
			defer listener.Close()
			bound := listener.Addr().(*net.TCPAddr).AddrPort()
			set := New(bound)
			for _, addr := range ownAddresses(t) {
				target := netip.AddrPortFrom(addr, bound.Port())
				conn, err := net.DialTimeout("tcp", target.String(), time.Second)
				if err == nil {
					conn.Close()
				}
				if got, want := set.Reaches(target), err == nil; got != want {
					t.Errorf("Reaches(%v) is %v, but dialling returns %v", target, got, err)
				}
			}
		})
	}
}

func ownAddresses(t *testing.T) []netip.Addr {
	t.Helper()
	addrs := []netip.Addr{netip.MustParseAddr("127.1.2.3")}
	found, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		addr, _ := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if !addr.IsLinkLocalUnicast() { // would need a zone to be dialled
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

// TestInterfacesChange adds and removes addresses in a network namespace of its own.
func TestInterfacesChange(t *testing.T) {
	inNamespace(t)
	set := New(netip.MustParseAddrPort("[::]:443"))
	for _, step := range []struct {
		command  string
		reaching string
		other    string
	}{
		{"link set lo up", "127.0.0.1:443", "192.0.2.1:443 [2001:db8::1]:443 198.51.100.7:443"},
		{"link add home up type veth peer name other", "", "192.0.2.1:443"},
		{"addr add 192.0.2.1/24 dev home", "192.0.2.1:443 [::ffff:192.0.2.1]:443", "192.0.2.2:443"},
		{"addr add 2001:db8::1/64 dev home", "[2001:db8::1]:443", "[2001:db8::2]:443"},
		{"addr add 192.0.2.5 peer 192.0.2.6 dev home", "192.0.2.5:443", "192.0.2.6:443"},
		{"addr add 198.51.100.1/24 dev lo", "198.51.100.7:443", "198.51.101.1:443"},
		{"addr del 192.0.2.1/24 dev home", "", "192.0.2.1:443"},
		{"link set home down", "", "192.0.2.5:443 [2001:db8::1]:443"}, // as kube-ipvs0 is
	} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(step.command)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", step.command, err, out)
		}
		if err := set.refresh(); err != nil {
			t.Fatal(err)
		}
		for _, addr := range parse(step.reaching) {
			if !set.Reaches(addr) {
				t.Errorf("after ip %s: %v should reach the set", step.command, addr)
			}
		}
		for _, addr := range parse(step.other) {
			if set.Reaches(addr) {
				t.Errorf("after ip %s: %v should not reach the set", step.command, addr)
			}
		}
	}
}

// inNamespace moves the thread of the test, and the processes that it starts, into a
// new network namespace. The thread ends with the test.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) && os.Getuid() != 0 {
			t.Skip("needs to be root for a network namespace")
		}
		t.Skipf("no network namespace: %v", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip(8) is not installed")
	}
}

func TestRunEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		New().Run(ctx, logr.Discard())
	}()
	stop()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not return")
	}
}

func BenchmarkReaches(b *testing.B) {
	set := New(netip.MustParseAddrPort("[::]:443"), netip.MustParseAddrPort("[::]:80"))
	addr := netip.MustParseAddrPort("192.0.2.1:443")
	b.ReportAllocs()
	for b.Loop() {
		set.Reaches(addr)
	}
}

func BenchmarkRefresh(b *testing.B) {
	set := New()
	for b.Loop() {
		if err := set.refresh(); err != nil {
			b.Fatal(err)
		}
	}
}
