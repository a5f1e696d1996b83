package source

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// routeHosts are the hosts that one route of an object can publish.
type routeHosts struct {
	// field is the path of the object's field that names the hosts.
	field string
	// hosts is nil if the route is refused.
	hosts hostSet
	// served is the part of hosts that the cluster's Traefik serves; nil means all.
	served  hostSet
	refusal *Refusal
}

// covers reports whether the route's own field names a host.
func (o routeHosts) covers(host string, fuel *traefikrule.Fuel) bool {
	return o.hosts != nil && o.hosts.Covers(host, fuel)
}

// serves reports whether Traefik serves a host with the route.
func (o routeHosts) serves(host string, fuel *traefikrule.Fuel) bool {
	return o.covers(host, fuel) && (o.served == nil || o.served.Covers(host, fuel))
}

// split splits the sorted hosts that the route lists into those that Traefik serves and
// those that it does not serve.
func (o routeHosts) split(hosts []string) (served, not []string) {
	if o.served == nil {
		return hosts, nil
	}
	left, _ := o.served.List() // without wildcards a list stays one
	for _, host := range hosts {
		if _, found := slices.BinarySearch(left, host); found || checkSpelling(host) != nil {
			served = append(served, host) // or refused for its spelling
		} else {
			not = append(not, host)
		}
	}
	return served, not
}

// publication collects the claims and refusals of one object.
type publication struct {
	source        v1alpha1.SourceRef
	object        metav1.Object
	manager       string // of the annotation
	in            Context
	request       request
	fuel          traefikrule.Fuel // of deciding which wildcards the object covers
	objectRefusal *Refusal         // refuses every host of the object; nil if nothing does
	refusedPorts  *RefusedPorts    // of the ports that the object requests; nil if none is
	mark          TLSMark
	named         []string         // hosts that mark applies to; nil for all of the object
	claims        map[string]Claim // host → claim
	result        Result
}

// maxWildcardWork limits the work of deciding which wildcards the regular expressions of
// an object cover, so that users of a member cluster cannot overload usher: 50 ms.
const maxWildcardWork traefikrule.Fuel = 2 << 20

// newPublication first makes the checks that refuse the whole object. It checks the class
// before the annotations: an object of another class may have malformed ones. unserved is
// why Traefik does not serve the class; "" if it does.
func newPublication(kind string, object metav1.Object, class, unserved string, in Context) *publication {
	p := &publication{
		source:  v1alpha1.SourceRef{Cluster: in.Cluster, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()},
		object:  object,
		manager: Manager(object),
		in:      in,
		fuel:    maxWildcardWork,
		claims:  map[string]Claim{},
	}
	w, bad := readAnnotations(object.GetAnnotations())
	p.request = w
	if !in.publishes(class) {
		p.refuseObject(reason.IngressClass, "ingress class", "%s is not among the classes that cluster %s publishes (%s); add it to the MemberCluster's spec.ingressClasses, or change the class", message.Quote(class), in.Cluster, strings.Join(in.IngressClasses, ", "))
	}
	if unserved != "" {
		p.refuseObject(reason.IngressClass, "ingress class", "%s", unserved)
	}
	if bad != nil {
		p.refuseObject(reason.AnnotationInvalid, annotationField(bad.annotation), "%v; correct it", bad.err)
	}
	return p
}

func annotationField(name string) string { return "metadata.annotations[" + name + "]" }

// refuse makes a refusal that names the object and the field.
func (p *publication) refuse(why, field, format string, args ...any) *Refusal {
	return &Refusal{Reason: why, Message: message.Format("%s %s/%s, %s: %s", p.source.Kind, p.source.Namespace, p.source.Name, field, message.Format(format, args...))}
}

// refuseObject refuses every host of the object; the first reason counts.
func (p *publication) refuseObject(why, field, format string, args ...any) {
	if p.objectRefusal == nil {
		p.objectRefusal = p.refuse(why, field, format, args...)
	}
}

// publish turns the object's routes into claims.
func (p *publication) publish(routes []routeHosts) Result {
	for _, o := range routes {
		if o.refusal != nil {
			p.report(o.refusal)
		}
	}
	if p.request.named {
		p.publishNamed(routes)
	} else {
		p.publishListed(routes)
	}
	if len(p.claims) == 0 && p.objectRefusal != nil {
		p.report(p.objectRefusal)
	}
	for _, claim := range p.claims {
		p.result.Claims = append(p.result.Claims, claim)
	}
	slices.SortFunc(p.result.Claims, func(a, b Claim) int { return cmp.Compare(a.Host, b.Host) })
	p.limit()
	return p.result
}

