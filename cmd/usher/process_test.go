package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// asProgram makes the test binary run usher.
const asProgram = "USHER_TEST_AS_PROGRAM"

// programEnv adds what makes the test binary run usher to an environment. Without the option of the
// race detector, each program would wait for a second before it ends.
func programEnv(env ...string) []string {
	return append(env, asProgram+"=yes", "GORACE=atexit_sleep_ms=0")
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// running is an usher process.
type running struct {
	cmd *exec.Cmd
	out *os.File // the read end of usher's log

	mu  sync.Mutex
	log bytes.Buffer // what was read of it

	HTTPS, HTTP, Admin []netip.AddrPort
}

// program starts usher run with manifests instead of an API server, on free ports
// unless flags give others.
func program(t *testing.T, dir string, flags ...string) *running {
	t.Helper()
	return launch(t, append([]string{"--controllers=false", "--manifests", dir}, flags...)...)
}

// launch starts usher run on free ports, unless flags give others.
func launch(t *testing.T, flags ...string) *running {
	t.Helper()
	args := append([]string{"run", "--https-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, flags...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	u := &running{cmd: exec.CommandContext(t.Context(), "/proc/self/exe", args...), out: reader}
	u.cmd.Env = programEnv(os.Environ()...)
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	u.cmd.Stderr = writer
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	go u.keep()
	t.Cleanup(func() {
		_ = u.cmd.Process.Kill()
		_ = u.cmd.Wait()
		_ = reader.Close()
	})
	return u
}

// keep copies the log into memory.
func (u *running) keep() {
	buffer := make([]byte, 1<<16)
	for {
		n, err := u.out.Read(buffer)
		u.mu.Lock()
		u.log.Write(buffer[:n])
		u.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (u *running) logged() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.log.String()
}

// started waits until usher listens.
func (u *running) started(t *testing.T) *running {
	t.Helper()
	line := u.await(t, `"msg":"Started"`)
	if err := json.Unmarshal([]byte(line), u); err != nil {
		t.Fatal(err)
	}
	return u
}

// await waits for a line of the log that has all of the words.
func (u *running) await(t *testing.T, words ...string) string {
	t.Helper()
	var found string
	testkit.Eventually(t, fmt.Sprintf("the log should have a line with %q", words), func() error {
		for line := range strings.Lines(u.logged()) {
			if testkit.ContainsAll(line, words) {
				found = line
				return nil
			}
		}
		return fmt.Errorf("it is\n%s", u.logged())
	})
	return found
}

func (u *running) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the process and checks its exit code.
func (u *running) ends(t *testing.T, code int) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- u.cmd.Wait() }()
	select {
	case err := <-ended:
		if got := u.cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("usher ends with %d, %v; want %d:\n%s", got, err, code, u.logged())
		}
	case <-time.After(testkit.Timeout):
		t.Fatalf("usher does not end:\n%s", u.logged())
	}
}

// fails waits for the process, and checks its exit code and that a line of its log has all of the words.
func (u *running) fails(t *testing.T, code int, words ...string) {
	t.Helper()
	u.ends(t, code)
	u.await(t, words...)
}

// pid returns how a log line names the process.
func (u *running) pid() string { return fmt.Sprintf(`"process":%d`, u.cmd.Process.Pid) }

// ready checks that usher is ready.
func (u *running) ready(t *testing.T) {
	t.Helper()
	client := http.Client{Timeout: testkit.Timeout}
	response, err := client.Get(fmt.Sprintf("http://%s/readyz", u.Admin[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %s", response.Status)
	}
}

// Signals that end other programs do not end usher, since that would cut its connections.
func TestSignalsThatUsherIgnores(t *testing.T) {
	u := program(t, t.TempDir()).started(t)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGHUP} {
		u.signal(t, s)
	}
	u.await(t, "Ignored SIGHUP: usher watches its configuration")
	u.ready(t)
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)
}

// Writing to the log fails once its reader has ended.
func TestUsherSurvivesTheReaderOfItsLog(t *testing.T) {
	u := program(t, t.TempDir()).started(t)
	_ = u.out.Close()
	for range 20 {
		u.signal(t, syscall.SIGHUP) // which is logged
		u.ready(t)
	}
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)
}

