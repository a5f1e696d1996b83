package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// maxDetails bounds the details of a step, and of a detail.
const maxDetails = 50

// Of explains a host by the facts of any number of processes. Of several that tell about
// the control plane, a leader counts, or else the first.
func Of(host string, facts ...Facts) Explanation {
	e := explaining{host: host}
	for i := range facts {
		if c := facts[i].Control; c != nil && (e.control == nil || c.Leads && !e.control.Leads) {
			e.control = c
		}
		if facts[i].Proxy != nil {
			e.proxies = append(e.proxies, facts[i].Proxy)
		}
	}
	if e.control == nil {
		e.control, e.unasked = &Control{}, true
	}
	is := Explanation{Host: host, Steps: []Step{
		e.members(), e.objects(), e.admission(), e.exposedHost(), e.route(), e.backends(), e.isolation(), e.dns(), e.knocks(),
	}}
	e.conclude(&is)
	is.bound()
	return is
}

// explaining makes an Explanation.
type explaining struct {
	host    string
	control *Control
	unasked bool // nobody told about the control plane: control is empty
	proxies []*Proxy
}

// manifests reports whether the routes come from files.
func (e *explaining) manifests() bool {
	return e.unasked && slices.ContainsFunc(e.proxies, func(p *Proxy) bool { return p.Manifests })
}

// withoutControl returns the step of what only the control plane knows; false if that is known.
func (e *explaining) withoutControl(name string) (Step, bool) {
	switch {
	case e.manifests():
		return Step{Name: name, Mark: Skipped, Summary: "usher reads its hosts from files: no member is asked"}, true
	case e.unasked:
		return Step{Name: name, Mark: Unknown, Summary: "neither a leader of usher nor the API server of the edge cluster has answered"}, true
	}
	return Step{}, false
}

// withoutLeader is withoutControl for what only a leader knows.
func (e *explaining) withoutLeader(name string) (Step, bool) {
	if step, without := e.withoutControl(name); without || e.control.Leads {
		return step, without
	}
	return Step{Name: name, Mark: Unknown, Summary: "no leader of usher has answered, and only it knows the objects of the members"}, true
}

func (e *explaining) members() Step {
	step, without := e.withoutControl(StepMembers)
	if without {
		return step
	}
	step = Step{Name: StepMembers, Mark: OK}
	var away []string
	for i := range e.control.Members {
		m := &e.control.Members[i]
		d := Detail{Mark: OK, Of: "cluster " + m.Name}
		if problem := m.problem(); problem != nil {
			d.Mark, d.Text = Failed, fmt.Sprintf("%s: %s: %s", problem.Type, problem.Reason, problem.Message)
			away = append(away, m.Name)
		} else {
			d.Text = "in sync"
			if m.SyncedAt != nil {
				d.Text += " since " + moment(*m.SyncedAt) + ", and watched"
			}
		}
		step.Details = append(step.Details, d)
	}
	n := len(e.control.Members)
	switch {
	case n == 0:
		step.Mark, step.Summary = Failed, "there is no MemberCluster, so that no annotated object is read"
	case len(away) > 0:
		step.Mark = Failed
		step.Summary = fmt.Sprintf("%d of %s not in sync: %s", len(away), count(n, "member is", "members are"), strings.Join(away, ", "))
	default:
		step.Summary = count(n, "member is", "members are") + " in sync"
	}
	if !e.control.Leads {
		step.Summary += ", as the MemberClusters say"
	}
	return step
}

// problem returns the condition of a member that is not true; nil if it is in sync.
func (m *Member) problem() *metav1.Condition {
	for _, kind := range []string{v1alpha1.ConditionConnected, v1alpha1.ConditionSynced} {
		switch is := meta.FindStatusCondition(m.Conditions, kind); {
		case is == nil:
			return &metav1.Condition{Type: kind, Reason: reason.Connecting, Message: "usher has not asked the cluster yet"}
		case is.Status != metav1.ConditionTrue:
			return is
		}
	}
	return nil
}

