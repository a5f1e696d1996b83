package main

import "testing"

func TestRunCommandLinesThatAreWrong(t *testing.T) {
	refusesLines(t, []wrongLine{
		{"run now", `unexpected argument "now"`},
		{"run --controllers=false --proxy=false", "leave nothing to run"},
		{"run --manifests x", "--manifests: files feed the proxy alone: add --controllers=false"},
		{"run --manifests x --controllers=false --kubeconfig y", "--manifests: files stand in for an API server"},
		{"run --manifests x --controllers=false --state-dir y", "--manifests: files need no snapshot"},
		{"run --proxy=false --state-dir x", "--state-dir: the snapshot is the proxy's"},
		{"run --proxy-protocol-from 192.0.2.1", "--proxy-protocol-from: "},
		{"run --idle-timeout 0", "--idle-timeout: 0s is not a positive duration"},
		{"run --half-closed-timeout=-1s", "--half-closed-timeout: -1s is not a positive duration"},
		{"run --hello-timeout 5", `"5"`},
		{"run --max-connections=-1", "--max-connections: -1 is negative"},
		{"run --max-connections-per-client=-1", "--max-connections-per-client: -1 is negative"},
		{"run --max-hello-memory much", `--max-hello-memory: "much" is not a number of bytes`},
		{"run --max-hello-memory 1k", `--max-hello-memory: "1k" is not a number of bytes of at least 1Mi`},
		{"run --log-level loud", `--log-level: "loud" is none of debug, info, error`},
		{"run --half-close-timeout 1m", "unknown flag: --half-close-timeout"},
	})
}
