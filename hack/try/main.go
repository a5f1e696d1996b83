// Command try shows usher's proxy alone, without Kubernetes: two small TLS sites on
// loopback in place of two clusters, and usher with --manifests in front of them. It
// runs curl as a person would. With --once it ends after the last step. It fails if a
// step fails.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testenv/started"
	"github.com/jovalle/usher/hack/walkthrough"
)

// readyTimeout bounds the start of usher.
const readyTimeout = 30 * time.Second

func main() { walkthrough.Main("try", show) }

func show(ctx context.Context, once bool) error {
	dir, err := os.MkdirTemp("", "usher-try-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	hades, illmatic, err := serveSites(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return err
	}
	manifests := filepath.Join(dir, "hosts")
	if err := os.Mkdir(manifests, 0o755); err != nil {
		return err
	}
	for _, at := range []struct {
		cluster, host string
		port          int
	}{{"hades", "whoami.techn.is", hades}, {"illmatic", "photos.techn.is", illmatic}} {
		content := fmt.Sprintf(clusterAndHost, at.cluster, at.port, at.host)
		if err := os.WriteFile(filepath.Join(manifests, at.cluster+".yaml"), []byte(content), 0o644); err != nil {
			return err
		}
	}
	log := filepath.Join(dir, "usher.log")
	at, stop, err := startUsher(ctx, log, manifests)
	if err != nil {
		return err
	}
	defer stop()
	variables := []walkthrough.Variable{
		{Name: "HOSTS", Value: manifests},
		{Name: "CA", Value: filepath.Join(dir, "ca.pem")},
		{Name: "HTTPS", Value: fmt.Sprint(at.HTTPS.Port())},
		{Name: "HTTP", Value: fmt.Sprint(at.HTTP.Port())},
	}
	if err := walkthrough.Run(ctx, variables, steps); err != nil {
		return err
	}
	fmt.Println("\nWith clusters, nobody writes these files: usher reads the hosts from annotated objects. `make demo` shows it.")
	if !once {
		walkthrough.PrintNext(variables, "$EDITOR $HOSTS/hades.yaml", curl("whoami.techn.is"))
		<-ctx.Done()
	}
	return nil
}

// clusterAndHost is a file for usher: a cluster and one host that it serves.
const clusterAndHost = `apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata:
  name: %[1]s
spec:
  ingress:
    addresses: [127.0.0.1]
    httpsPort: %[2]d
---
apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata:
  name: %[3]s
spec:
  host: %[3]s
  backends:
    - cluster: %[1]s
`

// startUsher starts usher's proxy on free ports, without Kubernetes, and waits until it
// is ready. stop ends it.
func startUsher(ctx context.Context, log, manifests string) (at started.Addresses, stop func(), err error) {
	usher, err := process.Start(process.Command{
		Path: "bin/usher-nostandalone", LogFile: log,
		Args: []string{
			"run", "--controllers=false", "--manifests", manifests,
			"--https-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		},
	})
	if err != nil {
		return at, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err = usher.AwaitReady(ctx, func(context.Context) error {
		at, err = started.Read(log)
		return err
	})
	if err != nil {
		usher.Kill()
		return at, nil, err
	}
	return at, usher.Kill, nil
}
