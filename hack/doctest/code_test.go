package doctest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
)

// usher is the program, built once for all tests.
var usher string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "usher-doctest-")
	if err != nil {
		panic(err)
	}
	usher = filepath.Join(dir, "usher")
	if out, err := exec.Command("go", "build", "-o", usher, "../../cmd/usher").CombinedOutput(); err != nil {
		panic(string(out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// flagsOf returns a command's flags, as --name.
func flagsOf(t *testing.T, command string) []string {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), usher, append(strings.Fields(command), "--help")...).Output()
	if err != nil {
		t.Fatalf("usher %s --help: %v", command, err)
	}
	_, flags, _ := strings.Cut(string(help), "Flags:\n")
	flags = regexp.MustCompile(`(?m)^.*--help .*$`).ReplaceAllString(flags, "")
	return named(map[string]string{command: flags}, `(?m)^ +(?:-\w, )?(--[a-z-]+)`)
}

// metricNames are usher's own, of both halves.
func metricNames(t *testing.T) []string {
	t.Helper()
	server := &proxy.Server{Table: &routing.Live{}}
	if err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc)
	go func() {
		defer close(described)
		server.Collector().Describe(described)
		controllers.NewCollector(nil).Describe(described)
	}()
	var text strings.Builder
	for desc := range described {
		text.WriteString(desc.String())
	}
	return named(map[string]string{"": text.String()}, `fqName: "(usher_[a-z_]+)"`)
}

// Prometheus' own tool says whether the alerts fire when they should.
func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus)")
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "testdata/alerts.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
