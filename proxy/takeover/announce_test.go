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

// announce announces a Process without a log.
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

// listen listens until the test ends.
func listen(t *testing.T, p *takeover.Process, address string) *takeover.Listener {
	t.Helper()
	listener, err := p.Listen(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// wantListenError fails the test unless Listen returns an error with all of the words.
func wantListenError(t *testing.T, p *takeover.Process, address string, words ...string) {
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

// Both processes log the take-over, and the former one that it has the address again.
func TestBothLogATakeOver(t *testing.T) {
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

// If both processes keep running, the one that gets no connections logs an error. A
// process that was told to stop does not.
func TestFormerProcessIsNotTold(t *testing.T) {
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
			t.Errorf("a process that stops logs %q", lines)
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
			wantListenError(t, other, address, fmt.Sprintf("process %d", os.Getpid()), `"home"`, `"work"`, "--service")
			log.Await(t, "Refused an address to a process of another service", `"service":"work"`)
			_ = holder.Close()
			listen(t, other, address)
		})
	}
}

// Two services may listen on the same port of different addresses.
func TestServicesOnDifferentAddresses(t *testing.T) {
	_, port, err := net.SplitHostPort(listen(t, announce(t, "home"), "127.0.0.1:0").Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listen(t, announce(t, "work"), "127.0.0.2:"+port)
}

func TestProcessListensOnceOnAnAddress(t *testing.T) {
	p := announce(t, "usher")
	at := listen(t, p, "127.0.0.1:0").Addr().String()
	wantListenError(t, p, at, "this process listens on "+at+" already")
	listen(t, p, "127.0.0.1:0") // the kernel chooses another port
}

// A process that has not announced itself keeps its address, even if its socket has
// SO_REUSEPORT: it may be any program of the user.
func TestUnannouncedProcessKeepsItsAddress(t *testing.T) {
	holder := testkit.ListenReusePort(t)
	at := holder.Addr().String()
	var log testkit.Log
	p := announceTo(t, "usher", logTo(&log))
	wantListenError(t, p, at, "address already in use", "another program holds it")
	p.TakeOverFromOlder()
	listen(t, p, at)
	log.Await(t, "Took over from another usher process, which does not respond", at)
}

// Without a Process an address is neither shared nor taken over.
func TestNilProcessDoesNotShare(t *testing.T) {
	at := listen(t, nil, "127.0.0.1:0").Addr().String()
	wantListenError(t, nil, at, "address already in use")
	wantListenError(t, announce(t, "usher"), at, "address already in use")
	wantListenError(t, nil, listen(t, announce(t, "usher"), "127.0.0.1:0").Addr().String(), "address already in use")
}

// A process that does not respond delays another by a second at most.
func TestUnresponsiveProcess(t *testing.T) {
	for _, test := range []struct {
		service string // of the process that hangs
		yields  bool
	}{{"usher", true}, {"other", false}} {
		t.Run(test.service, func(t *testing.T) {
			hanging := startHelper(t, "listen", test.service, 0)
			hanging.hang(t)
			var log testkit.Log
			p := announceTo(t, "usher", logTo(&log))
			if !test.yields {
				wantListenError(t, p, hanging.result, "address already in use")
				return
			}
			listen(t, p, hanging.result)
			log.Await(t, "Took over from another usher process, which does not respond", hanging.result,
				fmt.Sprintf(`"process":%d`, hanging.cmd.Process.Pid))
		})
	}
}

// nobody is the UID of another user.
const nobody = 65534

// Another user cannot block an address by a socket name.
func TestOtherUserCannotBlockAnAddress(t *testing.T) {
	onlyRoot(t)
	free := listen(t, nil, "127.0.0.1:0")
	at := free.Addr().String()
	_ = free.Close()
	squatter := startHelper(t, "squat "+at, "usher", nobody)
	listen(t, announce(t, "usher"), at)
	if squatter.ended() {
		t.Error("the other user's process ended during the test")
	}
}

// Another user can neither take over an address nor get a response.
func TestOtherUserGetsNoResponse(t *testing.T) {
	onlyRoot(t)
	var log testkit.Log
	held := listen(t, announceTo(t, "usher", logTo(&log)), "127.0.0.1:0").Addr().String()
	other := startHelper(t, "take "+held, "usher", nobody)
	if !strings.Contains(other.result, "address already in use") {
		t.Errorf("another user's process that requests the address gets %q", other.result)
	}
	other.end()
	sender := startHelper(t, "query", "usher", nobody)
	if sender.result != "no answer" {
		t.Errorf("another user's process that sends a request gets %q", sender.result)
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

// helper is this program as another process, which does one task and prints the
// result.
type helper struct {
	cmd    *exec.Cmd
	result string
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

// startHelper runs a task of TestMain as a user, and waits for the result.
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
	h.result, err = readLine(out)
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

// help does a task and returns the result.
func help(task []string, service string) string {
	// Another goroutine that sleeps: else the runtime would report a deadlock in main.
	go func() { time.Sleep(time.Hour) }()
	ctx := context.Background()
	switch task[0] {
	case "query":
		return queryAll()
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

// squat pretends that another service holds an address.
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

// queryAll connects to all announced processes, and returns the first response.
func queryAll() string {
	list, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return err.Error()
	}
	queried := 0
	for line := range strings.Lines(string(list)) {
		_, name, found := strings.Cut(strings.TrimSpace(line), "@usher-takeover/")
		if !found {
			continue
		}
		conn, err := net.DialTimeout("unix", "@usher-takeover/"+name, time.Second)
		if err != nil {
			continue
		}
		queried++
		_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
		_, _ = io.WriteString(conn, `{"service":"usher","addresses":["127.0.0.1:1"]}`+"\n")
		if answer, _ := io.ReadAll(conn); len(answer) > 0 {
			return string(answer)
		}
		_ = conn.Close()
	}
	if queried == 0 {
		return "no announced process"
	}
	return "no answer"
}