func (e *explaining) objects() Step {
	step, without := e.withoutLeader(StepObjects)
	if without {
		return step
	}
	step = Step{Name: StepObjects, Mark: OK, More: e.control.MoreObjects}
	asking := e.publishing()
	for i := range e.control.Objects {
		step.Details = append(step.Details, e.object(&e.control.Objects[i], len(asking) > 0))
	}
	named := e.naming()
	switch {
	case len(asking) > 0:
		step.Summary = fmt.Sprintf("%s to publish it: %s", count(len(asking), "object asks", "objects ask"), about(asking[0].SourceRef))
	case len(named) == 0:
		step.Mark, step.Summary = Failed, "no object of a member that was read names the host"
	default:
		step.Mark = Failed
		step.Summary = fmt.Sprintf("%s the host, and none asks usher to publish it", count(len(named), "object names", "objects name"))
	}
	return step
}

// naming returns the objects that name the host or a wildcard over it.
func (e *explaining) naming() []*Object {
	return e.objectsThat(func(o *Object) bool { return o.Names != "" })
}

// publishing returns the objects that ask to publish the host: those that name it
// themselves, or the wildcard directly over it.
func (e *explaining) publishing() []*Object {
	return e.objectsThat(func(o *Object) bool { return o.Publishes && (o.Names == e.host || o.Names == e.over()) })
}

// publishable returns the objects that would publish the host with the annotation, those
// that name it exactly before those that name the wildcard over it.
func (e *explaining) publishable() []*Object {
	exactly := e.objectsThat(func(o *Object) bool { return !o.Publishes && o.Names == e.host })
	if len(exactly) > 0 {
		return exactly
	}
	return e.objectsThat(func(o *Object) bool { return !o.Publishes && o.Names != "" && o.Names == e.over() })
}

func (e *explaining) objectsThat(are func(*Object) bool) []*Object {
	var found []*Object
	for i := range e.control.Objects {
		if o := &e.control.Objects[i]; are(o) {
			found = append(found, o)
		}
	}
	return found
}

// over returns the wildcard directly over the host; "" for a wildcard.
func (e *explaining) over() string { return v1alpha1.WildcardOver(e.host) }

// object describes an object that names the host. Others says that objects publish it.
func (e *explaining) object(o *Object, others bool) Detail {
	d := Detail{Mark: Failed, Of: about(o.SourceRef)}
	if others {
		d.Mark = Note
	}
	var by string
	switch {
	case o.Names == "":
		d.Mark, by = Note, "may serve any host"
	case o.Through != "":
		by = "serves " + o.Names + " through IngressRoute " + o.Through
	case o.Names != e.host:
		by = "names the wildcard " + o.Names
	default:
		by = "names it"
	}
	if o.Rule != "" {
		by += " by " + message.Bound(o.Rule)
	}
	switch {
	case o.SourceRef.IsRouter() && o.Publishes:
		d.Mark, d.Text = OK, by+"; on the public entry point, or with the isolating TLS options"
	case o.SourceRef.IsRouter():
		d.Text = by + "; neither on the public entry point nor with isolating TLS options"
	case o.Publishes && o.Names == "":
		d.Text = by + "; annotated"
	case o.Publishes:
		d.Mark, d.Text = OK, by+"; annotated"
	case o.Expose == "true":
		d.Text = by + "; annotated, but " + v1alpha1.AnnotationHosts + " leaves it out"
	case o.Expose != "":
		d.Text = fmt.Sprintf("%s; its annotation %s is %s, and only \"true\" publishes", by, v1alpha1.AnnotationExpose, message.Quote(o.Expose))
	default:
		d.Text = by + "; not annotated"
	}
	if !o.Publishes && o.Names != "" {
		d.Command = e.annotate(o)
	}
	if o.Refusal != nil {
		d.Details = []Detail{{Mark: Failed, Of: o.Refusal.Reason, Text: o.Refusal.Message}}
	}
	return d
}

