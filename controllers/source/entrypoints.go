package source

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// checkEntryPoints refuses an object whose routes are only on entry points of Traefik
// that usher sends no connections to.
func (p *publication) checkEntryPoints(field string, names []string) {
	served := p.in.HTTPSEntryPoints
	if len(names) == 0 || len(served) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(served, name) }) {
		return
	}
	p.refuseObject(reason.EntryPoint, field, "the routes are only on %s, and TLS connections from usher come to %s of cluster %s; add one of these, or correct the MemberCluster's spec.ingress.entryPoints",
		strings.Join(names, ", "), strings.Join(served, ", "), p.in.Cluster)
}
