package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jovalle/usher/proxy/selfaddr"
)

func TestInvalidRunCommandLines(t *testing.T) {
	testInvalidLines(t, []wrongLine{
		{"run now", `unexpected argument "now"`},
		{"run --controllers=false --proxy=false", "leave nothing to run"},
		{"run --manifests x", "--manifests: manifests are for the proxy only: add --controllers=false"},
		{"run --manifests x --controllers=false --kubeconfig y", "--manifests: manifests replace the API server"},
		{"run --proxy=false --state-dir x", "--state-dir: only the proxy uses a snapshot"},
		{"run --proxy-protocol-from 192.0.2.1", `--proxy-protocol-from: "192.0.2.1" is no network, such as 192.0.2.0/24`},
		{"run --proxy-protocol-from ::ffff:10.0.0.0/104", "--proxy-protocol-from: \"::ffff:10.0.0.0/104\" is IPv4 written as IPv6, which no client has: write 10.0.0.0/8"},
		{"run --proxy-protocol-from ::ffff:0:0/96", "write 0.0.0.0/0"},
		{"run --proxy-protocol-from 10.0.0.0/8,::1/129", `"::1/129" is no network`},
		{"run --self-check 10.0.0.1:443", `--self-check: "10.0.0.1:443" is no IP address`},
		{"run --self-check 10.0.0.1 --https-listen 10.0.0.2:443 --http-listen 10.0.0.2:80", "--self-check: nothing listens on 10.0.0.1: give addresses of --https-listen, --tls-listen or --http-listen"},
		{"run --self-check auto,10.0.0.1", `--self-check: "auto" cannot be combined with other values`},
		{"run --idle-timeout 0", "--idle-timeout: 0s is not a positive duration, such as 1h0m0s"},
		{"run --dns-target=home.example.net,203.0.113.7", `--dns-target: "home.example.net" is a name, and a CNAME record has one name and no address`},
		{"run --dns-internal-target=192.168.1.0/24", `--dns-internal-target: "192.168.1.0/24" is neither an address, such as 203.0.113.7`},
		{"run --dns-ttl=604801 --dns-target=203.0.113.7", "--dns-ttl: 604801 is not a number of seconds from 1 to 604800"},
		{"run --dns-ttl=60", "--dns-ttl and --dns-property are for records, and without a target there are none"},
		{"run --dns-property=proxied --dns-target=203.0.113.7", `--dns-property: "proxied": write NAME=VALUE`},
		{"run --dns-resolver=9.9.9.9", "--dns-resolver: there are no records to look for: give --dns-target"},
		{"run --dns-target=203.0.113.7 --dns-resolver=dns.quad9.net", `--dns-resolver: "dns.quad9.net" is not an IP address with a port, such as 9.9.9.9:53`},
		{"run --dns-target=203.0.113.7 --controllers=false", "--dns-target: the control plane writes the records: leave --controllers on"},
		{"run --handover-grace=-1s", "--handover-grace: -1s is negative"},
		{"run --handover-grace 10", `--handover-grace: "10" is not a duration: write a number and its unit, such as 30s`},
		{"run --half-closed-timeout=-1s", "--half-closed-timeout: -1s is not a positive duration"},
		{"run --hello-timeout 5", `--hello-timeout: "5" is not a duration`},
		{"run --max-connections=-1", "--max-connections: -1 is negative"},
		{"run --max-connections-per-client=-1", "--max-connections-per-client: -1 is negative"},
		{"run --max-source-hosts 0", `--max-source-hosts: 0 is not a positive number`},
		{"run --max-member-hosts -1", `--max-member-hosts: -1 is not a positive number`},
		{"run --max-hello-memory much", `--max-hello-memory: "much" is not a number of bytes`},
		{"run --max-hello-memory 1k", `--max-hello-memory: "1k" is not a number of bytes of at least 1Mi`},
		{"run --log-format xml", `--log-format: "xml" is none of json, text`},
		{"run --log-level loud", `--log-level: "loud" is none of debug, info, error`},
		{"run --half-close-timeout 1m", "unknown flag --half-close-timeout of usher run. Did you mean --half-closed-timeout?"},
		{"run --manifests /nowhere --controllers=false", "--manifests: there is no directory /nowhere"},
		{"run --manifests /proc/version --controllers=false", "--manifests: /proc/version is a file: give the directory that it is in, such as /proc"},
		{"run --kubeconfig /nowhere", "--kubeconfig: there is no file /nowhere"},
		{"run", "--kubeconfig: usher does not run in a cluster"},
		{"run --namespace Usher", `--namespace: "Usher" is not a valid name`},
		{"run --https-listen 443", `--https-listen: "443": missing port in address`},
		{"run --tls-listen :8883", `--tls-listen: ":8883": write NAME=ADDRESS, such as mqtts=:8883`},
		{"run --tls-listen MQTT=:8883", `--tls-listen: "MQTT": the name of a port has 1 to 63 lower-case letters`},
		{"run --tls-listen =:8883", `--tls-listen: "": the name of a port has`},
		{"run --tls-listen https=:8443", "--tls-listen: https is the port of --https-listen: give its addresses there"},
		{"run --tls-listen mqtts=:8883 --tls-listen mqtts=:8884", "--tls-listen: mqtts is given twice: give all of its addresses at once"},
		{"run --tls-listen mqtts=", `--tls-listen: "": missing port in address`},
		{"run --tls-listen mqtts=:8883,8884", `--tls-listen: "8884": missing port in address`},
		{"run --tls-listen mqtts=:8883,ldaps=:636", `--tls-listen: "ldaps=:636": "ldaps=" is no IP address`},
		{"run" + manyPorts(16), "--tls-listen: there are 16 ports, and at most 15 may be given"},
		{"run --http-listen :80,", `--http-listen: "": missing port in address`},
		{"run --http-listen :http", `--http-listen: ":http": port "http" is no number`},
		{"run --admin-listen localhost:8080", `--admin-listen: "localhost:8080": "localhost" is no IP address`},
		{"run --admin-listen 127.0.0.1:65536", "--admin-listen: "},
		{"run --service a\x7f", "--service: "},
		{"run --service " + strings.Repeat("x", 254), "--service: "},
	})
}