func (e *explaining) admission() Step {
	step, without := e.withoutLeader(StepAdmission)
	if without {
		return step
	}
	step = Step{Name: StepAdmission, Mark: Skipped, Summary: "no object claims the host, so that there is nothing to check", More: e.control.MoreClaims}
	sound := 0
	for i := range e.control.Claims {
		c := &e.control.Claims[i]
		d := Detail{Mark: OK, Of: about(c.SourceRef), Text: "claims " + c.Host + " and passes all checks"}
		for _, check := range c.Checks {
			below := Detail{Mark: OK, Text: check.Asks}
			if check.Refusal != nil {
				below = Detail{Mark: Failed, Of: check.Asks, Text: check.Refusal.Reason + ": " + check.Refusal.Message}
				if d.Mark == OK {
					d.Mark, d.Text = Failed, "claims "+c.Host+": "+check.Refusal.Reason
				}
			}
			d.Details = append(d.Details, below)
		}
		if d.Mark == OK {
			sound++
			if why := e.rival(c); why != "" {
				d.Mark, d.Text = Failed, d.Text+", and does not get the host: "+why
			}
		}
		step.Details = append(step.Details, d)
	}
	switch n := len(e.control.Claims); {
	case n == 0:
	case sound == 0:
		step.Mark, step.Summary = Failed, fmt.Sprintf("none of %s the checks", count(n, "claim passes", "claims passes"))
	default:
		step.Mark, step.Summary = OK, fmt.Sprintf("%d of %s the checks", sound, count(n, "claim passes", "claims pass"))
	}
	return step
}

// rival returns the reason for which a sound claim is among the rivals; "" if it is not.
func (e *explaining) rival(c *Claim) string {
	for _, eh := range []*v1alpha1.ExposedHost{e.control.ExposedHost, e.control.Over} {
		if eh == nil || eh.Spec.Host != c.Host {
			continue
		}
		for _, r := range eh.Status.Rivals {
			if r.SourceRef == c.SourceRef {
				return r.Reason
			}
		}
	}
	return ""
}

// decided returns the ExposedHost that decides about the host: its own, or that of the
// wildcard over it, which may except it.
func (e *explaining) decided() *v1alpha1.ExposedHost {
	if e.control.ExposedHost != nil {
		return e.control.ExposedHost
	}
	return e.control.Over
}

// excepted reports whether the wildcard over the host excepts it.
func (e *explaining) excepted() bool {
	label, _, _ := strings.Cut(e.host, ".")
	return e.control.ExposedHost == nil && e.control.Over != nil && slices.Contains(e.control.Over.Spec.Except, label)
}

func (e *explaining) exposedHost() Step {
	step, without := e.withoutControl(StepExposedHost)
	if without {
		return step
	}
	step = Step{Name: StepExposedHost, Mark: Failed}
	eh := e.decided()
	if eh == nil {
		step.Summary = "there is no ExposedHost for it, and no wildcard over it"
		return step
	}
	what := "ExposedHost " + eh.Name
	if e.control.ExposedHost == nil {
		what = "the wildcard " + what
	}
	accepted, ready := condition(eh, v1alpha1.ConditionAccepted), condition(eh, v1alpha1.ConditionReady)
	switch {
	case e.excepted():
		step.Summary = what + " excepts it"
	case accepted == nil:
		step.Mark, step.Summary = Unknown, what+" is not decided yet"
	case accepted.Status != metav1.ConditionTrue:
		step.Summary = what + " is refused: " + accepted.Reason
	case ready == nil || ready.Status != metav1.ConditionTrue:
		step.Summary = what + " is accepted and not ready"
		if ready != nil {
			step.Summary += ": " + ready.Reason
		}
	default:
		step.Mark, step.Summary = OK, what+" is accepted and ready"
		if eh.Spec.Holder != "" {
			step.Summary += ", held by cluster " + eh.Spec.Holder
		}
	}
	for _, c := range []*metav1.Condition{accepted, ready} {
		if c != nil {
			step.Details = append(step.Details, Detail{Mark: markOf(c.Status), Of: c.Type + ": " + c.Reason, Text: c.Message})
		}
	}
	if by := eh.Status.RequestedBy; by != nil {
		text := "asked for it first"
		if by.Manager != "" {
			text += "; annotated by " + message.Quote(by.Manager)
		}
		step.Details = append(step.Details, Detail{Mark: Note, Of: about(by.SourceRef), Text: text})
	}
	return step
}

