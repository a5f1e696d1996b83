package admission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// Beside is what the cluster that holds a host serves next to it: the objects and
// names that a client of the host could also reach.
type Beside struct {
	// Unannotated are the objects that name the host, or a wildcard over it, and are not
	// annotated; sorted.
	Unannotated []v1alpha1.SourceRef
	// Names are the first labels of the names directly under the host, a wildcard;
	// Private those of them that nobody annotated. Both are sorted.
	Names, Private []string
	// Unclaimed are those of Names that annotated objects publish, but cannot claim;
	// sorted.
	Unclaimed []string
	// Capped means that some object of the cluster asks for more hosts than are published.
	Capped bool
	// Unlisted are the objects under the wildcard whose hosts cannot be listed; sorted.
	Unlisted []v1alpha1.SourceRef
	// Unisolated are the objects that make Traefik serve the host with its default TLS
	// options, and not with the isolating ones; sorted.
	Unisolated []v1alpha1.SourceRef
	// Unchecked means that too many objects name the host, or share a router with it, to
	// check its TLS options.
	Unchecked bool
	// Unmarked means that the cluster has spec.isolation, and that no object which names
	// the host has its TLS options.
	Unmarked bool
	// Sharing are older objects of the cluster with the host's TLS options: a client of
	// their hosts reaches the host, and the other way around.
	Sharing []source.Sharing
}

// Restrict restricts an accepted host so that it does not publish objects without the
// annotation, as far as host names distinguish them. The message lists the objects
// that the host publishes nevertheless. The cluster must be in sync; requireAll is
// its MemberCluster's spec.requireAll.
//
// A host that its holder no longer claims is refused if another object of the
// cluster names it, since that object is not annotated.
//
// A wildcard's Except lists all names of the cluster's objects under it, including
// published names: those have their own ExposedHost, and become private as soon as
// it is deleted.
func Restrict(d Decision, host string, requireAll bool, beside Beside) Decision {
	if !d.Accepted {
		return d
	}
	if d = d.isolated(beside); !d.Accepted {
		return d
	}
	if len(beside.Unannotated) > 0 {
		switch {
		case d.Unclaimed && d.Cluster == d.Holder: // what is annotated is gone, and these are not
			return d.refusedUntilHandover()
		case requireAll:
			return d.refused(reason.NotAllAnnotated, "cluster %s has spec.requireAll, and these of its objects name the host without the annotation: %s; annotate each with %s, or remove the host from it",
				d.Cluster, FirstFew(beside.Unannotated), v1alpha1.AnnotationExpose)
		}
		d = d.with("; these objects name the host without the annotation and are published with it, because a TLS connection does not show the path: %s", FirstFew(beside.Unannotated))
	}
	if !strings.HasPrefix(host, "*.") {
		return d
	}
	return d.restrictWildcard(beside)
}

// isolated refuses a host whose TLS options do not isolate it.
func (d Decision) isolated(beside Beside) Decision {
	if len(beside.Unisolated) > 0 {
		return d.refused(reason.NotIsolated, "Traefik uses its default TLS options for a host whose routes have different ones, and these objects of cluster %s do not have the options of the host: %s; set the same spec.tls.options on all routes of a host",
			d.Cluster, FirstFew(beside.Unisolated))
	}
	if beside.Unchecked {
		return d.refused(reason.NotIsolated, "more objects of cluster %s name the host, or share a router with it, than usher checks for their TLS options; name fewer hosts in one rule", d.Cluster)
	}
	for _, other := range beside.Sharing {
		if slices.Equal(other.AllowFrom, d.Options.AllowFrom) {
			continue
		}
		return d.refused(reason.IsolationShared, "it has the TLS options of host %s of %s, which has %s, while this host has %s: clients of one host would reach the other; give one of them a TLSOption of its own, whose name starts with that of the MemberCluster's spec.isolation and a hyphen",
			other.Host, describe(other.Source), allowFrom(source.Options{AllowFrom: other.AllowFrom}), allowFrom(d.Options))
	}
	return d
}

