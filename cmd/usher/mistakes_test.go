package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// said is what the program printed, and its exit code.
type said struct {
	out, err string
	code     int
}

// libraryLog matches the lines that Kubernetes' libraries log by themselves.
var libraryLog = regexp.MustCompile(`(?m)^[IWEF]\d{4} `)

// say runs usher as a person does who has only the given environment.
func say(t *testing.T, env []string, args ...string) said {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(programEnv("PATH="+os.Getenv("PATH")), env...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	failure := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](failure); failure != nil && !ended {
		t.Fatal(failure)
	}
	if libraryLog.MatchString(err.String()) {
		t.Errorf("usher %s: a library logs:\n%s", args, &err)
	}
	return said{out.String(), err.String(), cmd.ProcessState.ExitCode()}
}

// A mistake is a command line, and what usher says about it.
type mistake struct {
	line string
	code int
	want []string // in what it says; an empty list: nothing else
}

func testMistakes(t *testing.T, env []string, mistakes []mistake) {
	t.Helper()
	for _, test := range mistakes {
		t.Run(test.line, func(t *testing.T) {
			t.Parallel()
			got := say(t, env, strings.Fields(test.line)...)
			if got.code != test.code || got.out != "" && test.code == exitUsage || !testkit.ContainsAll(got.err, test.want) {
				t.Errorf("exit code %d; want %d and %q. It says\n%s%s", got.code, test.code, test.want, got.out, got.err)
			}
		})
	}
}

