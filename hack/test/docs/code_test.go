package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
)

// usher is the path of the program, which is built once for all tests.
var usher string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "usher-docs-test-")
	if err != nil {
		panic(err)
	}
	if usher, err = testkit.BuildUsher(dir); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// start starts usher and returns its log. It kills usher after testkit.Timeout.
func start(t *testing.T, args ...string) (log io.Reader) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), testkit.Timeout)
	cmd := exec.CommandContext(ctx, usher, args...)
	log, err := cmd.StderrPipe()
	testkit.Must(t, err)
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
	})
	return log
}

// flagsOf returns a command's flags, as --name.
func flagsOf(t *testing.T, command string) []string {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), usher, append(strings.Fields(command), "--help")...).Output()
	if err != nil {
		t.Fatalf("usher %s --help: %v", command, err)
	}
	flags := regexp.MustCompile(`(?m)^.*--help .*$`).ReplaceAllString(string(help), "")
	return named(map[string]string{command: flags}, `(?m)^ +(?:-\w, )?(--[a-z-]+)`)
}

// metricNames returns the names of usher's own metrics, of both halves.
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
		controllers.DescribeDoctor(described)
		new(manifest.Watcher).Describe(described)
	}()
	var text strings.Builder
	for desc := range described {
		text.WriteString(desc.String())
	}
	return named(map[string]string{"": text.String()}, `fqName: "(usher_[a-z_]+)"`)
}

// promtool checks that the alerts fire when they should.
func TestAlertsFire(t *testing.T) {
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "../../../charts/usher/files/alerts.yaml")
	promtool(t, "test", "rules", "testdata/alerts.yaml")
}

// The expressions of the dashboard are valid PromQL. The test checks them as rules.
func TestDashboardQueriesAreValid(t *testing.T) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, quoted := range named(read(t, "../../../charts/usher/files/dashboard.json"), `"expr": ("(?:[^"\\]|\\.)*")`) {
		var expression string
		if err := json.Unmarshal([]byte(quoted), &expression); err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule{Record: fmt.Sprintf("dashboard:%d", len(rules)), Expr: strings.ReplaceAll(expression, "$__rate_interval", "5m")})
	}
	if len(rules) < 10 {
		t.Errorf("only %d expressions are found", len(rules))
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	file, err := json.Marshal(map[string][]group{"groups": {{"dashboard", rules}}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := servers.Locate(servers.Promtool)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", args, err, out)
	}
}