// limit drops the claims beyond the limit of one object.
func (p *publication) limit() {
	most := p.in.MaxHosts
	if p.result.More = len(p.result.Claims) - most; most == 0 || p.result.More <= 0 {
		p.result.More = 0
		return
	}
	first := p.result.Claims[most].Host
	p.result.Claims = slices.Clone(p.result.Claims[:most])
	p.result.Refusals = slices.Insert(p.result.Refusals, 0, *p.refuse(reason.TooManyHosts, "spec", "it claims %d hosts, and usher publishes at most %d of one object: the first by name, so not %s and those after it; split the object, or raise usher's --max-source-hosts",
		most+p.result.More, most, first))
}

// publishNamed publishes the hosts of the hosts annotation that a route covers.
// The others are refused one by one.
func (p *publication) publishNamed(routes []routeHosts) {
	field := annotationField(v1alpha1.AnnotationHosts)
	for _, written := range p.request.hosts {
		host, err := parseHost(written)
		_, claimed := p.claims[host]
		switch {
		case err != nil:
			p.report(p.refuse(reason.AnnotationInvalid, field, "%v; correct it", err))
		case claimed: // skips the check of large rules, which takes time
		case slices.ContainsFunc(routes, func(o routeHosts) bool { return o.serves(host, &p.fuel) }):
			p.claim(host, nil)
		case p.in.WithoutWildcards != "" && slices.ContainsFunc(routes, func(o routeHosts) bool { return o.covers(host, &p.fuel) }):
			p.claim(host, p.unserved(field, host))
		default:
			p.claim(host, p.refuse(reason.HostNotCovered, field, "none of the object's rules is known to match %s; correct the annotation, or the rule", host))
		}
	}
}

// publishListed publishes the hosts that the routes list.
func (p *publication) publishListed(routes []routeHosts) {
	if len(routes) == 0 {
		p.report(p.refuse(reason.UnknownHosts, "spec", "it has no routes; add one, or remove the annotation %s", v1alpha1.AnnotationExpose))
	}
	unserved := map[string]string{} // host that Traefik does not serve by a route → the route's field
	for _, o := range routes {
		if o.hosts == nil {
			continue
		}
		switch hosts, listed := o.hosts.List(); {
		case !listed:
			cure := "name the hosts to publish in the annotation " + v1alpha1.AnnotationHosts
			if p.source.IsRouter() {
				cure = "name the hosts to publish in Host(), or take the router from the public entry point"
			}
			p.report(p.refuse(reason.UnknownHosts, o.field, "it matches %s; %s", o.hosts, cure))
		case len(hosts) == 0:
			p.report(p.refuse(reason.RuleInvalid, o.field, "it matches no host; correct the rule"))
		default:
			served, not := o.split(hosts)
			p.publishHosts(o.field, served)
			for _, host := range not {
				unserved[host] = cmp.Or(unserved[host], o.field)
			}
		}
	}
	for host, field := range unserved { // by these routes; another one may have claimed it
		p.claim(host, p.unserved(field, host))
	}
}

func (p *publication) publishHosts(field string, hosts []string) {
	for _, host := range hosts {
		if err := checkSpelling(host); err != nil {
			p.report(p.refuse(reason.HostInvalid, field, "%v; it cannot be published", err))
			continue
		}
		p.claim(host, nil)
	}
}

// claim adds a claim on a host, unless there is one.
func (p *publication) claim(host string, refusal *Refusal) {
	if _, claimed := p.claims[host]; claimed {
		return
	}
	refusal = cmp.Or(refusal, p.objectRefusal, p.notNamed(host))
	p.claims[host] = Claim{
		Source:  p.source,
		Created: p.object.GetCreationTimestamp().Time,

		ResourceVersion: p.object.GetResourceVersion(),
		Manager:         p.manager,

		Host:    host,
		Options: p.request.options,
		Refusal: refusal,

		TLSOptions: p.mark.Options,

		RefusedPorts: p.refusedPorts,
	}
}

// report adds a refusal that has no usable host.
func (p *publication) report(refusal *Refusal) {
	p.result.Refusals = append(p.result.Refusals, *refusal)
}
