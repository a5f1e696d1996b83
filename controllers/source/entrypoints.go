package source

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// checkEntryPoints refuses an object whose routes are only on entry points of Traefik
// that usher sends no connections to. Port 443 refuses the hosts of an object on the
// entry point of plain HTTP that asks to forward plain HTTP.
func (p *publication) checkEntryPoints(field string, names []string) {
	served := p.in.HTTPSEntryPoints
	if len(served) == 0 || len(names) == 0 || common(names, served) {
		return
	}
	plain := p.in.HTTPEntryPoints
	if len(plain) == 0 {
		plain = []string{plainEntryPoint}
	}
	onPlain := common(names, plain)
	if onPlain && p.request.options.PlainHTTP == v1alpha1.PlainHTTPForward {
		p.request.options.PlainOnly = true
		return
	}
	var or string
	if onPlain {
		or = ", or publish the hosts on plain HTTP only with the annotation " + v1alpha1.AnnotationPlainHTTP + ": forward"
	}
	p.refuseObject(reason.EntryPoint, field, "the routes are only on %s, and TLS connections from usher come to %s of cluster %s; add one of these%s, or correct the MemberCluster's spec.ingress.entryPoints",
		strings.Join(names, ", "), strings.Join(served, ", "), p.in.Cluster, or)
}

// common reports whether two lists have a name in common.
func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}
