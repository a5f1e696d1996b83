package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// Kubectl runs the real kubectl as the cluster's administrator and returns its standard output. An
// error contains its standard error.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	path, err := servers.Locate(servers.Kubectl)
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+c.KubeconfigFile(),
		"KUBECACHEDIR="+filepath.Join(c.dir(), "kubectl-cache"),
		"KUBERC=off", // ignore a person's aliases and defaults
	)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
