package statuspage

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// The states of a host.
const (
	exposed  = "exposed"
	notReady = "notready" // accepted, and nobody serves it
	refused  = "refused"
)

// states has all states, in the order of the page.
var states = []string{exposed, notReady, refused}

// row is a host of the list.
type row struct {
	host     string
	clusters []string // the clusters that serve it, or its holder
	cluster  string   // the same as one text
	source   string   // the first object that publishes it
	more     int      // further sources
	state    string
	reason   string // of a host that is not exposed
	message  string
	rival    string    // a cluster that requests the host and does not get it
	rivalFor string    // the reason of that
	since    time.Time // when the state began; zero: not known
	text     string    // what a search looks at, in lower case

	reached  *routing.Reached // nil without a proxy, or until the route is there
	open     int64
	up, down meter
}

// meter is the rate of a counter.
type meter struct {
	last uint64
	rate float64 // bytes a second; -1: not known
}

// sample updates the rate. seconds is the time since the last sample; 0: there is none.
func (m *meter) sample(now uint64, seconds float64) {
	switch {
	case seconds == 0:
		m.rate = -1
	case now < m.last: // the counters of another route
		m.rate = 0
	default:
		m.rate = float64(now-m.last) / seconds
	}
	m.last = now
}

// sample reads the counters of the row.
func (r *row) sample(seconds float64) {
	if r.reached == nil {
		r.up.rate, r.down.rate = -1, -1
		return
	}
	traffic := r.reached.Traffic
	r.open = traffic.Open.Load()
	r.up.sample(traffic.Up.Load(), seconds)
	r.down.sample(traffic.Down.Load(), seconds)
}

// rowOf returns the row of an ExposedHost.
func rowOf(eh *v1alpha1.ExposedHost) *row {
	r := &row{host: eh.Spec.Host, clusters: clustersOf(eh), more: max(0, int(eh.Status.SourcesTotal)-1)}
	if len(eh.Status.Sources) > 0 {
		r.source = sourceName(&eh.Status.Sources[0])
	} else if eh.Labels[v1alpha1.LabelManaged] != "true" {
		r.source = "ExposedHost, written by hand"
	}
	r.state, r.reason, r.message, r.since = stateOf(eh)
	if rivals := eh.Status.Rivals; len(rivals) > 0 && r.state != refused {
		r.rival, r.rivalFor = message.Bound(rivals[0].Cluster), rivals[0].Reason
	}
	return r
}

func sourceName(s *v1alpha1.SourceRef) string {
	return message.Bound(s.Kind + " " + s.Namespace + "/" + s.Name)
}

