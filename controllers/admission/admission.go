package admission

import (
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Policy is what the MemberClusters and the command line say.
type Policy struct {
	// Clusters: name → cluster; one that is not there is deleted, which is evidence
	// that all it held is gone.
	Clusters map[string]Cluster
	// HandoverGrace is how long the holder of a host must have claimed it no more
	// before another cluster gets it. 0 is at once.
	HandoverGrace time.Duration
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
	// Stale says of a cluster that is InSync that its claims are those of a moment
	// ago: it may have made others since.
	Stale bool
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
	// Unclaimed is for how long it has been known that the holder, in sync, claims
	// the host no more; 0 where that was not known before.
	Unclaimed time.Duration
}

// Holding is a decision as an ExposedHost records it.
type Holding struct {
	// Holder is the cluster that holds the host; empty where none does.
	Holder string
	// Accepted, Reason and Message are its Accepted condition, as far as that is
	// about Cluster.
	Accepted        bool
	Reason, Message string
	// Cluster, Sources and Options are what it rests on. Cluster is the holder, or
	// where nobody holds the host, the first one that claims it in vain.
	Cluster string
	Sources []v1alpha1.SourceRef
	Options source.Options
	// Rivals are claims of other clusters, at least one of each that made any.
	Rivals []v1alpha1.Rival
	// SourcesTotal is how many sources there were, of which it names the first.
	SourcesTotal int
}

// Decision is what becomes of the host.
type Decision struct {
	// Withdraw says that no claim is left: the object goes. Nothing else is set then
	// but Holder and Unclaimed.
	Withdraw bool
	// Holder is the cluster that holds the host from now on; empty where none does.
	Holder string
	// Unclaimed says that the holder, in sync, claims the host no more, and that no
	// other cluster may have it yet.
	Unclaimed bool
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
