package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// conclude sets the verdict and what goes with it.
func (e *explaining) conclude(is *Explanation) {
	serving := slices.IndexFunc(e.proxies, (*Proxy).serves)
	switch {
	case serving >= 0 && e.unreachable():
		is.Verdict = NotExposed
		e.stop(is, reason.BackendUnreachable, "usher publishes it, and none of its backends accepts a connection: "+e.firstError())
		is.Cure, is.Command = e.mendBackend()
	case serving >= 0:
		is.Verdict = Exposed
		e.exposed(is, e.proxies[serving].Route)
	case len(e.proxies) > 0 && e.unready():
		is.Verdict = CannotTell
		e.stop(is, "", "no proxy serves yet: "+e.proxies[0].NotReady)
		is.Cure = "Wait until usher has read its hosts, and ask again."
		is.Command = "kubectl get pods -l app.kubernetes.io/name=usher -A"
	case len(e.proxies) > 0:
		is.Verdict = NotExposed
		e.cause(is)
	case e.unasked:
		is.Verdict = CannotTell
		e.stop(is, "", "neither usher nor the API server of the edge cluster has answered")
		is.Cure, is.Command = awayCure, awayCommand
	case e.promised():
		is.Verdict = CannotTell
		e.stop(is, "", "its ExposedHost is accepted and ready, and no process of usher has answered that could serve it")
		is.Cure, is.Command = awayCure, awayCommand
	default:
		is.Verdict = NotExposed
		e.cause(is)
	}
}

const (
	awayCure    = "Start usher, or name its admin listener with --admin."
	awayCommand = "kubectl get pods -l app.kubernetes.io/name=usher -A"
)

func (e *explaining) stop(is *Explanation, why, sentence string) {
	is.Reason, is.Summary = why, e.host+" is not exposed: "+sentence
	if is.Verdict == CannotTell {
		is.Summary = "it cannot be told whether " + e.host + " is exposed: " + sentence
	}
}

// unready reports whether no proxy has its routes yet.
func (e *explaining) unready() bool {
	return !slices.ContainsFunc(e.proxies, func(p *Proxy) bool { return p.NotReady == "" })
}

// unreachable reports whether addresses were dialled, and none accepted a connection.
func (e *explaining) unreachable() bool {
	dialled := false
	for _, p := range e.proxies {
		if !p.serves() {
			continue
		}
		if len(p.Dials) == 0 || slices.ContainsFunc(p.Dials, func(d Dial) bool { return d.Error == "" }) {
			return false
		}
		dialled = true
	}
	return dialled
}

func (e *explaining) firstError() string {
	for _, p := range e.proxies {
		if len(p.Dials) > 0 {
			return p.Dials[0].Address + ": " + p.Dials[0].Error
		}
	}
	return ""
}

// promised reports whether the ExposedHost of the host says that it is served.
func (e *explaining) promised() bool {
	eh := e.decided()
	return eh != nil && !e.excepted() && isTrue(eh, v1alpha1.ConditionAccepted) && isTrue(eh, v1alpha1.ConditionReady)
}

// exposed says how the host is exposed.
func (e *explaining) exposed(is *Explanation, r *Route) {
	text := e.host + " is exposed"
	switch {
	case r.PlainOnly:
		text += " on plain HTTP only"
	case !slices.Equal(r.Ports, []string{v1alpha1.PortHTTPS}):
		text += " on " + strings.Join(r.Ports, ", ")
	}
	if r.Host != e.host {
		text += " by the wildcard " + r.Host
	}
	if r.By != "" {
		text += ", by the word of " + r.By
	}
	if r.Everyone {
		text += ", for everyone"
	} else {
		text += ", for clients in " + cmp.Or(strings.Join(r.AllowFrom, ", "), "no network")
	}
	if dns := is.step(StepDNS); dns.Mark == Failed {
		text += "; its DNS records are not as they should be: " + dns.Summary
	}
	is.Summary = text
}

func (is *Explanation) step(name string) *Step {
	at := slices.IndexFunc(is.Steps, func(s Step) bool { return s.Name == name })
	return &is.Steps[at]
}

