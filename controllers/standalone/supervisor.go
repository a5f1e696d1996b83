package standalone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
)

const (
	// stopTimeout is how long the API server may take to end.
	stopTimeout = 15 * time.Second
	// readyRetry is how often the API server is asked whether it is ready.
	readyRetry = 50 * time.Millisecond
	// renewal is how often the certificates are looked at.
	renewal = 12 * time.Hour
	// room is how many bytes the API server needs to start.
	room = 20 << 20
)

// restartBackoff is the backoff before the API server is started again. It starts again
// every restartBackoffReset.
var restartBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 7, Cap: 10 * time.Second}

const restartBackoffReset = 5 * time.Minute

// A Supervisor runs the API server of a directory as another process.
type Supervisor struct {
	Dir       Dir
	Server    string   // its host and port
	AdminURL  string   // of the admin listener, for the kubeconfig
	Arguments []string // of this program, which make it the API server
	Log       logr.Logger
}

// Run runs the API server until ctx ends, and starts it again when it ends before. It
// returns when its process has ended.
func (s *Supervisor) Run(ctx context.Context) {
	go s.keepCertificates(ctx)
	backoff := restartBackoff.DelayWithReset(clock.RealClock{}, restartBackoffReset)
	_ = backoff.Until(ctx, true, true, func(ctx context.Context) (done bool, _ error) {
		err := s.runOnce(ctx)
		if ctx.Err() == nil {
			s.report(err)
		}
		return false, nil
	}) // the only error is that of ctx
}

// runOnce runs one process. It ends when this one does, or closes a pipe that the other
// one reads from. Signals do not end it: systemd sends SIGTERM to both, and the
// controllers write until they have ended.
func (s *Supervisor) runOnce(ctx context.Context) error {
	alive, held, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", s.Arguments...) //nolint:gosec // G204: this program; the file itself may be another version already
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = alive, os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is for this process
	cmd.Cancel = held.Close
	cmd.WaitDelay = stopTimeout
	err = cmd.Start()
	_ = alive.Close()
	if err != nil {
		return err
	}
	return cmd.Wait()
}

// report logs why the API server ended, and what to do about it.
func (s *Supervisor) report(err error) {
	const message = "The API server of this edge has ended, and is started again; the proxy continues to serve"
	if full := s.Dir.checkRoom(); full != nil {
		s.Log.Error(full, message, "advice", fmt.Sprintf("make room on the disk of %s, at least %d MiB: nothing that was acknowledged is lost", s.Dir, room>>20))
		return
	}
	s.Log.Error(err, message, "advice", "its own error is in the lines above")
}

// checkRoom returns an error if the disk has no room for the API server: it writes a file.
func (d Dir) checkRoom() error {
	file, err := os.CreateTemp(string(d), ".room-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	err = unix.Fallocate(int(file.Fd()), 0, 0, room)
	if errors.Is(err, unix.EOPNOTSUPP) {
		block := make([]byte, 1<<20)
		_, _ = rand.Read(block) // a file system may store zeros without room
		for err = nil; err == nil; {
			if at, _ := file.Seek(0, 1); at >= room {
				break
			}
			_, err = file.Write(block)
		}
	}
	return errors.Join(err, file.Close())
}

// keepCertificates renews the certificates before they end.
func (s *Supervisor) keepCertificates(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(renewal):
		}
		if err := s.Dir.Prepare(ctx, s.Server, s.AdminURL); err != nil && ctx.Err() == nil {
			s.Log.Error(err, "Could not renew the certificates")
		}
	}
}

// Await waits until the API server is ready, or ctx ends.
func (s *Supervisor) Await(ctx context.Context) error {
	client, err := rest.HTTPClientFor(s.Dir.Client(s.Server))
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return wait.PollUntilContextCancel(ctx, readyRetry, true, func(ctx context.Context) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Server+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, nil
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
}
