package main

import (
	"net/netip"
	"testing"
)

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
		{"run --log-level loud", `--log-level: "loud" is none of debug, info, error`},
		{"run --half-close-timeout 1m", "unknown flag: --half-close-timeout"},
	})
}

// The controllers know where the proxy will listen before it does.
func TestOwnAddressesAreThoseOfTheFlags(t *testing.T) {
	own, err := ownAddresses([]string{":443", "192.0.2.1:8443"}, []string{"[::]:80"})
	if err != nil {
		t.Fatal(err)
	}
	for address, leads := range map[string]bool{
		"127.0.0.1:443": true, "[::1]:443": true, "127.0.0.1:80": true, "192.0.2.1:8443": true,
		"127.0.0.1:8443": false, "192.0.2.1:443": false, "127.0.0.1:81": false,
	} {
		if got := own.Leads(netip.MustParseAddrPort(address)); got != leads {
			t.Errorf("%s leads here: %v", address, got)
		}
	}
	if _, err := ownAddresses([]string{"nonsense"}); err == nil {
		t.Error("an address without a port is taken")
	}
}