// cause says what stops a host that no proxy serves, and what mends it.
func (e *explaining) cause(is *Explanation) {
	eh := e.decided()
	switch {
	case e.manifests():
		e.causeInFiles(is)
	case eh == nil:
		e.causeWithoutHost(is)
	case e.excepted():
		e.causeExcepted(is)
	case condition(eh, v1alpha1.ConditionAccepted) == nil:
		e.stop(is, reason.NotDecided, "usher has not decided about it yet")
		is.Cure, is.Command = advice("Routes", reason.NotDecided), describe("exposedhost", eh.Name)
	case !isTrue(eh, v1alpha1.ConditionAccepted):
		is.because(e, condition(eh, v1alpha1.ConditionAccepted))
		is.Cure, is.Command = cmp.Or(advice(v1alpha1.ConditionAccepted, is.Reason), "Correct what the message names."), e.mendRefused(eh, is.Reason)
	case !isTrue(eh, v1alpha1.ConditionReady):
		c := condition(eh, v1alpha1.ConditionReady)
		if c == nil {
			c = &metav1.Condition{Reason: reason.NotDecided, Message: "usher has not decided about it yet"}
		}
		is.because(e, c)
		is.Cure, is.Command = cmp.Or(advice(v1alpha1.ConditionReady, is.Reason), advice("Routes", is.Reason)), e.mendUnready(eh, is.Reason)
	default:
		why := ""
		if i := slices.IndexFunc(e.proxies, func(p *Proxy) bool { return p.Route != nil }); i >= 0 {
			why = e.proxies[i].Route.Refusal
		}
		e.stop(is, why, "its ExposedHost is accepted and ready, and the proxy does not serve it"+colon(why))
		is.Cure = cmp.Or(advice("Routes", why), advice(v1alpha1.ConditionReady, why), "Read the log of usher: the line \"Left a host out of the routing table\" says why.")
		is.Command = describe("exposedhost", eh.Name)
	}
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// because stops the host for the reason of a condition.
func (is *Explanation) because(e *explaining, c *metav1.Condition) {
	e.stop(is, c.Reason, c.Message)
}

// causeInFiles is cause for hosts from manifests.
func (e *explaining) causeInFiles(is *Explanation) {
	for _, p := range e.proxies {
		if p.Route != nil {
			e.stop(is, p.Route.Refusal, "usher refuses it"+colon(cmp.Or(p.Route.Refusal, reason.NoBackend)))
			is.Cure = cmp.Or(advice("Routes", p.Route.Refusal), advice(v1alpha1.ConditionReady, cmp.Or(p.Route.Refusal, reason.NoBackend)))
			is.Command = checkCommand
			return
		}
	}
	e.stop(is, "", "no file of --manifests names it")
	is.Cure, is.Command = "Write an ExposedHost for it into a file of --manifests.", checkCommand
}

// checkCommand reports the errors of manifests.
const checkCommand = "usher check DIR"

// causeWithoutHost is cause for a host without an ExposedHost.
func (e *explaining) causeWithoutHost(is *Explanation) {
	refused := e.objectsThat(func(o *Object) bool { return o.Publishes && o.Refusal != nil })
	publishable := e.publishable()
	unread := e.unread()
	switch {
	case !e.control.Leads:
		e.stop(is, "", "there is no ExposedHost for it; no leader of usher has answered, so that it is not known which objects name it")
		is.Cure, is.Command = awayCure, awayCommand
	case len(e.publishing()) > 0 && len(e.control.Claims) > 0:
		e.stop(is, reason.NotDecided, "usher has not decided about it yet")
		is.Cure, is.Command = advice("Routes", reason.NotDecided), describe("exposedhosts", "")
	case len(refused) > 0:
		e.stop(is, refused[0].Refusal.Reason, refused[0].Refusal.Message)
		is.Cure, is.Command = advice(v1alpha1.ConditionAccepted, is.Reason), e.edit(refused[0].SourceRef, refused[0].Group)
	case len(publishable) > 0:
		o := publishable[0]
		e.stop(is, "", fmt.Sprintf("%s names it and is not annotated", about(o.SourceRef)))
		if o.Expose == "true" {
			e.stop(is, "", fmt.Sprintf("%s names it, and its annotation %s leaves it out", about(o.SourceRef), v1alpha1.AnnotationHosts))
		}
		is.Cure, is.Command = "Annotate the object, if the world may reach it.", e.annotate(o)
		if o.SourceRef.IsRouter() {
			e.stop(is, "", fmt.Sprintf("%s names it and is not on the public entry point", about(o.SourceRef)))
			is.Cure = "Add spec.traefik.publicEntryPoint of the MemberCluster to the entry points of the router, if the world may reach it."
			return
		}
		if o.Names != e.host {
			is.Cure = "Annotate the object, if the world may reach every name under " + o.Names + " that no other object has."
		}
		if is.Command == "" {
			is.Cure += " Its name is none of Kubernetes, so that no command is printed."
		}
	case len(unread) > 0:
		e.stop(is, reason.ClusterNotReady, "no object of the other members names it, and the objects of cluster "+strings.Join(unread, ", ")+" were never read")
		is.Cure, is.Command = advice(v1alpha1.ConditionAccepted, reason.ClusterNotReady), describe("membercluster", unread[0])
	default:
		e.stop(is, "", "no object of any member names it")
		is.Cure = "Create an Ingress, an IngressRoute or a route of the Gateway API for it in a member, and annotate it."
		is.Command = describe("memberclusters", "")
	}
}

// unread returns the members whose objects are not known.
func (e *explaining) unread() []string {
	var names []string
	for i := range e.control.Members {
		if !e.control.Members[i].Read {
			names = append(names, e.control.Members[i].Name)
		}
	}
	return names
}

// causeExcepted is cause for a name that the wildcard over it excepts.
func (e *explaining) causeExcepted(is *Explanation) {
	over := e.control.Over
	e.stop(is, reason.Excepted, "the wildcard "+over.Spec.Host+" does not cover it, since it excepts the name")
	is.Cure = advice("Routes", reason.Excepted)
	if publishable := e.publishable(); len(publishable) > 0 && publishable[0].Names == e.host {
		is.Command = e.annotate(publishable[0])
	} else {
		is.Command = kubectl("edit", "exposedhost", over.Name)
	}
}

func condition(eh *v1alpha1.ExposedHost, kind string) *metav1.Condition {
	for i := range eh.Status.Conditions {
		if eh.Status.Conditions[i].Type == kind {
			return &eh.Status.Conditions[i]
		}
	}
	return nil
}

func isTrue(eh *v1alpha1.ExposedHost, kind string) bool {
	is := condition(eh, kind)
	return is != nil && is.Status == metav1.ConditionTrue
}

func markOf(status metav1.ConditionStatus) Mark {
	switch status {
	case metav1.ConditionTrue:
		return OK
	case metav1.ConditionFalse:
		return Failed
	}
	return Unknown
}
