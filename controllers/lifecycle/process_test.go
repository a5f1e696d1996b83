package lifecycle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// write writes a manifest into a directory.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func TestHostsFromManifests(t *testing.T) {
	dir, backend := t.TempDir(), startBackend(t)
	write(t, dir, "a.yaml", exposedHost("a.techn.is", backend))
	p := fromFiles(t, dir).start(t).awaitReady(t)
	testkit.Must(t, p.serves(t, "a.techn.is"))
	write(t, dir, "b.yaml", exposedHost("b.techn.is", backend))
	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	p.awaitServed(t, "b.techn.is")
	p.awaitRefused(t, "a.techn.is")
	p.end(t)
}

// The proxy serves the good manifests, but the process is not ready while a file without
// a last good state is refused.
func TestNotReadyWhileAManifestIsBroken(t *testing.T) {
	dir, backend := t.TempDir(), startBackend(t)
	write(t, dir, "a.yaml", exposedHost("a.techn.is", backend))
	write(t, dir, "b.yaml", "{")
	p := fromFiles(t, dir).start(t)
	testkit.WaitFor(t, "the proxy to listen", func() bool { return p.started.Load() == 1 })
	testkit.Must(t, p.serves(t, "a.techn.is"))
	if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("Ready() = %v", err)
	}
	write(t, dir, "b.yaml", exposedHost("b.techn.is", backend))
	p.awaitReady(t)
}

// A failure of the feed or of the proxy ends the process.
func TestFailureOfFeedOrProxy(t *testing.T) {
	t.Run("the feed", func(t *testing.T) {
		p := fromFiles(t, filepath.Join(t.TempDir(), "missing")).start(t)
		if err := p.awaitEnd(t); err == nil || !strings.Contains(err.Error(), "missing") {
			t.Errorf("Run: %v", err)
		}
		if p.started.Load() != 0 || p.stopping.Load() != 1 {
			t.Errorf("it started %d times and stopped %d times", p.started.Load(), p.stopping.Load())
		}
	})
	t.Run("the proxy", func(t *testing.T) {
		p := fromFiles(t, t.TempDir())
		p.proxy.HTTPSListen = []string{"192.0.2.1:0"}
		if err := p.start(t).awaitEnd(t); err == nil || !strings.Contains(err.Error(), "listen for HTTPS") {
			t.Errorf("Run: %v", err)
		}
		if p.started.Load() != 0 || p.stopping.Load() != 1 {
			t.Errorf("it started %d times and stopped %d times", p.started.Load(), p.stopping.Load())
		}
		if err := p.Ready(); err == nil || err.Error() != "the proxy does not listen yet" {
			t.Errorf("Ready() = %v", err)
		}
	})
}

// A process calls Stopping as soon as it must stop, and ends when the last connection
// has ended.
func TestStoppingIsCalledBeforeTheDrain(t *testing.T) {
	dir, backend := t.TempDir(), startBackend(t)
	write(t, dir, "a.yaml", exposedHost("a.techn.is", backend))
	p := fromFiles(t, dir).start(t).awaitReady(t)
	open, err := p.visit(t, "a.techn.is")
	testkit.Must(t, err)
	p.cancel()
	testkit.WaitFor(t, "the call of Stopping", func() bool { return p.stopping.Load() == 1 })
	testkit.Must(t, echoes(open))
	select {
	case err := <-p.ended:
		t.Fatalf("Run returns %v while a connection is open", err)
	default:
	}
	testkit.Must(t, open.Close())
	p.end(t)
}
