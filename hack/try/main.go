// Command try shows usher's proxy alone, without Kubernetes: two small TLS sites on
// loopback in place of two clusters, and the proxy of usher run --manifests in front of
// them. It runs curl as a person would. With --once it ends after the last step. It fails
// if a step fails.
//
// It does without the control plane, which takes longer to compile than all else.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jovalle/usher/hack/walkthrough"
)

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
	p, err := startProxy(ctx, manifests)
	if err != nil {
		return err
	}
	defer p.stop()
	variables := []walkthrough.Variable{
		{Name: "HOSTS", Value: manifests},
		{Name: "CA", Value: filepath.Join(dir, "ca.pem")},
		{Name: "HTTPS", Value: fmt.Sprint(p.https.Port())},
		{Name: "HTTP", Value: fmt.Sprint(p.http.Port())},
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