func (e *explaining) route() Step {
	step := Step{Name: StepRoute, Mark: Unknown, Summary: "no process with a proxy has answered"}
	if len(e.proxies) == 0 {
		return step
	}
	serving, unready := 0, 0
	for i, p := range e.proxies {
		d := Detail{Mark: OK, Of: cmp.Or(p.Process, fmt.Sprintf("process %d", i+1))}
		switch {
		case p.serves():
			serving++
			d.Text = p.Route.text(e.host)
		case p.NotReady != "":
			unready++
			d.Mark, d.Text = Unknown, "does not serve yet: "+p.NotReady
		case p.Route == nil:
			d.Mark, d.Text = Failed, "has no route, and refuses the name"
		case p.Route.Refusal != "":
			d.Mark, d.Text = Failed, "refuses the name: "+p.Route.Refusal
		default:
			d.Mark, d.Text = Failed, "has a route without backends, and refuses the name"
		}
		step.Details = append(step.Details, d)
	}
	n := len(e.proxies)
	switch {
	case serving == n:
		step.Mark, step.Summary = OK, count(n, "proxy has", "proxies have")+" a route"
	case serving > 0:
		step.Mark, step.Summary = Failed, fmt.Sprintf("%d of %s a route", serving, count(n, "proxy has", "proxies have"))
	case unready == n:
		step.Summary = "no proxy serves yet"
	default:
		step.Mark, step.Summary = Failed, "the proxy refuses the name"
		if n > 1 {
			step.Summary = fmt.Sprintf("all %d proxies refuse the name", n)
		}
	}
	return step
}

// serves reports whether a process forwards connections to the host.
func (p *Proxy) serves() bool {
	return p.Route != nil && p.Route.Refusal == "" && p.Route.Backends > 0
}

// text describes a route that is served.
func (r *Route) text(host string) string {
	text := "forwards it"
	if r.Host != host {
		text += " by the wildcard " + r.Host
	}
	switch {
	case r.PlainOnly:
		text += ", on plain HTTP only"
	case !slices.Equal(r.Ports, []string{v1alpha1.PortHTTPS}):
		text += ", on " + strings.Join(r.Ports, ", ")
	}
	if r.Everyone {
		text += ", for everyone"
	} else {
		text += ", for clients in " + cmp.Or(strings.Join(r.AllowFrom, ", "), "no network")
	}
	if r.By != "" {
		text += "; published by " + r.By
	}
	return text
}

func (e *explaining) backends() Step {
	step := Step{Name: StepBackends, Mark: Skipped, Summary: "there is no route, so that no backend was tried"}
	if len(e.proxies) == 0 {
		step.Mark, step.Summary = Unknown, "no process with a proxy has answered"
		return step
	}
	accepting, total := 0, 0
	for _, p := range e.proxies {
		for i := range p.Dials {
			dial := &p.Dials[i]
			d := Detail{Mark: OK, Of: dial.Address, Text: fmt.Sprintf("accepts a connection, in %d ms", dial.Milliseconds)}
			if dial.Cluster != "" {
				d.Of += " of cluster " + dial.Cluster
			}
			if dial.To != "" {
				d.Text += ", at " + dial.To
			}
			if total++; dial.Error == "" {
				accepting++
			} else {
				d.Mark, d.Text = Failed, dial.Error
			}
			if len(e.proxies) > 1 && p.Process != "" {
				d.Text += ", from " + p.Process
			}
			step.Details = append(step.Details, d)
		}
		step.More += p.MoreDials
	}
	switch {
	case total == 0:
	case accepting == total:
		step.Mark, step.Summary = OK, "all addresses of the backends accept connections"
	case accepting > 0:
		step.Mark, step.Summary = Failed, fmt.Sprintf("%d of %d addresses of the backends accept connections", accepting, total)
	default:
		step.Mark, step.Summary = Failed, "no address of the backends accepts a connection"
	}
	return step
}

