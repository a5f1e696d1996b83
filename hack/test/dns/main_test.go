// Package dns tests the DNS records of published hosts with what makes and answers them: the
// real external-dns and a real name server. usher runs as a program, without its proxy.
package dns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// bed has the edge clusters of two homes. Each is its own member.
var bed *testbed.Bed

// program is the path of usher.
var program string

func TestMain(m *testing.M) {
	_, noServer := exec.LookPath("named")
	_, noExternalDNS := servers.Locate(servers.ExternalDNS)
	if err := errors.Join(noServer, noExternalDNS); err != nil {
		fmt.Fprintln(os.Stderr, "SKIPPED: make name-server has not been run:", err)
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "usher-dns-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if program, err = testkit.BuildUsher(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := testbed.Main(m, &bed, testbed.Options{Clusters: []string{"home", "cabin"}})
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }
