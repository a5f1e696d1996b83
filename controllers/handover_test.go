package controllers

import (
	"testing"
	"testing/synctest"
	"time"
)

// The former holder of a host is known until an object names it again, and its grace begins
// again each time it stops claiming the host.
func TestUnclaimedHostIsKnownUntilItsObjectIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const host = "app.techn.is"
		var u unclaimedHosts
		wantHolder := func(step, holder string) {
			t.Helper()
			if was := u.of(host).holder; was != holder {
				t.Errorf("%s: the holder was %q, want %q", step, was, holder)
			}
		}
		u.claimed(host, "hades", "")
		wantHolder("a first claim", "")
		begin := u.note(host, "hades")
		time.Sleep(time.Second)
		if again := u.note(host, "hades"); !again.Equal(begin) {
			t.Errorf("the grace began %v later", again.Sub(begin))
		}
		u.claimed(host, "hades", "")
		wantHolder("claimed again, without an object", "hades")
		if since := u.of(host).since; !since.IsZero() {
			t.Errorf("claimed again: unclaimed since %v", since)
		}
		if again := u.note(host, "hades"); again.Sub(begin) != time.Second {
			t.Errorf("the second grace began %v after the first, want 1s", again.Sub(begin))
		}
		u.claimed(host, "hades", "hades")
		wantHolder("its object is seen", "")
		u.note(host, "hades")
		u.claimed(host, "illmatic", "")
		wantHolder("another gets it", "")
	})
}