// RestrictSharer is Restrict for one of the clusters that share an accepted host. Of a
// refused decision, Cluster is that cluster.
func RestrictSharer(d Decision, cluster, host string, requireAll bool, beside Beside) Decision {
	own := d
	own.Cluster, own.Message = cluster, ""
	if own = Restrict(own, host, requireAll, beside); !own.Accepted {
		return own
	}
	if d.Except = own.Except; own.Message != "" {
		d = d.with("; cluster %s: %s", cluster, strings.TrimLeft(own.Message, "; "))
	}
	return d
}

// ExceptAlso adds first labels to those that a wildcard does not cover.
func (d Decision) ExceptAlso(labels []string) Decision {
	if len(labels) > 0 {
		d.Except = slices.Compact(slices.Sorted(slices.Values(slices.Concat(d.Except, labels))))
	}
	return d
}

func (d Decision) restrictWildcard(beside Beside) Decision {
	all := d.ExceptAlso(beside.Names).Except
	switch n := len(all); {
	case d.Options.WholeWildcard && n > v1alpha1.MaxExcept && beside.Capped:
		return d.refused(reason.TooManyNames, "objects of cluster %s claim more hosts than usher publishes, and usher does not know which of the %d names under the wildcard are among the rest; name fewer hosts in its objects", d.Cluster, n)
	case d.Options.WholeWildcard:
		d = d.ExceptAlso(beside.Unclaimed).with("; its sources have %s: all, so it publishes every name under it that cluster %s serves", v1alpha1.AnnotationWildcard, d.Cluster)
		if len(beside.Private) > 0 {
			d = d.with(", including these without an annotated object: %s", firstFew(beside.Private))
		}
		if len(beside.Unclaimed) > 0 {
			d = d.with("; except these, whose annotated objects are refused: %s", firstFew(beside.Unclaimed))
		}
	case n > v1alpha1.MaxExcept:
		return d.refused(reason.TooManyNames, "the objects of cluster %s have %d names under it, and a wildcard can exclude at most %d; publish the names themselves, or all of them with %s: all",
			d.Cluster, n, v1alpha1.MaxExcept, v1alpha1.AnnotationWildcard)
	default:
		d.Except = all
		if len(beside.Private) > 0 {
			d = d.with("; these names under it are refused, because cluster %s serves them without an annotated object: %s", d.Cluster, firstFew(beside.Private))
		}
	}
	if len(beside.Unlisted) > 0 {
		d = d.with("; these objects do not list their hosts, so all hosts that they serve under the wildcard are published: %s", FirstFew(beside.Unlisted))
	}
	return d
}

// Warn adds to the decision about a manually written host what it publishes besides: of
// a wildcard, the private names of a cluster, since usher does not write its
// spec.except; and of an isolated cluster, all hosts if the host has not the TLS options.
func Warn(d Decision, cluster string, except []string, beside Beside) Decision {
	private := slices.DeleteFunc(slices.Clone(beside.Private), func(label string) bool { return slices.Contains(except, label) })
	if d.Accepted && len(private) > 0 {
		d = d.with("; it publishes names that cluster %s serves without an annotated object; add them to spec.except to refuse them: %s", cluster, firstFew(private))
	}
	if d.Accepted && beside.Unmarked {
		d = d.with("; cluster %s has spec.isolation, and no route of the host has its TLS options: clients of the host reach every private host of the cluster; set the TLS options on the route", cluster)
	}
	return d
}

// with returns the decision with text appended to its message.
func (d Decision) with(format string, args ...any) Decision {
	d.Message = message.Bound(d.Message + message.Format(format, args...))
	return d
}

// refused turns an accepted decision into a refusal of the same sources.
func (d Decision) refused(why, format string, args ...any) Decision {
	d.Accepted, d.Reason, d.Message = false, why, message.Format(format, args...)
	return d
}

// maxListed is the maximum number of names that a message lists.
const maxListed = 5

// firstFew joins the first few names, and counts the others.
func firstFew(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// FirstFew lists the first few objects without their cluster's name, and counts the
// others.
func FirstFew(refs []v1alpha1.SourceRef) string {
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = fmt.Sprintf("%s %s/%s", ref.Kind, ref.Namespace, ref.Name)
	}
	return firstFew(names)
}
