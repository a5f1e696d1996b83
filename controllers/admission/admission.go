package admission

import (
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Policy is the configuration from the MemberClusters and the command line.
type Policy struct {
	// Clusters: name → cluster. A cluster that is missing here is deleted, which is
	// evidence that its claims are gone.
	Clusters map[string]Cluster
	// HandoverGrace is the time from the end of the holder's claims until another
	// cluster gets the host. 0 hands it over immediately.
	HandoverGrace time.Duration
}

// Cluster is the policy of one member.
type Cluster struct {
	// AllowedDomains are those under which it may publish: each covers itself
	// and every name below it. Empty allows all.
	AllowedDomains []string
	// RequireAll refuses a host while an object names it that is not annotated.
	RequireAll bool
	// InSync means that all its claims are known: a claim that is missing is gone.
	InSync bool
	// Stale means that the claims of a cluster that is InSync may be out of date,
	// since the cluster is unreachable now.
	Stale bool
}

// Input is the observed state of one host.
type Input struct {
	// Host in routing's canonical form.
	Host string
	// Claims on it, in any order.
	Claims []source.Claim
	// Manual means that a manually written ExposedHost holds the host.
	Manual bool
	// Current is usher's own ExposedHost as it stands; nil where there is none.
	Current *Holding
	// Over is the wildcard over the host; nil if none limits which clusters may get it.
	Over *Over
	// Unclaimed is the time since usher first observed that the holder, in sync, no
	// longer claims the host; 0 if this is the first observation.
	Unclaimed time.Duration
	// Alone means that no cluster shares the host with the one that gets it.
	Alone bool

	// passed: cluster → why Restrict refused the host to it
	passed map[string]source.Refusal
}

// Holding is a decision as an ExposedHost records it.
type Holding struct {
	// Holder is the cluster that holds the host; empty where none does.
	Holder string
	// Accepted, Reason and Message are its Accepted condition, as far as that is
	// about Cluster.
	Accepted        bool
	Reason, Message string
	// Cluster, Sources and Options are the basis of the decision. Cluster is the
	// holder, or without a holder, the cluster of the first refused claim.
	Cluster string
	Sources []v1alpha1.SourceRef
	Options source.Options
	// Sharers are the backends of other clusters than Holder, in their order.
	Sharers []Sharer
	// Left means that the sharers serve the host without its holder, which did not claim it.
	Left bool
	// Rivals are claims of other clusters, at least one of each that made any.
	Rivals []v1alpha1.Rival
	// SourcesTotal is the number of sources; Sources lists the first of them.
	SourcesTotal int
}

// Backend is a cluster that serves a host.
type Backend struct {
	Cluster string
	// Gateway and Weight are as in source.Options.
	Gateway string
	Weight  *int32
}

// Sharer is a backend of a host besides its holder, with the sources that are recorded of it.
type Sharer struct {
	Backend
	Sources []v1alpha1.SourceRef
}

// Decision is the outcome for one host.
type Decision struct {
	// Withdraw means that no claim is left and the ExposedHost is deleted. Only Holder
	// and Unclaimed may be set besides.
	Withdraw bool
	// Holder is the cluster that holds the host from now on; empty where none does.
	Holder string
	// Unclaimed means that the holder, in sync, no longer claims the host, and that no
	// other cluster may get it yet.
	Unclaimed bool
	// Accepted, Reason and Message make the Accepted condition.
	Accepted        bool
	Reason, Message string
	// Cluster serves the host, if it is accepted; of a refused host it is the
	// cluster of the claim that comes first.
	Cluster string
	// Backends serve the host, if it is accepted: Cluster, and then those that share it.
	Backends []Backend
	// Apart are the clusters that do not share the host although they, or its holder, want
	// to share it; sorted by cluster.
	Apart []Apart
	// Options are what all sources of the host allow together.
	Options source.Options
	// Except are the first labels of the names that a wildcard does not cover, sorted.
	Except []string
	// Sources are the claims of the clusters that serve the host, in the order of Backends,
	// the oldest of each first. Of a refused host they are those of Cluster.
	Sources []v1alpha1.SourceRef
	// Requested is the first of Sources with the version and the manager that were read; its
	// version and manager are empty if Sources come from the record.
	Requested v1alpha1.RequestedBy
	// RecordedSources is the number of sources when the cluster was last in sync, if
	// Sources come from the record; otherwise 0.
	RecordedSources int
	// Rivals are all other claims, in the same order, with their reasons.
	Rivals []v1alpha1.Rival
	// RefusedPorts are the ports that the sources request and are not served on.
	RefusedPorts []source.RefusedPorts
	// MoveRefused is why a person could not give the host to a cluster; nil if nobody tried,
	// or if it went there.
	MoveRefused *source.Refusal
	// Differences are sources that request other options than Options.
	Differences []Difference
}

// Apart is why a cluster does not share a host.
type Apart struct {
	Cluster string
	source.Refusal
}

// Difference is a source that requests other options than its host gets.
type Difference struct {
	Source v1alpha1.SourceRef
	// Message is a sentence with the requested options and the effective ones.
	Message string
}