// The kernel lets one process bind a port twice with SO_REUSEPORT.
func TestOverlappingListenAddresses(t *testing.T) {
	testInvalidLines(t, []wrongLine{
		{"run --http-listen :443", "--http-listen: :443 overlaps with :443 of --https-listen"},
		{"run --http-listen 0.0.0.0:443", "--http-listen: 0.0.0.0:443 overlaps with :443 of --https-listen"},
		{"run --tls-listen mqtts=:443", "--tls-listen: :443 overlaps with :443 of --https-listen"},
		{"run --tls-listen mqtts=127.0.0.1:8883,:8884 --tls-listen dot=127.0.0.2:8883,127.0.0.1:8884", "--tls-listen: 127.0.0.1:8884 overlaps with :8884 of --tls-listen"},
		{"run --tls-listen mqtts=:80", "--http-listen: :80 overlaps with :80 of --tls-listen"},
		{"run --tls-listen mqtts=:8080", "--admin-listen: 127.0.0.1:8080 overlaps with :8080 of --tls-listen"},
		{"run --admin-listen 127.0.0.1:443", "--admin-listen: 127.0.0.1:443 overlaps with :443 of --https-listen"},
		{"run --admin-listen [::]:80", "--admin-listen: [::]:80 overlaps with :80 of --http-listen"},
		{"run --admin-listen [::ffff:127.0.0.1]:81 --http-listen 127.0.0.1:81", "--admin-listen: [::ffff:127.0.0.1]:81 overlaps with 127.0.0.1:81 of --http-listen"},
		{"run --https-listen 0.0.0.0:443,[::]:443", "--https-listen: [::]:443 overlaps with 0.0.0.0:443 of --https-listen"},
		{"run --proxy=false --admin-listen :81,127.0.0.1:81", "--admin-listen: 127.0.0.1:81 overlaps with :81 of --admin-listen"},
	})
}

// manyPorts returns flags for a number of ports.
func manyPorts(n int) string {
	var flags strings.Builder
	for i := range n {
		fmt.Fprintf(&flags, " --tls-listen p%d=127.0.0.1:0", i)
	}
	return flags.String()
}

func TestValidRunCommandLines(t *testing.T) {
	for _, line := range []string{
		"--https-listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0",
		"--https-listen 192.0.2.1:443,[2001:db8::1]:443 --http-listen 192.0.2.1:80 --admin-listen 127.0.0.1:443",
		"--http-listen= --proxy-protocol-from 0.0.0.0/0,::/0",
		"--handover-grace 0",
		"--tls-listen mqtts=:8883,192.0.2.1:8884 --tls-listen ldaps=[2001:db8::1]:636 --self-check 192.0.2.1",
		"--https-listen= --tls-listen mqtts=:8883" + manyPorts(14),
		"--https-listen :1 --http-listen :2 --admin-listen :3 --service namespace/release",
	} {
		cmd, o := newRunCommand()
		err := cmd.ParseFlags(append(strings.Fields(line), "--controllers=false", "--manifests", t.TempDir()))
		if err == nil {
			_, err = o.settings()
		}
		if err != nil {
			t.Errorf("usher run %s: %v", line, err)
		}
	}
}

