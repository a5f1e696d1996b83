package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testenv/started"
)

// readyTimeout is how long usher may take until it is ready.
const readyTimeout = time.Minute

// Usher is a running usher process on free ports of loopback.
type Usher struct {
	HTTPS, HTTP, API netip.AddrPort              // listen addresses; API is the admin listener
	TLS              map[string][]netip.AddrPort // those of --tls-listen: name → addresses
	log              string                      // path of the log file
	process          *process.Process
}

// Run starts usher run with additional flags, and waits until it is ready. It is
// killed when the bed stops. Its log is NAME.log in the bed's LogDir.
func Run(ctx context.Context, bed *testbed.Bed, name, program string, edge *testbed.Cluster, flags ...string) (*Usher, error) {
	u, err := Begin(bed, name, program, edge, flags...)
	if err != nil {
		return nil, err
	}
	return u, u.AwaitReady(ctx)
}

// Begin is like Run, but does not wait until usher is ready.
func Begin(bed *testbed.Bed, name, program string, edge *testbed.Cluster, flags ...string) (*Usher, error) {
	return begin(bed, name, program, append([]string{"--kubeconfig", edge.KubeconfigFile()}, flags...)...)
}

func begin(bed *testbed.Bed, name, program string, flags ...string) (*Usher, error) {
	args := append([]string{"run", "--https-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, flags...)
	u := &Usher{log: filepath.Join(bed.LogDir(), name+".log")}
	var err error
	u.process, err = bed.Run(name, nil, program, args...)
	return u, err
}

// AwaitReady waits until usher is ready, for at most a minute.
func (u *Usher) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return u.process.AwaitReady(ctx, u.ready)
}

// PID returns the process ID.
func (u *Usher) PID() int { return u.process.PID() }

// Kill ends usher with SIGKILL.
func (u *Usher) Kill() { u.process.Kill() }

// Terminate sends SIGTERM, waits for the end of usher, and returns its error.
func (u *Usher) Terminate(ctx context.Context) error { return u.process.Terminate(ctx) }

// ready reads usher's addresses from its log, and queries /readyz.
func (u *Usher) ready(ctx context.Context) error {
	at, err := started.Read(u.log)
	if err != nil {
		return err
	}
	u.HTTPS, u.HTTP, u.API, u.TLS = at.HTTPS, at.HTTP, at.Admin, at.TLS
	_, err = u.Get(ctx, "/readyz")
	return err
}

// Get returns a page of usher's admin listener, such as /metrics. A status other than
// 200 is an error.
func (u *Usher) Get(ctx context.Context, page string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s%s", u.API, page), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("usher answers %s with %s", page, response.Status)
	}
	return string(body), err
}
