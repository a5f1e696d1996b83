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

// asProgram makes the tests' program usher itself.
const asProgram = "USHER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// running is usher as a process of its own.
type running struct {
	cmd *exec.Cmd
	out *os.File // what usher writes to is read here

	mu  sync.Mutex
	log bytes.Buffer // of what was read

	HTTPS, HTTP, Admin []netip.AddrPort
}

// program starts usher run with files instead of an API server, on ports of its own
// where no others are given.
func program(t *testing.T, dir string, flags ...string) *running {
	t.Helper()
	args := append([]string{"run", "--controllers=false", "--manifests", dir,
		"--https-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, flags...)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	u := &running{cmd: exec.CommandContext(t.Context(), "/proc/self/exe", args...), out: reader}
	u.cmd.Env = append(os.Environ(), asProgram+"=yes")
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

// keep keeps the log.
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

func (u *running) said() string {
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
		for line := range strings.Lines(u.said()) {
			if testkit.ContainsAll(line, words) {
				found = line
				return nil
			}
		}
		return fmt.Errorf("it is\n%s", u.said())
	})
	return found
}

func (u *running) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the process, which must end with a code.
func (u *running) ends(t *testing.T, code int) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- u.cmd.Wait() }()
	select {
	case err := <-ended:
		if got := u.cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("usher ends with %d, %v; want %d:\n%s", got, err, code, u.said())
		}
	case <-time.After(testkit.Timeout):
		t.Fatalf("usher does not end:\n%s", u.said())
	}
}

// fails is a start that must end with a code and words.
func (u *running) fails(t *testing.T, code int, words ...string) {
	t.Helper()
	u.ends(t, code)
	u.await(t, words...)
}

// pid is how a log line names a process.
func (u *running) pid() string { return fmt.Sprintf(`"process":%d`, u.cmd.Process.Pid) }

// ready asks usher whether it is.
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

// What ends other programs does not end usher, which would cut its connections.
func TestSignalsThatUsherSurvives(t *testing.T) {
	u := program(t, t.TempDir()).started(t)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGHUP} {
		u.signal(t, s)
	}
	u.await(t, "Ignored SIGHUP: usher follows its configuration by itself")
	u.ready(t)
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)
}

// The reader of the log may end: writing to it fails from then on.
func TestTheLogsReaderEnds(t *testing.T) {
	u := program(t, t.TempDir()).started(t)
	_ = u.out.Close()
	for range 20 {
		u.signal(t, syscall.SIGHUP) // which is logged
		u.ready(t)
	}
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)
}

// hold opens a connection through usher that its backend neither answers nor ends.
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
	// Its hello alone is of use: nobody answers.
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

// heldOpen is a connection whose socket is left by a handshake that is given up
// and what comes on it alone.
type heldOpen struct{ net.Conn }

func (heldOpen) Read([]byte) (int, error) { select {} }
func (heldOpen) Close() error             { return nil }

// open reports whether a connection is, after what has come on it.
func open(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, conn)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// A supervisor that repeats SIGTERM does not cut what the first let go on. A person
// who presses Ctrl-C does.
func TestSignalsWhileDraining(t *testing.T) {
	u, conn := hold(t, "--drain-timeout=1h")
	u.signal(t, syscall.SIGTERM)
	u.await(t, "Stopping", `"signal":"terminated"`)
	u.signal(t, syscall.SIGHUP)
	u.await(t, "Ignored SIGHUP")
	u.signal(t, syscall.SIGTERM)
	u.await(t, "Ignored another signal to stop")
	if !open(t, conn) {
		t.Fatal("the connection does not outlive a second SIGTERM")
	}
	u.signal(t, syscall.SIGINT)
	u.ends(t, exitFailure)
	if open(t, conn) {
		t.Error("the connection outlives usher")
	}
}

// Of two processes that follow the same files one takes over from the other, and
// both say so.
func TestTakeOverByTheSameService(t *testing.T) {
	dir := t.TempDir()
	former := program(t, dir).started(t)
	same := []string{"--https-listen=" + former.HTTPS[0].String(), "--http-listen=" + former.HTTP[0].String(), "--admin-listen=" + former.Admin[0].String()}
	latter := program(t, dir, same...).started(t)
	for _, address := range []netip.AddrPort{former.HTTPS[0], former.HTTP[0], former.Admin[0]} {
		former.await(t, "Another usher process takes over", address.String(), latter.pid())
		latter.await(t, "Took over from another usher process", address.String(), former.pid())
	}
	latter.signal(t, syscall.SIGTERM)
	latter.ends(t, 0)
	former.await(t, "new connections are this one's again", former.HTTPS[0].String())
	former.signal(t, syscall.SIGTERM)
	former.ends(t, 0)
}

// One that follows other files is of another service, and gets no address; where a
// person says that both are one service, it does.
func TestTakeOverByAnotherService(t *testing.T) {
	stranger := program(t, t.TempDir()).started(t)
	program(t, t.TempDir(), "--http-listen="+stranger.HTTP[0].String()).fails(t, exitFailure, "usher: ", `another service, "manifests /`)
	former := program(t, t.TempDir(), "--service=home").started(t)
	for _, flag := range []string{
		"--https-listen=:" + fmt.Sprint(former.HTTPS[0].Port()),
		"--http-listen=" + former.HTTP[0].String(),
		"--admin-listen=" + former.Admin[0].String(),
	} {
		program(t, t.TempDir(), flag).fails(t, exitFailure, "usher: ",
			fmt.Sprintf("process %d", former.cmd.Process.Pid), `another service, "home"`, "--service")
	}
	former.await(t, "Refused an address to a process of another service", former.HTTPS[0].String())
	former.ready(t)
	program(t, t.TempDir(), "--service=home", "--https-listen="+former.HTTPS[0].String()).started(t)
}

// An upgrade from an usher that does not announce itself goes on as before. It is
// known by its metrics; a program that merely shares its port keeps it.
func TestTakeOverFromOneThatDoesNotSayWhoItIs(t *testing.T) {
	for name, test := range map[string]struct{ metrics, says string }{
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
			if test.says != "" {
				u.fails(t, exitFailure, test.says)
				return
			}
			u.started(t)
			u.await(t, "Took over from another usher process, which does not respond", https.Addr().String())
		})
	}
}
