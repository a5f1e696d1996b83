package proxy_test

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// run runs a real client and returns its output.
func run(t *testing.T, command string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(command)
	if err != nil {
		t.Skipf("%s is not installed", command)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // a refused client returns an error, as it should
	return out.String()
}

func TestOpenSSL(t *testing.T) {
	hades := startClusterThat(t, "hades", func(net.Conn) {})
	e := start(t, []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}})
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"TLS 1.3":        {[]string{"-servername", "a.techn.is", "-tls1_3"}, "hades a.techn.is"},
		"TLS 1.2":        {[]string{"-servername", "a.techn.is", "-tls1_2"}, "hades a.techn.is"},
		"tiny fragments": {[]string{"-servername", "a.techn.is", "-max_send_frag", "512", "-split_send_frag", "512"}, "hades a.techn.is"},
		"unknown host":   {[]string{"-servername", "b.techn.is"}, "unrecognized name"},
		"no server name": {[]string{"-noservername"}, "unrecognized name"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, "openssl", append([]string{"s_client", "-ign_eof", "-connect", e.https.String()}, tt.args...)...)
			if !strings.Contains(out, tt.want) {
				t.Errorf("openssl prints %s", out)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	hades := startCluster(t, "hades")
	e := start(t, []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}})
	out := run(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}",
		"--resolve", "a.techn.is:"+strconv.Itoa(int(e.http.Port()))+":127.0.0.1",
		"http://a.techn.is:"+strconv.Itoa(int(e.http.Port()))+"/x?y=z")
	if out != "308 https://a.techn.is/x?y=z" {
		t.Errorf("curl prints %s", out)
	}
}
