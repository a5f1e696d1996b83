// Package explain says why a host is exposed or not: every step from the objects of the
// members to the sockets of the backends, what stops it, and the command that mends it. It
// makes the explanation from facts, which the processes of usher and the API server of the
// edge cluster tell.
//
// The package is pure: it asks nobody, and reads no clock. It may import the API, and the
// packages message and routing.
package explain

// Mark says how a step went.
type Mark string

// The marks of steps and of their details.
const (
	OK      Mark = "ok"
	Failed  Mark = "failed"
	Unknown Mark = "unknown" // it could not be found out
	Skipped Mark = "skipped" // it does not matter for the host
	Note    Mark = "note"    // neither good nor bad
)

// Verdict says whether clients reach a host.
type Verdict string

// The verdicts.
const (
	// Exposed: usher forwards connections to the host, and a backend accepts them.
	Exposed Verdict = "exposed"
	// NotExposed: usher refuses connections to the host, or no backend accepts them.
	NotExposed Verdict = "not-exposed"
	// CannotTell: what is known is not enough.
	CannotTell Verdict = "unknown"
)

// The names of the steps, in their order.
const (
	StepMembers     = "members"
	StepObjects     = "objects"
	StepAdmission   = "admission"
	StepExposedHost = "exposedHost"
	StepRoute       = "route"
	StepBackends    = "backends"
	StepIsolation   = "isolation"
	StepDNS         = "dns"
	StepKnocks      = "knocks"
)

// Explanation says whether and why a host is exposed. Its texts are single lines of printable
// characters of a bounded length, whatever the members wrote. The names of its fields are
// stable: scripts read them.
type Explanation struct {
	// Host is canonical. It may be a wildcard.
	Host    string  `json:"host"`
	Verdict Verdict `json:"verdict"`
	// Summary is one sentence: how the host is exposed, or what stops it.
	Summary string `json:"summary"`
	// Reason is the one of package reason that stops it; empty if nothing does or if
	// there is none.
	Reason string `json:"reason,omitempty"`
	// Cure says in words what to do, and Command is a command that does it, or that shows
	// what is wrong. Both are empty if nothing stops the host.
	Cure    string `json:"cure,omitempty"`
	Command string `json:"command,omitempty"`
	// Steps are all steps, always in the same order.
	Steps []Step `json:"steps"`
}

// Step is one step from the objects to the sockets.
type Step struct {
	// Name is one of the constants.
	Name string `json:"name"`
	Mark Mark   `json:"mark"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Details are at most 50.
	Details []Detail `json:"details,omitempty"`
	// More is how many details are left out.
	More int `json:"more,omitempty"`
}

// Detail is one fact of a step: about a member, an object, a check, an address.
type Detail struct {
	Mark Mark `json:"mark"`
	// Of is what the fact is about, such as "cluster hades" or "Ingress default/web of
	// cluster hades".
	Of string `json:"of,omitempty"`
	// Text is one sentence or a part of one.
	Text string `json:"text"`
	// Command changes it; it may be empty.
	Command string `json:"command,omitempty"`
	// Details are below this one, such as the checks of a claim. They have no details.
	Details []Detail `json:"details,omitempty"`
}
