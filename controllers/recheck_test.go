package controllers

import (
	"testing"
	"time"

	"github.com/jovalle/usher/controllers/member"
)

// A member is checked again when its condition CredentialsValid changes, and not a minute later.
func TestRecheckWhenCredentialsEnd(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]time.Duration{
		expiringFor + 4*time.Second: 4 * time.Second,
		expiringFor + time.Hour:     recheckEvery,
		expiringFor:                 recheckEvery,
		4 * time.Second:             4 * time.Second,
		-time.Hour:                  recheckEvery,
	} {
		if got := recheckAfter(member.Expiry{Field: "token", At: now.Add(left)}, now); got != want {
			t.Errorf("%v before the end, the member is checked after %v, want %v", left, got, want)
		}
	}
	if got := recheckAfter(member.Expiry{}, now); got != recheckEvery {
		t.Errorf("without an end, the member is checked after %v", got)
	}
}