func (e *explaining) isolation() Step {
	step, without := e.withoutControl(StepIsolation)
	if without {
		return step
	}
	step = Step{Name: StepIsolation, Mark: Skipped, Summary: "no cluster that serves it has spec.isolation"}
	for _, name := range e.clusters() {
		m := e.member(name)
		if m == nil || !m.Isolation {
			continue
		}
		d := Detail{Mark: Unknown, Of: "cluster " + name, Text: "not checked yet"}
		if is := meta.FindStatusCondition(m.Conditions, v1alpha1.ConditionIsolated); is != nil {
			d.Mark, d.Text = markOf(is.Status), is.Reason+": "+is.Message
		}
		step.Details = append(step.Details, d)
		if step.Mark == Skipped || d.Mark == Failed || d.Mark == Unknown && step.Mark == OK {
			step.Mark = d.Mark
		}
	}
	switch step.Mark {
	case OK:
		step.Summary = "clients of the host reach no object without the annotation"
	case Failed:
		step.Summary = "clients of published hosts reach objects without the annotation"
	case Unknown:
		step.Summary = "it is not known whether the published objects are isolated"
	}
	return step
}

// clusters returns the clusters that serve the host, or that would.
func (e *explaining) clusters() []string {
	var names []string
	if eh := e.decided(); eh != nil {
		for _, b := range eh.Spec.Backends {
			names = append(names, b.Cluster)
		}
	}
	for i := range e.control.Claims {
		names = append(names, e.control.Claims[i].Cluster)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

func (e *explaining) member(name string) *Member {
	for i := range e.control.Members {
		if e.control.Members[i].Name == name {
			return &e.control.Members[i]
		}
	}
	return nil
}

func (e *explaining) dns() Step {
	step, without := e.withoutControl(StepDNS)
	if without {
		return step
	}
	step = Step{Name: StepDNS, Mark: Skipped, Summary: "usher wants no DNS record for it"}
	eh := e.decided()
	if eh == nil || len(eh.Status.DNS) == 0 && condition(eh, v1alpha1.ConditionDNSReady) == nil {
		return step
	}
	for _, r := range eh.Status.DNS {
		text := fmt.Sprintf("%s %s", r.Type, strings.Join(r.Targets, ", "))
		if r.TTL > 0 {
			text += fmt.Sprintf(", TTL %d s", r.TTL)
		}
		step.Details = append(step.Details, Detail{Mark: Note, Of: string(r.View), Text: text})
	}
	switch is := condition(eh, v1alpha1.ConditionDNSReady); {
	case is == nil:
		step.Mark, step.Summary = Unknown, "nothing is known of the DNS records"
	case is.Reason == reason.DNSPublished:
		step.Mark, step.Summary = OK, reason.DNSPublished+": "+is.Message+"; whether the world sees the records is not checked, without --dns-resolver"
	default:
		step.Mark, step.Summary = markOf(is.Status), is.Reason+": "+is.Message
	}
	return step
}

func (e *explaining) knocks() Step {
	step := Step{Name: StepKnocks, Mark: Note, Summary: "no client was refused this name lately"}
	if len(e.proxies) == 0 {
		step.Mark, step.Summary = Unknown, "no process with a proxy has answered"
	}
	var all uint64
	for i, p := range e.proxies {
		if p.Knock == nil {
			continue
		}
		k := p.Knock
		all += k.Count
		step.Details = append(step.Details, Detail{Mark: Note, Of: cmp.Or(p.Process, fmt.Sprintf("process %d", i+1)),
			Text: fmt.Sprintf("refused %d times from %s to %s, last for %s, to clients in %s", k.Count, moment(k.First), moment(k.Last), k.Reason, strings.Join(k.Networks, ", "))})
	}
	if all > 0 {
		step.Summary = fmt.Sprintf("clients were refused this name %s", count(int(min(all, 1<<31)), "time", "times"))
	}
	return step
}
