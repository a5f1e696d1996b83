package admission

import (
	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Policy is what the MemberClusters say. Clusters: name → cluster; one that is
// not there is deleted, which is evidence that all it held is gone.
type Policy struct {
	Clusters map[string]Cluster
}

// Cluster is the policy of one member.
type Cluster struct {
	// AllowedDomains are those under which it may publish: each covers itself
	// and every name below it. Empty allows all.
	AllowedDomains []string
	// RequireAll refuses a host while an object names it that is not annotated.
	RequireAll bool
	// InSync says that its claims are known: what is not among them is gone.
	InSync bool
}

// Input is all that is known of one host.
type Input struct {
	// Host in routing's canonical form.
	Host string
	// Claims on it, in any order.
	Claims []source.Claim
	// Manual says that a person's ExposedHost holds the host.
	Manual bool
	// Current is usher's own ExposedHost as it stands; nil where there is none.
	Current *Holding
}

// Holding is a decision as an ExposedHost records it.
type Holding struct {
	// Accepted, Reason and Message are its Accepted condition.
	Accepted        bool
	Reason, Message string
	// Cluster, Sources and Options are what it rests on.
	Cluster string
	Sources []v1alpha1.SourceRef
	Options source.Options
	// SourcesTotal is how many sources there were, of which it names the first.
	SourcesTotal int
}

// Decision is what becomes of the host.
type Decision struct {
	// Withdraw says that no claim is left: the object goes. Nothing else is set then.
	Withdraw bool
	// Accepted, Reason and Message make the Accepted condition.
	Accepted        bool
	Reason, Message string
	// Cluster serves the host, if it is accepted; of a refused host it is the
	// cluster of the claim that comes first.
	Cluster string
	// Options are what all sources of the host allow together.
	Options source.Options
	// Except are the first labels of the names that a wildcard does not cover, sorted.
	Except []string
	// Sources are the cluster's claims on the host, the oldest first.
	Sources []v1alpha1.SourceRef
	// RecordedSources is how many sources there were when the cluster was last in
	// sync, where Sources are those that are recorded; else 0.
	RecordedSources int
	// Rivals are all other claims, in the same order, with their reasons.
	Rivals []v1alpha1.Rival
	// Differences are sources that ask for other options than those that count.
	Differences []Difference
}

// Difference is a source that asks for more than counts.
type Difference struct {
	Source v1alpha1.SourceRef
	// Message is a sentence that says what it asks for, and what it gets.
	Message string
}