// A person mistypes a command, a flag or a value. Nothing is started.
func TestMistypedCommandLines(t *testing.T) {
	t.Parallel()
	testMistakes(t, nil, []mistake{
		{"versiom", exitUsage, []string{`usher: unknown command "versiom" of usher. Did you mean usher version?`}},
		{"clutser list", exitUsage, []string{"Did you mean usher cluster?"}},
		{"list", exitUsage, []string{`unknown command "list" of usher. Did you mean usher cluster list?`}},
		{"frobnicate", exitUsage, []string{`unknown command "frobnicate" of usher. It has: check, cluster, completion`}},
		{"cluster lst", exitUsage, []string{`unknown command "lst" of usher cluster. Did you mean usher cluster list?`}},
		{"cluster delete hades", exitUsage, []string{`unknown command "delete" of usher cluster. It has: add, drain, isolate, list, remove`}},
		{"help clustre", exitUsage, []string{`unknown command "clustre" of usher. Did you mean usher cluster?`}},
		{"help cluster ad", exitUsage, []string{"Did you mean usher cluster add?"}},
		{"help run now", exitUsage, []string{`unexpected argument "now" of usher run`}},
		{"completion zsch", exitUsage, []string{"Did you mean usher completion zsh?"}},
		{"completion bash now", exitUsage, []string{`unexpected argument "now"`}},
		{"version now", exitUsage, []string{`unexpected argument "now" of usher version; usher version --help`}},
		{"version -o table", exitUsage, []string{`--output: "table" is none of json, yaml.`}},
		{"--vresion", exitUsage, []string{"unknown flag --vresion of usher. Did you mean --version?"}},

		{"run --https-listn :443", exitUsage, []string{"unknown flag --https-listn of usher run. Did you mean --https-listen?"}},
		{"run --frobnicate", exitUsage, []string{"unknown flag --frobnicate of usher run; usher run --help lists its flags"}},
		{"run -x", exitUsage, []string{"unknown flag -x of usher run"}},
		{"cluster add hades -context hades", exitUsage, []string{"unknown flag -context of usher cluster add. Did you mean --context?"}},
		{"cluster add hades -context=hades", exitUsage, []string{"Did you mean --context?"}},
		{"cluster list --context edge", exitUsage, []string{"unknown flag --context of usher cluster list. Did you mean --edge-context?"}},
		{"run --kubeconfig", exitUsage, []string{"--kubeconfig: the value is missing: write --kubeconfig FILE"}},
		{"cluster add hades -n", exitUsage, []string{"--namespace: the value is missing: write --namespace NAMESPACE"}},

		{"run --leader-elect false", exitUsage, []string{`unexpected argument "false" of usher run: a value of --leader-elect is written --leader-elect=false`}},
		{"cluster add hades --context hades --dry-run edge", exitUsage, []string{"a value of --dry-run is written --dry-run=edge"}},
		{"run --leader-elect=yes", exitUsage, []string{`--leader-elect: "yes" is neither true nor false`}},
		{"run --idle-timeout 5", exitUsage, []string{`--idle-timeout: "5" is not a duration: write a number and its unit, such as 30s, 5m or 1h30m`}},
		{"run --idle-timeout five", exitUsage, []string{`--idle-timeout: "five" is not a duration`}},
		{"run --max-connections 10k", exitUsage, []string{`--max-connections: "10k" is not a whole number, such as 1000`}},
		{"run --max-connections 99999999999999999999", exitUsage, []string{"--max-connections:", "too large"}},
		{"run --max-source-hosts 0", exitUsage, []string{"usher: --max-source-hosts: 0 is not a positive number, such as 500", "\nusher: --kubeconfig: usher does not run in a cluster"}},
		{"run --https-listen 443", exitUsage, []string{`--https-listen: "443": missing port`, `written as ":443"`}},
		{"run --https-listen :443;:8443", exitUsage, []string{"separate several values by commas"}},
		{"run --https-listen door.example.org:443", exitUsage, []string{"a host name is not resolved"}},
		{"run --proxy-protocol-from 10.0.0.1", exitUsage, []string{`--proxy-protocol-from: "10.0.0.1" is no network, such as 192.0.2.0/24`}},
		{"run --proxy-protocol-from 10.0.0.0/8;192.0.2.0/24", exitUsage, []string{"separate several values by commas"}},
		{"run --log-level INFO", exitUsage, []string{`--log-level: "INFO" is none of debug, info, error. Did you mean "info"?`}},
		{"run --namespace Usher_System", exitUsage, []string{`--namespace: "Usher_System" is not a valid name`, "such as usher-system"}},
		{"run", exitUsage, []string{"--kubeconfig: usher does not run in a cluster: give the kubeconfig of the edge cluster, such as --kubeconfig /etc/rancher/k3s/k3s.yaml"}},

		{"run --standalone /tmp/x --kubeconfig y", exitUsage, []string{"--standalone: usher serves the API of the edge itself: remove --kubeconfig"}},
		{"run --standalone /tmp/x --manifests /", exitUsage, []string{"--standalone: usher decides here"}},
		{"run --standalone /tmp/x --proxy=false", exitUsage, []string{"--standalone: this process runs both halves"}},
		{"run --standalone /tmp/x --admin-auth kubernetes", exitUsage, []string{"--admin-auth: the API of --standalone issues no tokens"}},
		{"run --standalone /tmp/x --api-listen edge:6443", exitUsage, []string{"--api-listen: ", "a host name is not resolved"}},
		{"run --standalone /tmp/x --api-listen :443", exitUsage, []string{"--api-listen: :443 overlaps with :443 of --https-listen"}},
		{"run --standalone /tmp/x --api-host not_a_name", exitUsage, []string{`--api-host: "not_a_name" is no host name and no IP address`}},
		{"run --standalone /proc/version", exitUsage, []string{"--standalone: ", "/proc/version"}},
		{"standalone backup", exitUsage, []string{"FILE is missing: give the file of the backup, as in usher standalone backup FILE"}},
		{"standalone backup x --dir /nowhere", exitUsage, []string{"--dir: /nowhere is no directory of usher run --standalone"}},
		{"standalone restore x --timeout 0s", exitUsage, []string{"--timeout: must be longer than 0"}},
		{"standalone restore /proc/version --dir /nowhere", exitFailure, []string{"/proc/version is no backup of usher"}},

		{"check", exitUsage, []string{"DIR is missing: give the directory with the manifests, as in usher check DIR"}},
		{"check a b", exitUsage, []string{`unexpected argument "b"`}},
		{"check /nowhere", exitFailure, []string{"usher: there is no directory /nowhere"}},
		{"check /proc/version", exitFailure, []string{"usher: /proc/version is a file: give the directory that it is in, such as /proc"}},
		{"run --controllers=false --manifests /proc/version", exitUsage, []string{"--manifests: /proc/version is a file"}},

		{"replace", exitUsage, []string{"PID is missing: give the process to replace, as in usher replace PID -- FLAGS"}},
		{"replace usher -- --manifests /etc/usher", exitUsage, []string{`"usher" is no process ID`, "$MAINPID"}},
		{"replace 1 -- --manifests /etc/usher", exitUsage, []string{`"1" is no process ID`}},
		{"replace 12 --manifests /etc/usher", exitUsage, []string{"unknown flag --manifests of usher replace"}},
		{"replace 12 run", exitUsage, []string{"write -- between the process ID and the flags of usher run"}},
		{"replace 12 --timeout 0s -- --controllers=false", exitUsage, []string{"--timeout: 0s is not a positive duration"}},
		{"replace 12 -- --nonsense", exitUsage, []string{"unknown flag --nonsense of usher run"}},
		{"replace 12 -- now", exitUsage, []string{`unexpected argument "now" of usher run`}},
		{"replace 12 -- --controllers=false --manifests /nowhere", exitUsage, []string{"--manifests: there is no directory /nowhere"}},
		{"replace 99999999 -- --controllers=false --manifests /tmp", exitFailure, []string{"process 99999999: no such process"}},

		{"cluster add", exitUsage, []string{"NAME is missing: give the name of the member, as in usher cluster add NAME"}},
		{"cluster add My_Cluster", exitUsage, []string{`NAME: "My_Cluster" is not a valid name`, "lower-case letters, digits and hyphens", "such as my-cluster"}},
		{"cluster add hades.techn.is", exitUsage, []string{"such as hades-techn-is"}},
		{"cluster add hades -n Usher", exitUsage, []string{`--namespace: "Usher" is not a valid name`}},
		{"cluster add hades --address 192.168.1.300", exitUsage, []string{`--address: "192.168.1.300" is neither an IP address nor a DNS name`, "such as 192.168.1.10"}},
		{"cluster add hades --address 192.168.1.10:443", exitUsage, []string{"without a scheme or a port"}},
		{"cluster add hades --address 192.168.1.10,192.168.1.11", exitUsage, []string{"repeat the flag for each one"}},
		{"cluster add hades --server 192.168.1.20:6443", exitUsage, []string{`--server: "192.168.1.20:6443" is not a URL that begins with https://; write it as https://192.168.1.20:6443`}},
		{"cluster add hades --server http://192.168.1.20:6443", exitUsage, []string{"the token would be sent unencrypted"}},
		{"cluster add hades --service traefik", exitUsage, []string{`--service: "traefik" is not NAMESPACE/NAME, such as kube-system/traefik`}},
		{"cluster add hades --timeout 30", exitUsage, []string{`--timeout: "30" is not a duration`}},
		{"cluster add hades --timeout=-1s", exitUsage, []string{"--timeout: -1s is not a positive duration, such as 2m"}},
		{"cluster isolate hades --entry-point=,", exitUsage, []string{"--entry-point: a name is empty"}},
		{"cluster drain", exitUsage, []string{"NAME is missing: give the name of the member, as in usher cluster drain NAME"}},
		{"cluster drain Hades", exitUsage, []string{`NAME: "Hades" is not a valid name`}},
		{"cluster drain hades --undo --wait", exitUsage, []string{"--undo: does not go with --wait or --admin"}},
		{"cluster drain hades --admin 127.0.0.1:8080", exitUsage, []string{`--admin: "127.0.0.1:8080" is no URL, such as http://127.0.0.1:8080`}},
		{"cluster drain hades --admin ftp://127.0.0.1", exitUsage, []string{"--admin:", "is no URL"}},
		{"cluster drain hades --timeout 0", exitUsage, []string{"--timeout: 0s is not a positive duration"}},
		{"dashboard now", exitUsage, []string{`unexpected argument "now" of usher dashboard`}},
		{"dashboard --port 70000", exitUsage, []string{"--port: 70000 is not a port: give 1 to 65535, or 0 for a free one"}},
		{"dashboard --namespace Usher", exitUsage, []string{`--namespace: "Usher" is not a valid name`}},
		{"dashboard --account Usher_Viewer", exitUsage, []string{"--account: "}},
		{"dashboard", exitUsage, []string{"no kubeconfig for the edge cluster"}},
		{"run --manifests / --controllers=false --admin-auth kubernetes", exitUsage, []string{"--admin-auth: with --manifests there is no API server that knows who may read: leave it at none"}},
		{"run --manifests / --controllers=false --admin-auth token --admin-host 10.0.0.1,edge:8080", exitUsage, []string{"--admin-auth: ", "none", "kubernetes", `--admin-host: "10.0.0.1" is not a host name`, `--admin-host: "edge:8080" is not a host name`}},
		{"move", exitUsage, []string{"HOST is missing: give the host to move, as in usher move HOST --to CLUSTER"}},
		{"move a.example.org", exitUsage, []string{"--to: is missing: name the cluster that gets the host"}},
		{"move a.example.org illmatic", exitUsage, []string{`unexpected argument "illmatic" of usher move`}},
		{"move a..example.org --to illmatic", exitUsage, []string{"HOST: "}},
		{"move 192.0.2.1 --to illmatic", exitUsage, []string{"HOST: "}},
		{"move a.example.org --to Illmatic", exitUsage, []string{`--to: "Illmatic" is not a valid name`}},
		{"move a.example.org --too illmatic", exitUsage, []string{"Did you mean --to?"}},
		{"move a.example.org --to illmatic --timeout=-1s", exitUsage, []string{"--timeout: must be longer than 0"}},
		{"doctor a..example.org", exitUsage, []string{"host"}},
		{"doctor -o jsno", exitUsage, []string{`Did you mean "json"?`}},
		{"doctor --admin 127.0.0.1:8080", exitUsage, []string{`--admin: "127.0.0.1:8080" is no URL`}},
		{"doctor --admin http://127.0.0.1:1", exitUsage, []string{"ask usher: ", "connection refused"}}, // it could not audit
		{"mvoe a.example.org", exitUsage, []string{"Did you mean usher move?"}},
		{"cluster list -o jsno", exitUsage, []string{`Did you mean "json"?`}},
	})
}

