package admission

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
)

// Spec is how usher's own ExposedHost records a decision. A refused host has no
// backend. The holder is in the spec, not in the status: a backup keeps it, and one
// write changes it together with the backend.
func Spec(host string, d Decision) v1alpha1.ExposedHostSpec {
	spec := v1alpha1.ExposedHostSpec{Host: host, Holder: d.Holder, PlainHTTP: v1alpha1.PlainHTTPRedirect}
	if d.Accepted {
		for _, b := range d.Backends {
			spec.Backends = append(spec.Backends, v1alpha1.HostBackend{Cluster: b.Cluster, Gateway: b.Gateway, Weight: b.Weight})
		}
		spec.Share, spec.Strategy = d.Options.Share, d.Options.Strategy
		spec.AllowFrom = d.Options.AllowFrom
		spec.Except = d.Except
		spec.ShareBelow = d.Options.ShareBelow && strings.HasPrefix(host, "*.")
		if d.Options.PlainHTTP != "" {
			spec.PlainHTTP = d.Options.PlainHTTP
		}
		spec.Ports = d.Options.Ports
		if d.Options.PlainOnly {
			spec.TLS = v1alpha1.TLSDeny
		}
	}
	return spec
}

// Unwritable refuses a host whose spec the edge's API server refuses, as an older
// CustomResourceDefinition does.
func Unwritable(d Decision, err error) Decision {
	return d.refused(reason.SpecInvalid, "the edge's API server refuses the ExposedHost that the sources request; if usher's CustomResourceDefinitions are older than usher, install its own: kubectl apply -f charts/usher/crds: %v", err)
}

// Recorded is the decision that usher's own ExposedHost records.
func Recorded(eh *v1alpha1.ExposedHost) *Holding {
	h := &Holding{
		Holder: eh.Spec.Holder,
		Options: source.Options{
			PlainHTTP: eh.Spec.PlainHTTP, AllowFrom: eh.Spec.AllowFrom, Ports: eh.Spec.Ports,
			PlainOnly: eh.Spec.TLS == v1alpha1.TLSDeny, ShareBelow: eh.Spec.ShareBelow,
			Share: eh.Spec.Share, Strategy: eh.Spec.Strategy,
		},
	}
	if h.Holder == "" && len(eh.Spec.Backends) > 0 {
		h.Holder = eh.Spec.Backends[0].Cluster // an usher from before the field wrote it
	}
	if h.Cluster = h.Holder; h.Cluster == "" && len(eh.Status.Sources) > 0 {
		h.Cluster = eh.Status.Sources[0].Cluster
	}
	// The status may come from the previous decision, or describe rivals of a holder
	// that no longer claims the host.
	of := func(cluster string) []v1alpha1.SourceRef {
		others := func(ref v1alpha1.SourceRef) bool { return ref.Cluster != cluster }
		return slices.DeleteFunc(slices.Clone(eh.Status.Sources), others)
	}
	h.Sources = of(h.Cluster)
	var serves bool
	for _, b := range eh.Spec.Backends {
		backend := Backend{b.Cluster, b.Gateway, b.Weight}
		if b.Cluster != h.Cluster {
			h.Sharers = append(h.Sharers, Sharer{backend, of(b.Cluster)})
			continue
		}
		serves, h.Options.Gateway, h.Options.Weight = true, b.Gateway, b.Weight
	}
	h.Left = len(h.Sharers) > 0 && !serves
	h.Rivals = slices.Clone(eh.Status.Rivals)
	for _, ref := range eh.Status.Sources {
		if ref.Cluster != h.Cluster && !slices.Contains(h.sharers(), ref.Cluster) {
			h.Rivals = append(h.Rivals, v1alpha1.Rival{SourceRef: ref})
		}
	}
	if len(h.Sources) > 0 {
		h.SourcesTotal = int(eh.Status.SourcesTotal)
	}
	accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	if accepted == nil {
		return h
	}
	is := accepted.Status == metav1.ConditionTrue
	if is && serves || !is && len(h.Sources) == len(eh.Status.Sources) {
		h.Accepted, h.Reason, h.Message = is, accepted.Reason, accepted.Message
	}
	return h
}