// clustersOf returns the clusters that serve a host, and the addresses outside of them; of a
// host without a backend its holder, or the clusters of its sources.
func clustersOf(eh *v1alpha1.ExposedHost) []string {
	var names []string
	for i := range eh.Spec.Backends {
		b := &eh.Spec.Backends[i]
		name := b.Cluster
		if name == "" {
			name = b.Address
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && eh.Spec.Holder != "" {
		names = append(names, eh.Spec.Holder)
	}
	if len(names) == 0 && len(eh.Status.Sources) > 0 {
		names = append(names, eh.Status.Sources[0].Cluster)
	}
	if len(names) == 0 && len(eh.Status.Rivals) > 0 {
		names = append(names, eh.Status.Rivals[0].Cluster)
	}
	return names
}

// stateOf returns the state of a host, why it is not exposed, and since when.
func stateOf(eh *v1alpha1.ExposedHost) (state, why, text string, since time.Time) {
	accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case accepted == nil:
		return notReady, reason.NotDecided, "usher has not decided about the host yet.", eh.CreationTimestamp.Time
	case accepted.Status != metav1.ConditionTrue:
		return refused, accepted.Reason, accepted.Message, accepted.LastTransitionTime.Time
	case ready == nil || ready.Status != metav1.ConditionTrue:
		if ready == nil {
			ready = accepted
		}
		return notReady, ready.Reason, ready.Message, ready.LastTransitionTime.Time
	}
	return exposed, "", "", accepted.LastTransitionTime.Time
}

// rowOfRoute returns the row of a route, if its object is not known to this process.
func rowOfRoute(route *routing.Route) *row {
	r := &row{host: route.Host, state: exposed}
	if route.Refusal != "" {
		r.state, r.reason = refused, route.Refusal
	}
	for i := range route.Backends {
		names := []string{route.Backends[i].Cluster}
		if names[0] == "" {
			names = route.Backends[i].Addresses
		}
		for _, name := range names {
			if !slices.Contains(r.clusters, name) {
				r.clusters = append(r.clusters, name)
			}
		}
	}
	if s := route.Source; s != nil {
		r.source = sourceName(&v1alpha1.SourceRef{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name})
		if s.Namespace == "" {
			r.source = message.Bound(s.Kind + " " + s.Name)
		}
	}
	return r
}

// finish sets what follows from the other fields.
func (r *row) finish(table *routing.Table) {
	r.cluster = strings.Join(r.clusters, ", ")
	r.text = r.host + "\n" + strings.ToLower(strings.Join([]string{r.cluster, r.source, r.reason, r.rival, r.rivalFor}, "\n"))
	if route := table.Own(r.host); route != nil {
		r.reached = route.Reached
	}
}

// advice is what to do about a reason: name → advice. A name that stands in several tables
// of the reasons has the advice of the first.
var advice = func() map[string]string {
	all := map[string]string{}
	for _, table := range reason.Tables() {
		for _, r := range table.Reasons {
			if all[r.Name] == "" {
				all[r.Name] = r.Advice
			}
		}
	}
	return all
}()

// memberAdvice is what to do about the reason of a MemberCluster's condition.
var memberAdvice = func() map[string]string {
	all := map[string]string{}
	for _, table := range reason.Tables() {
		if table.Heading == "MemberClusters" {
			for _, r := range table.Reasons {
				all[r.Name] = r.Advice
			}
		}
	}
	return all
}()

// member is a member cluster.
type member struct {
	Name     string
	State    string // exposed, notReady or refused: in sync, not everything is well, not in sync
	Label    string
	Reason   string
	Message  string
	Advice   string
	Synced   time.Time // when it last became in sync; zero: never
	InSync   bool
	Hosts    int32
	Ingress  string
	Versions string
	Refusals []refusal

	Open     int64
	up, down meter
}

// refusal is a source that names no host.
type refusal struct{ Source, Reason, Message, Advice string }

// memberOf returns what the page says of a MemberCluster.
func memberOf(mc *v1alpha1.MemberCluster) *member {
	m := &member{Name: mc.Name, State: exposed, Label: "in sync", Hosts: mc.Status.Hosts}
	if mc.Status.LastSyncTime != nil {
		m.Synced = mc.Status.LastSyncTime.Time
	}
	if ingress := mc.Status.Ingress; ingress != nil {
		if m.Ingress = ingress.Summary; m.Ingress == "" && len(ingress.Addresses) > 0 {
			m.Ingress = net.JoinHostPort(ingress.Addresses[0], strconv.Itoa(int(ingress.HTTPSPort)))
		}
	}
	if version := mc.Status.KubernetesVersion; version != "" {
		m.Versions = "Kubernetes " + version
	}
	if traefik := mc.Status.Traefik; traefik != nil && traefik.Version != "" {
		m.Versions = strings.TrimPrefix(m.Versions+", Traefik "+traefik.Version, ", ")
	}
	m.Versions = message.Bound(m.Versions)
	m.InSync = meta.IsStatusConditionTrue(mc.Status.Conditions, v1alpha1.ConditionSynced)
	m.check(mc.Status.Conditions)
	for i := range mc.Status.Refusals {
		r := &mc.Status.Refusals[i]
		m.Refusals = append(m.Refusals, refusal{sourceName(&v1alpha1.SourceRef{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}), r.Reason, r.Message, advice[r.Reason]})
	}
	return m
}

// check sets the state by the first condition that is not as it should be.
func (m *member) check(conditions []metav1.Condition) {
	for _, check := range []struct{ condition, state, label string }{
		{v1alpha1.ConditionConnected, refused, "not connected"},
		{v1alpha1.ConditionSynced, refused, "not in sync"},
		{v1alpha1.ConditionReady, notReady, "not ready"},
		{v1alpha1.ConditionHealthy, notReady, "unhealthy"},
		{v1alpha1.ConditionIsolated, notReady, "not isolated"},
		{v1alpha1.ConditionCredentialsValid, notReady, "credentials end"},
	} {
		c := meta.FindStatusCondition(conditions, check.condition)
		if c != nil && c.Status != metav1.ConditionTrue || c == nil && check.condition == v1alpha1.ConditionConnected {
			m.State, m.Label = check.state, check.label
			if c != nil {
				m.Reason, m.Message, m.Advice = c.Reason, c.Message, memberAdvice[c.Reason]
			}
			return
		}
	}
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionDraining); c != nil && c.Status == metav1.ConditionTrue {
		m.State, m.Label, m.Reason, m.Message = notReady, "draining", c.Reason, c.Message
	}
}
