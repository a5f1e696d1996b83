package main

import (
	"net/netip"
	"slices"
	"testing"
)

// A name that a member serves and nobody annotated stands out.
func TestKnocksNameTheMembersThatServe(t *testing.T) {
	o := &observed{}
	recorder := o.knocks.Recorder()
	for _, host := range []string{"vault.is", "scan.is", ""} {
		recorder.Add(netip.MustParseAddr("192.0.2.1"), host, "unknown_host")
	}
	if all := o.latest(); len(all) != 3 || all[0].ServedBy != nil {
		t.Errorf("without controllers: %+v", all)
	}
	o.setServing(func(host string) []string {
		if host == "" || host == "scan.is" {
			return nil
		}
		return []string{"hades"}
	})
	for _, k := range o.latest() {
		if served := slices.Equal(k.ServedBy, []string{"hades"}); served != (k.Host == "vault.is") {
			t.Errorf("%+v", k)
		}
	}
}