func TestAllMistakesAreReportedAtOnce(t *testing.T) {
	err := execute(t, "run --manifests /nowhere --https-listen x --idle-timeout 0 --max-connections=-1 --max-hello-memory much --log-level loud --proxy-protocol-from y")
	for _, flag := range []string{"controllers", "https-listen", "idle-timeout", "max-connections", "max-hello-memory", "log-level", "proxy-protocol-from"} {
		if err == nil || !strings.Contains(err.Error(), "--"+flag) {
			t.Errorf("%v; want an error about --%s", err, flag)
		}
	}
}

// The controllers know the names of the ports, unless the proxy is another process and the
// flag is not given.
func TestNamesOfTLSPorts(t *testing.T) {
	for line, want := range map[string]string{
		"": "[]",
		"--tls-listen mqtts=:8883 --tls-listen dot=:853":                          `["mqtts" "dot"]`,
		"--proxy=false --controllers":                                             "[]",
		"--proxy=false --controllers --tls-listen mqtts=:443 --https-listen :443": `["mqtts"]`,
	} {
		cmd, o := newRunCommand()
		if err := cmd.ParseFlags(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
		s := &settings{runOptions: o}
		if err := errors.Join(s.readTLSListen(), s.readListen()); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		names := s.tlsPorts()
		if got := fmt.Sprintf("%q", names); got != want || (names == nil) != (line == "--proxy=false --controllers") {
			t.Errorf("%s: the names are %s, want %s", line, got, want)
		}
	}
}

// A kubeconfig is checked together with the files that it names.
func TestInvalidKubeconfigs(t *testing.T) {
	for name, content := range map[string]string{
		"no YAML":       "{",
		"no cluster":    "kind: Config\napiVersion: v1\n",
		"no CA there":   "kind: Config\napiVersion: v1\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: 'https://192.0.2.1', certificate-authority: /nowhere}}]\n",
		"no CA in data": "kind: Config\napiVersion: v1\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: 'https://192.0.2.1', certificate-authority-data: eA==}}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			testInvalidLines(t, []wrongLine{{"run --kubeconfig " + file, file}})
		})
	}
}

// The controllers know the addresses of the proxy before it listens.
func TestOwnAddressesAreThoseOfTheFlags(t *testing.T) {
	cmd, o := newRunCommand()
	if err := cmd.ParseFlags([]string{"--https-listen=:443,192.0.2.1:8443", "--http-listen=[::]:80", "--tls-listen=mqtts=:8883,192.0.2.1:8884", "--controllers=false", "--manifests", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s, err := o.settings()
	if err != nil {
		t.Fatal(err)
	}
	own := selfaddr.New(s.listen...)
	for address, reaching := range map[string]bool{
		"127.0.0.1:443": true, "[::1]:443": true, "127.0.0.1:80": true, "192.0.2.1:8443": true, "127.0.0.1:8080": true,
		"127.0.0.1:8883": true, "192.0.2.1:8884": true,
		"127.0.0.1:8443": false, "127.0.0.1:8884": false, "192.0.2.1:443": false, "127.0.0.1:81": false,
	} {
		if got := own.Reaches(netip.MustParseAddrPort(address)); got != reaching {
			t.Errorf("Reaches(%s) is %v", address, got)
		}
	}
}

// Each flag is in a group of the help, and each group's flags exist.
func TestHelpOfRunIsInGroups(t *testing.T) {
	cmd, _ := newRunCommand()
	cmd.InitDefaultHelpFlag()
	var help strings.Builder
	cmd.SetOut(&help)
	if err := cmd.Help(); err != nil {
		t.Fatal(err)
	}
	_, others, found := strings.Cut(help.String(), "\nOther:\n")
	if others = strings.TrimSpace(others); !found || !strings.HasPrefix(others, "-h, --help ") || strings.Contains(others, "\n") {
		t.Errorf("flags without a group; add them to runGroups:\n%s", others)
	}
	at := 0
	for _, part := range []string{"Run the controllers", "Usage:\n  run [flags]", "Examples:\n", "usher run --kubeconfig", "\nEdge cluster:\n      --kubeconfig FILE", "\nListeners:\n", "\nTimeouts:\n", "\nLogs:\n"} {
		next := strings.Index(help.String()[at:], part)
		if next < 0 {
			t.Fatalf("%q is missing, or not in its place, in\n%s", part, &help)
		}
		at += next
	}
}

// A person at a terminal reads lines, not JSON.
func TestLogFormatText(t *testing.T) {
	u := program(t, t.TempDir(), "--log-format=text")
	line := u.await(t, "INFO", "Started")
	if strings.HasPrefix(line, "{") || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+\tINFO\t`).MatchString(line) {
		t.Errorf("the log has the line %q", line)
	}
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)
}