// hold opens a connection through usher, and returns its backend's end, which neither answers nor closes it.
func hold(t *testing.T, flags ...string) (*running, net.Conn) {
	t.Helper()
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	dir := t.TempDir()
	manifest := fmt.Sprintf(`{"apiVersion":"usher.techn.is/v1alpha1","kind":"ExposedHost","metadata":{"name":"a.techn.is"},
		"spec":{"host":"a.techn.is","backends":[{"address":"127.0.0.1","httpsPort":%d}]}}`, backend.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(filepath.Join(dir, "hosts.json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	u := program(t, dir, flags...).started(t)
	client, err := net.DialTimeout("tcp", u.HTTPS[0].String(), testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	// Only its ClientHello matters: nothing answers.
	go func() {
		_ = tls.Client(heldOpen{client}, &tls.Config{ServerName: "a.techn.is", MinVersion: tls.VersionTLS12}).HandshakeContext(ctx)
	}()
	reached, err := backend.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reached.Close() })
	return u, reached
}

// heldOpen is a connection whose socket a cancelled handshake neither reads nor closes.
type heldOpen struct{ net.Conn }

func (heldOpen) Read([]byte) (int, error) { select {} }
func (heldOpen) Close() error             { return nil }

// open reports whether a connection is still open after all received bytes were read.
func open(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// A repeated SIGTERM, as of a supervisor, does not close connections that are draining.
// SIGINT, as of a person who presses Ctrl-C, does.
func TestSignalsWhileDraining(t *testing.T) {
	u, conn := hold(t, "--drain-timeout=1h")
	u.signal(t, syscall.SIGTERM)
	u.await(t, "Stopping", `"signal":"terminated"`)
	u.signal(t, syscall.SIGHUP)
	u.await(t, "Ignored SIGHUP")
	u.signal(t, syscall.SIGTERM)
	u.await(t, "Ignored another signal to stop")
	if !open(t, conn) {
		t.Fatal("the second SIGTERM closed the connection")
	}
	u.signal(t, syscall.SIGINT)
	u.ends(t, exitFailure)
	if open(t, conn) {
		t.Error("the connection is open after usher has ended")
	}
}

// A process takes over from another one that reads the same manifests, and both log it.
func TestTakeOverByTheSameService(t *testing.T) {
	dir := t.TempDir()
	older := program(t, dir).started(t)
	same := []string{"--https-listen=" + older.HTTPS[0].String(), "--http-listen=" + older.HTTP[0].String(), "--admin-listen=" + older.Admin[0].String()}
	newer := program(t, dir, same...).started(t)
	for _, address := range []netip.AddrPort{older.HTTPS[0], older.HTTP[0], older.Admin[0]} {
		older.await(t, "Another usher process takes over", address.String(), newer.pid())
		newer.await(t, "Took over from another usher process", address.String(), older.pid())
	}
	newer.signal(t, syscall.SIGTERM)
	newer.ends(t, 0)
	older.await(t, "new connections are this one's again", older.HTTPS[0].String())
	older.signal(t, syscall.SIGTERM)
	older.ends(t, 0)
}

// A process that reads other manifests belongs to another service, and cannot take over
// an address, unless --service makes both one service.
func TestTakeOverByAnotherService(t *testing.T) {
	other := program(t, t.TempDir()).started(t)
	program(t, t.TempDir(), "--http-listen="+other.HTTP[0].String()).fails(t, exitFailure, "usher: ", `another service, "manifests /`)
	older := program(t, t.TempDir(), "--service=home").started(t)
	for _, flag := range []string{
		"--https-listen=:" + fmt.Sprint(older.HTTPS[0].Port()),
		"--http-listen=" + older.HTTP[0].String(),
		"--admin-listen=" + older.Admin[0].String(),
	} {
		program(t, t.TempDir(), flag).fails(t, exitFailure, "usher: ",
			fmt.Sprintf("process %d", older.cmd.Process.Pid), `another service, "home"`, "--service")
	}
	older.await(t, "Refused an address to a process of another service", older.HTTPS[0].String())
	older.ready(t)
	program(t, t.TempDir(), "--service=home", "--https-listen="+older.HTTPS[0].String()).started(t)
}

// An upgrade from an usher that does not announce itself works as before: it is
// recognized by its metrics. Another program that shares the port keeps it.
func TestTakeOverFromAnOlderVersion(t *testing.T) {
	for name, test := range map[string]struct{ metrics, failure string }{
		"an older usher":  {"# HELP\nusher_connections_limit 64\n", ""},
		"another program": {"# HELP\nnginx_connections 64\n", "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			https, metrics := testkit.ListenReusePort(t), testkit.ListenReusePort(t)
			server := &http.Server{ReadHeaderTimeout: testkit.Timeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, test.metrics)
			})}
			go func() { _ = server.Serve(metrics) }()
			t.Cleanup(func() { _ = server.Close() })
			u := program(t, t.TempDir(), "--https-listen="+https.Addr().String(), "--admin-listen="+metrics.Addr().String())
			if test.failure != "" {
				u.fails(t, exitFailure, test.failure)
				return
			}
			u.started(t)
			u.await(t, "Took over from another usher process, which does not respond", https.Addr().String())
		})
	}
}