// kubeconfigText is a kubeconfig whose servers do not answer, with a person's mistakes.
const kubeconfigText = `apiVersion: v1
kind: Config
current-context: edge
contexts:
- {name: edge, context: {cluster: edge, user: me}}
- {name: hades, context: {cluster: hades, user: me}}
- {name: no-cluster, context: {cluster: egde, user: me}}
- {name: no-user, context: {cluster: edge, user: you}}
- {name: no-server, context: {cluster: no-server, user: me}}
- {name: no-ca, context: {cluster: no-ca, user: me}}
- {name: no-name, context: {cluster: no-name, user: me}}
- {name: no-plugin, context: {cluster: edge, user: plugin}}
clusters:
- {name: edge, cluster: {server: 'https://127.0.0.1:1'}}
- {name: hades, cluster: {server: 'https://127.0.0.1:2'}}
- {name: no-server, cluster: {}}
- {name: no-ca, cluster: {server: 'https://127.0.0.1:1', certificate-authority: /nowhere/ca.crt}}
- {name: no-name, cluster: {server: 'https://edge.invalid:6443'}}
users:
- {name: me, user: {token: x}}
- {name: plugin, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: usher-test-no-such-plugin, interactiveMode: Never}}}
`

// writeText writes a file into a folder of its own, and returns its path.
func writeText(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	testkit.Must(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// A person has no kubeconfig, another file in its place, or several of them.
func TestMissingKubeconfigs(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	tried := filepath.Join(home, ".kube", "config")
	testMistakes(t, []string{"HOME=" + home}, []mistake{
		{"cluster list", exitUsage, []string{"no kubeconfig for the edge cluster: there is no file " + tried, "$KUBECONFIG is not set", "--edge-kubeconfig"}},
		{"cluster add hades --context hades", exitUsage, []string{tried, "--edge-kubeconfig"}},
		{"cluster remove hades --force --edge-context edge", exitUsage, []string{"no kubeconfig for the edge cluster"}},
		{"cluster list --edge-kubeconfig /nowhere/a", exitUsage, []string{"--edge-kubeconfig: there is no file /nowhere/a"}},
	})
	testMistakes(t, []string{"HOME=" + home, "KUBECONFIG=/nowhere/a:/nowhere/b:"}, []mistake{
		{"cluster list ", exitUsage, []string{"there is no file /nowhere/a, nor /nowhere/b, which $KUBECONFIG names", "--edge-kubeconfig"}},
	})
	good := writeText(t, "config", kubeconfigText)
	testMistakes(t, []string{"HOME=" + home, "KUBECONFIG=" + good}, []mistake{
		{"cluster add hades --kubeconfig /nowhere/a", exitUsage, []string{"--kubeconfig: there is no file /nowhere/a"}},
		{"cluster list --edge-kubeconfig " + home, exitUsage, []string{"the kubeconfig for the edge cluster cannot be read", home, "--edge-kubeconfig"}},
	})
	for name, text := range map[string]struct{ text, want string }{
		"empty":              {"", "has no contexts, and says nothing about the edge cluster"},
		"text":               {"hello", "is no kubeconfig: it has no apiVersion: v1 and kind: Config"},
		"another-object":     {"apiVersion: v1\nkind: Secret\n", "is no kubeconfig: "},
		"values":             {"clusters: {hades: {}}\n", "is no kubeconfig: "},
		"no-yaml":            {"{", "is no kubeconfig: yaml: "},
		"no-current-context": {strings.Replace(kubeconfigText, "current-context: edge\n", "", 1), "has no current context"},
		"old-current":        {strings.Replace(kubeconfigText, "current-context: edge\n", "current-context: old\n", 1), `the current context "old" is not in `},
	} {
		file := writeText(t, name, text.text)
		testMistakes(t, []string{"HOME=" + home}, []mistake{
			{"run --kubeconfig " + file, exitUsage, []string{text.want, file}},
			{"cluster list --edge-kubeconfig " + file, exitUsage, []string{text.want, file, "--edge-"}},
		})
	}
}

// A person names a context that is not there, or a cluster that does not answer.
func TestContextsAndServers(t *testing.T) {
	t.Parallel()
	file := writeText(t, "config", kubeconfigText)
	testMistakes(t, []string{"HOME=/nowhere", "KUBECONFIG=" + file}, []mistake{
		{"cluster list --edge-context egde", exitUsage, []string{`--edge-context: there is no context "egde" in ` + file, `Did you mean "edge"?`, "It has: edge, hades, no-ca"}},
		{"cluster add hades --context hads", exitUsage, []string{`--context: there is no context "hads"`, `Did you mean "hades"?`}},
		{"cluster remove hades --context pluto", exitUsage, []string{`--context: there is no context "pluto" in `, "It has: edge, hades"}},
		{"cluster list --edge-context no-cluster", exitUsage, []string{`context "no-cluster" of `, `names the cluster "egde", which is not there. It has: edge, hades`}},
		{"cluster list --edge-context no-user", exitUsage, []string{`names the user "you", which is not there. It has: me, plugin`}},
		{"cluster list --edge-context no-server", exitUsage, []string{`cluster "no-server" of `, "has no server"}},
		{"cluster list --edge-context no-ca", exitUsage, []string{`context "no-ca" of `, "/nowhere/ca.crt"}},

		{"cluster list", exitFailure, []string{"usher: the edge cluster (context edge, server https://127.0.0.1:1) cannot be reached: connection refused", "that server is this machine", "--edge-context\n"}},
		{"cluster add hades --context hades", exitFailure, []string{"the edge cluster (context edge, server https://127.0.0.1:1) cannot be reached"}},
		{"cluster list --edge-context no-name", exitFailure, []string{"(context no-name, server https://edge.invalid:6443) cannot be reached: edge.invalid has no address"}},
		{"cluster list --edge-context no-plugin", exitFailure, []string{"cannot be asked without credentials: exec: executable usher-test-no-such-plugin not found;"}},
	})
}

// A person puts the wrong thing into a manifest.
func TestMistakenManifests(t *testing.T) {
	t.Parallel()
	host := "apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: a.techn.is}\nspec:\n  host: a.techn.is\n"
	backends := "  backends: [{address: 192.0.2.1}]\n"
	mistakes := map[string]struct{ text, want string }{
		"text for a list":         {host + backends + "  allowFrom: 10.0.0.0/8\n", `:7: spec.allowFrom: Invalid value: "10.0.0.0/8": is text, but must be a list: write [10.0.0.0/8]`},
		"an object for a list":    {host + "  backends: {address: 192.0.2.1}\n", ":6: spec.backends: Invalid value: is an object, but must be a list: write a hyphen before it, or brackets around it"},
		"a list for text":         {strings.Replace(host, "host: a.techn.is", "host: [a.techn.is]", 1) + backends, ":5: spec.host: Invalid value: is a list, but must be text: write it without brackets or hyphen"},
		"text for a number":       {host + "  backends: [{address: 192.0.2.1, httpsPort: '8443'}]\n", `spec.backends[0].httpsPort: Invalid value: "8443": is text, but must be a whole number: write it without quotes`},
		"a word for a number":     {host + "  backends: [{address: 192.0.2.1, httpsPort: https}]\n", `Invalid value: "https": is text, but must be a whole number`},
		"a number for text":       {host + "  backends: [{cluster: 7}]\n", "spec.backends[0].cluster: Invalid value: 7: is a number, but must be text: put it in quotes"},
		"text for an object":      {hadesText + "  isolation: {tlsOptions: exposed}\n", "spec.isolation.tlsOptions: Invalid value: \"exposed\": is text, but must be an object: its fields are name, namespace"},
		"text for true":           {hadesText + "  requireAll: 'true'\n", "is text, but must be true or false: write it without quotes"},
		"a field in lower case":   {host + backends + "  allowfrom: []\n", `:7: spec.allowfrom: Forbidden: unknown field: correct its spelling or remove it. Did you mean "allowFrom"?`},
		"a field in the singular": {host + "  backend: []\n", `Did you mean "backends"?`},
		"a field of an item":      {host + "  backends: [{address: 192.0.2.1, httpsport: 8443}]\n", `:6: spec.backends[0].httpsport: Forbidden: unknown field: correct its spelling or remove it. Did you mean "httpsPort"?`},
		"a field of metadata":     {strings.Replace(host, "metadata: {", "metadata: {lables: {}, ", 1) + backends, `:3: metadata.lables: Forbidden: unknown field: correct its spelling or remove it. Did you mean "labels"?`},
		"a field at the top":      {host + backends + "specs: {}\n", `:7: specs: Forbidden: unknown field: correct its spelling or remove it. Did you mean "spec"?`},
		"another field":           {host + backends + "  frobnicate: 1\n", "spec.frobnicate: Forbidden: unknown field: correct its spelling or remove it.\n"},
		"a kind in lower case":    {strings.Replace(host, "ExposedHost", "exposedhost", 1), `kind: Invalid value: "exposedhost": is not read here: keep only ExposedHost, MemberCluster and NetworkList of usher.techn.is/v1alpha1 in these files. Did you mean "ExposedHost"?`},
		"a group with a typo":     {strings.Replace(host, "usher.techn.is", "usher.tech.is", 1), `Did you mean "usher.techn.is/v1alpha1"?`},
		"a kubeconfig":            {kubeconfigText, `kind: Invalid value: "Config": is not read here`},
		"a wildcard":              {strings.ReplaceAll(host, "host: a.techn.is", "host: *.techn.is") + backends, `put text that begins with * or & in quotes, such as "*.example.org"`},
		"a template":              {strings.ReplaceAll(host, "host: a.techn.is", "host: {{ .Values.host }}") + backends, ":5: is not YAML: text that begins with { must be in quotes; a template, such as {{ .Values.host }}, must be rendered first"},
		"a tab":                   {host + "\tbackends: []\n", "indent with spaces"},
		"an address for a CIDR":   {host + backends + "  allowFrom: [10.0.0.1]\n", "not a CIDR and not a NetworkList: write an address and a prefix length, such as 192.168.0.0/16"},
	}
	dir := t.TempDir()
	for name, test := range mistakes {
		putManifest(t, dir, strings.ReplaceAll(name, " ", "-")+".yaml", test.text)
	}
	got := say(t, nil, "check", dir)
	if want := fmt.Sprintf("usher: %[1]d problems in %[1]d of %[1]d files of %[2]s\n", len(mistakes), dir); got.code != exitFailure || got.err != want {
		t.Errorf("exit code %d, %q; want %q", got.code, got.err, want)
	}
	var found []string
	for line := range strings.Lines(got.out) {
		found = append(found, strings.TrimPrefix(line, dir+"/"))
	}
	for name, test := range mistakes {
		file := strings.ReplaceAll(name, " ", "-") + ".yaml:"
		if !slices.ContainsFunc(found, func(line string) bool { return strings.HasPrefix(line, file) && strings.Contains(line, test.want) }) {
			t.Errorf("%s: no line has %s:\n%s", name, test.want, got.out)
		}
	}
	report := say(t, nil, "check", dir, "-o", "json")
	var parsed struct {
		RefusedFiles int
		Problems     []struct{ File, Field, Message string }
	}
	if err := json.Unmarshal([]byte(report.out), &parsed); err != nil || report.code != exitFailure || parsed.RefusedFiles != len(mistakes) || len(parsed.Problems) != len(mistakes) {
		t.Errorf("%v, exit code %d:\n%s", err, report.code, report.out)
	}
}

// The version is the same in each form.
func TestVersion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"--version":       "usher version " + version + "\n",
		"version":         "usher " + version + " go",
		"version -o json": fmt.Sprintf("{\n    %q: %q,\n    \"goVersion\": \"go", "version", version),
		"version -o yaml": "version: " + version + "\n",
	} {
		if got := say(t, nil, strings.Fields(line)...); got.code != 0 || got.err != "" || !strings.Contains(got.out, want) {
			t.Errorf("usher %s prints %q, %q; want %q", line, got.out, got.err, want)
		}
	}
}
