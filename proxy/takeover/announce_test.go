package takeover_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/takeover"
)

// announce makes a Process that logs nothing.
func announce(t *testing.T, service string) *takeover.Process {
	t.Helper()
	return announceTo(t, service, logr.Discard())
}

func announceTo(t *testing.T, service string, log logr.Logger) *takeover.Process {
	t.Helper()
	p, err := takeover.Announce(t.Context(), service, "v1", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// listen listens until the test ends, on a port that is free.
func listen(t *testing.T, p *takeover.Process, address string) *takeover.Listener {
	t.Helper()
	listener, err := p.Listen(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// refused wants an error with all of the words.
func refused(t *testing.T, p *takeover.Process, address string, words ...string) {
	t.Helper()
	began := time.Now()
	listener, err := p.Listen(t.Context(), address, nil)
	if err == nil {
		_ = listener.Close()
		t.Fatalf("Listen(%q) succeeds, want an error with %q", address, words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Listen(%q): %v; want an error with %q", address, err, word)
		}
	}
	if waited := time.Since(began); waited > 10*time.Second {
		t.Errorf("Listen(%q) took %v", address, waited)
	}
}

// logTo returns a logger that writes JSON.
func logTo(l *testkit.Log) logr.Logger {
	return funcr.NewJSON(func(line string) { l.Add("", line) }, funcr.Options{})
}

// Both processes say that one takes over, and the former that it has the address again.
func TestBothAnnounceATakeOver(t *testing.T) {
	var former, latter testkit.Log
	first := listen(t, announceTo(t, "usher", logTo(&former)), "127.0.0.1:0")
	at := first.Addr().String()
	pid := fmt.Sprintf(`"process":%d`, os.Getpid())
	second, err := announceTo(t, "usher", logTo(&latter)).Listen(t.Context(), at, nil)
	if err != nil {
		t.Fatal(err)
	}
	former.Await(t, "Another usher process takes over", at, pid, `"version":"v1"`)
	latter.Await(t, "Took over from another usher process", at, pid, `"version":"v1"`)
	_ = second.Close()
	former.Await(t, "new connections are this one's again", at)
}

// Two that run on are one too many: the one that gets no connections says so. One
// that was told to stop does not.
func TestOneTooMany(t *testing.T) {
	for _, stopping := range []bool{false, true} {
		var log testkit.Log
		p, err := takeover.AnnounceBriefly(t.Context(), "usher", "v1", logTo(&log))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		former := listen(t, p, "127.0.0.1:0")
		if stopping {
			p.Stopping()
		}
		latter := listen(t, announce(t, "usher"), former.Addr().String())
		if !stopping {
			log.Await(t, "this one was not told to stop: it gets no new connections", former.Addr().String())
		}
		_ = latter.Close()
		log.Await(t, "new connections are this one's again")
		if lines := log.With("not told to stop"); stopping && len(lines) > 0 {
			t.Errorf("a process that stops says %q", lines)
		}
	}
}

// The kernel would let any two processes of one user share an address.
func TestAnotherServiceIsRefused(t *testing.T) {
	for _, test := range []struct{ name, holds, wants string }{
		{"the same address", "127.0.0.1:0", "127.0.0.1:%s"},
		{"a part of it", ":0", "127.0.0.1:%s"},
		{"more than it", "127.0.0.1:0", "0.0.0.0:%s"},
		{"IPv4 as IPv6", "127.0.0.1:0", "[::ffff:127.0.0.1]:%s"},
		{"every address", "[::]:0", ":%s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log testkit.Log
			holder := listen(t, announceTo(t, "home", logTo(&log)), test.holds)
			_, port, err := net.SplitHostPort(holder.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			address := fmt.Sprintf(test.wants, port)
			other := announce(t, "work")
			refused(t, other, address, fmt.Sprintf("process %d", os.Getpid()), `"home"`, `"work"`, "--service")
			log.Await(t, "Refused an address to a process of another service", `"service":"work"`)
			_ = holder.Close()
			listen(t, other, address)
		})
	}
}

// Two services may have a port each at addresses of their own.
func TestServicesBesideOneAnother(t *testing.T) {
	_, port, err := net.SplitHostPort(listen(t, announce(t, "home"), "127.0.0.1:0").Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listen(t, announce(t, "work"), "127.0.0.2:"+port)
}

func TestOneProcessHasAnAddressOnce(t *testing.T) {
	p := announce(t, "usher")
	at := listen(t, p, "127.0.0.1:0").Addr().String()
	refused(t, p, at, "this process listens on "+at+" already")
	listen(t, p, "127.0.0.1:0") // the kernel chooses another port
}

// One that does not say who it is keeps its address, though it shares: it may be
// any program of the user.
func TestOneThatDoesNotSayWhoItIsKeepsItsAddress(t *testing.T) {
	holder := testkit.ListenReusePort(t)
	at := holder.Addr().String()
	var log testkit.Log
	p := announceTo(t, "usher", logTo(&log))
	refused(t, p, at, "address already in use", "another program holds it")
	p.TakeOverFromOlder()
	listen(t, p, at)
	log.Await(t, "Took over from another usher process, which does not say who it is", at)
}

// Without a Process an address is shared with none, and taken from none.
func TestSharedWithNone(t *testing.T) {
	at := listen(t, nil, "127.0.0.1:0").Addr().String()
	refused(t, nil, at, "address already in use")
	refused(t, announce(t, "usher"), at, "address already in use")
	refused(t, nil, listen(t, announce(t, "usher"), "127.0.0.1:0").Addr().String(), "address already in use")
}

// Asking costs a process that is not answered a second, and no more.
func TestAProcessThatHangs(t *testing.T) {
	for _, test := range []struct {
		service string // of the one that hangs
		yields  bool
	}{{"usher", true}, {"other", false}} {
		t.Run(test.service, func(t *testing.T) {
			hanging := startHelper(t, "listen", test.service, 0)
			hanging.hang(t)
			var log testkit.Log
			p := announceTo(t, "usher", logTo(&log))
			if !test.yields {
				refused(t, p, hanging.said, "address already in use")
				return
			}
			listen(t, p, hanging.said)
			log.Await(t, "Took over from another usher process, which does not say who it is", hanging.said,
				fmt.Sprintf(`"process":%d`, hanging.cmd.Process.Pid))
		})
	}
}

// nobody is a user that is not this one.
const nobody = 65534

// Another user cannot keep an address from a process by a name.
func TestAnotherUserSquats(t *testing.T) {
	onlyRoot(t)
	free := listen(t, nil, "127.0.0.1:0")
	at := free.Addr().String()
	_ = free.Close()
	squatter := startHelper(t, "squat "+at, "usher", nobody)
	listen(t, announce(t, "usher"), at)
	if squatter.ended() {
		t.Error("the squatter ended, and proves nothing")
	}
}

// Another user can neither take an address over nor make a process talk.
func TestAnotherUserAsks(t *testing.T) {
	onlyRoot(t)
	var log testkit.Log
	held := listen(t, announceTo(t, "usher", logTo(&log)), "127.0.0.1:0").Addr().String()
	other := startHelper(t, "take "+held, "usher", nobody)
	if !strings.Contains(other.said, "address already in use") {
		t.Errorf("another user's process that wants the address says %q", other.said)
	}
	other.end()
	asker := startHelper(t, "ask", "usher", nobody)
	if asker.said != "no answer" {
		t.Errorf("another user's process that asks is told %q", asker.said)
	}
	if lines := log.With(); len(lines) > 0 {
		t.Errorf("it is logged: %q", lines)
	}
}

func onlyRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
}

// helper is this program as another process, which does one thing and says what came of it.
type helper struct {
	cmd  *exec.Cmd
	said string
}

// hang stops the process, and returns once it has.
func (h *helper) hang(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(h.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the helper did not stop: %v", err)
	}
}

func (h *helper) end() {
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
}

// ended reports whether the process is gone.
func (h *helper) ended() bool {
	return h.cmd.Process.Signal(syscall.Signal(0)) != nil
}

const (
	helperTask    = "USHER_TAKEOVER_TEST_TASK"
	helperService = "USHER_TAKEOVER_TEST_SERVICE"
)

// startHelper runs a task of TestMain's as a user, and waits for what it says.
func startHelper(t *testing.T, task, service string, uid uint32) *helper {
	t.Helper()
	h := &helper{cmd: exec.CommandContext(t.Context(), "/proc/self/exe")}
	h.cmd.Env = append(os.Environ(), helperTask+"="+task, helperService+"="+service)
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != 0 {
		h.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: uid}
	}
	h.cmd.Stderr = os.Stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.end)
	h.said, err = readLine(out)
	if err != nil {
		t.Fatalf("the helper that should %s ended: %v", task, err)
	}
	return h
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; line = append(line, one[0]) {
		if _, err := io.ReadFull(r, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(line), nil
		}
	}
}

func TestMain(m *testing.M) {
	if task := os.Getenv(helperTask); task != "" {
		fmt.Println(help(strings.Fields(task), os.Getenv(helperService)))
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// help does a task, and returns what is to be said of it.
func help(task []string, service string) string {
	// Something runs on, so that main may rest.
	go func() { time.Sleep(time.Hour) }()
	ctx := context.Background()
	switch task[0] {
	case "ask":
		return askAll()
	case "squat":
		return squat(task[1])
	}
	p, err := takeover.Announce(ctx, service, "v0", logr.Discard())
	if err != nil {
		return err.Error()
	}
	address := "127.0.0.1:0"
	if len(task) > 1 {
		address = task[1]
	}
	listener, err := p.Listen(ctx, address, nil)
	if err != nil {
		return err.Error()
	}
	return listener.Addr().String()
}

// squat says that another service holds an address.
func squat(address string) string {
	listener, err := net.Listen("unix", "@usher-takeover/squatter")
	if err != nil {
		return err.Error()
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(conn, `{"service":"squatter","pid":1,"addresses":[%q]}`+"\n", address)
			_ = conn.Close()
		}
	}()
	return "squats"
}

// askAll connects to all processes that are announced, and returns what one says.
func askAll() string {
	list, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return err.Error()
	}
	asked := 0
	for line := range strings.Lines(string(list)) {
		_, name, found := strings.Cut(strings.TrimSpace(line), "@usher-takeover/")
		if !found {
			continue
		}
		conn, err := net.DialTimeout("unix", "@usher-takeover/"+name, time.Second)
		if err != nil {
			continue
		}
		asked++
		_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
		_, _ = io.WriteString(conn, `{"service":"usher","addresses":["127.0.0.1:1"]}`+"\n")
		if answer, _ := io.ReadAll(conn); len(answer) > 0 {
			return string(answer)
		}
		_ = conn.Close()
	}
	if asked == 0 {
		return "nobody to ask"
	}
	return "no answer"
}
