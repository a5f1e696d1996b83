package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// A HostFacts function returns what the control plane of this process knows of a host in
// canonical form; nil unless this process leads.
type HostFacts func(ctx context.Context, host string) (*explain.Control, error)

// Explaining makes known why hosts are exposed or not. Facts is called at each setup with a
// function that any goroutine may call.
func Explaining(facts func(HostFacts)) Option {
	return func(c *controlPlane) { c.explaining = facts }
}

// explainer tells what the control plane knows of a host. It reads caches, and asks no
// member.
type explainer struct {
	hosts ExposedHostReconciler
}

func newExplainer(reader client.Client, members *member.Set) *explainer {
	return &explainer{ExposedHostReconciler{Client: reader, Members: members}}
}

// facts is a HostFacts.
func (e *explainer) facts(ctx context.Context, host string) (*explain.Control, error) {
	members := e.hosts.Members
	if !members.Leads() {
		return nil, nil
	}
	is, err := FactsOfObjects(ctx, e.hosts.Client, host)
	if err != nil {
		return nil, err
	}
	is.Leads = true
	for i := range is.Members {
		addState(&is.Members[i], members)
		named, more := members.Naming(is.Members[i].Name, host, explain.MaxObjects)
		is.MoreObjects += more
		for j := range named {
			is.Objects = append(is.Objects, objectOf(&named[j]))
		}
	}
	clusters, err := listClusters(ctx, e.hosts.Client)
	if err != nil {
		return nil, err
	}
	e.addClaims(is, host, is.ExposedHost, clusters)
	if over := v1alpha1.WildcardOver(host); over != "" {
		e.addClaims(is, over, is.Over, clusters)
	}
	return is, nil
}

// addClaims adds the claims on a host with their checks.
func (e *explainer) addClaims(to *explain.Control, host string, current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) {
	input, policy := e.hosts.input(host, current, clusters)
	for _, checked := range admission.Checks(input, policy) {
		if len(to.Claims) == explain.MaxClaims {
			to.MoreClaims++
			continue
		}
		claim := explain.Claim{SourceRef: checked.Claim.Source, Host: host, Created: checked.Claim.Created}
		for _, result := range checked.Results {
			claim.Checks = append(claim.Checks, explain.Check{Asks: result.Asks, Refusal: refusalOf(result.Refusal)})
		}
		to.Claims = append(to.Claims, claim)
	}
}

// addState adds what the connection to a member knows and its MemberCluster does not say yet.
func addState(to *explain.Member, members *member.Set) {
	state, known := members.State(to.Name)
	if !known {
		return
	}
	to.Read = !state.SyncedAt.IsZero()
	if to.Read {
		to.SyncedAt = &state.SyncedAt
	}
	if state.Service != (types.NamespacedName{}) {
		to.Service = state.Service.String()
	}
	to.Conditions = slices.DeleteFunc(to.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionConnected || c.Type == v1alpha1.ConditionSynced
	})
	for kind, is := range map[string]member.Condition{v1alpha1.ConditionConnected: state.Connected, v1alpha1.ConditionSynced: state.Synced} {
		c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: is.Reason, Message: is.Message}
		if is.True {
			c.Status = metav1.ConditionTrue
		}
		if is.Reason != "" { // it was asked
			to.Conditions = append(to.Conditions, c)
		}
	}
}

func objectOf(n *member.Naming) explain.Object {
	o := explain.Object{SourceRef: n.Source, Group: n.Group, Names: n.Names, Rule: n.Rule, Expose: message.Bound(n.Expose), Publishes: n.Publishes, Refusal: refusalOf(n.Refusal)}
	if n.Through != (types.NamespacedName{}) {
		o.Through = n.Through.String()
	}
	return o
}

func refusalOf(r *source.Refusal) *explain.Refusal {
	if r == nil {
		return nil
	}
	return &explain.Refusal{Reason: r.Reason, Message: r.Message}
}

// FactsOfObjects returns what the objects of the edge cluster say about a host. The reader
// may be a cache.
func FactsOfObjects(ctx context.Context, reader client.Reader, host string) (*explain.Control, error) {
	is := &explain.Control{}
	all, err := allClusters(ctx, reader)
	if err != nil {
		return nil, err
	}
	for i := range all {
		mc := &all[i]
		m := explain.Member{Name: mc.Name, Edge: mc.Spec.Kubeconfig == nil && mc.Spec.Traefik == nil, Conditions: slices.Clone(mc.Status.Conditions), Isolation: mc.Spec.Isolation != nil}
		if at := mc.Status.LastSyncTime; at != nil {
			m.Read, m.SyncedAt = true, &at.Time
		}
		is.Members = append(is.Members, m)
	}
	slices.SortFunc(is.Members, func(a, b explain.Member) int { return strings.Compare(a.Name, b.Name) })
	if is.ExposedHost, err = exposedHostOf(ctx, reader, host); err != nil {
		return nil, err
	}
	if over := v1alpha1.WildcardOver(host); over != "" {
		is.Over, err = exposedHostOf(ctx, reader, over)
	}
	return is, err
}

// exposedHostOf returns the ExposedHost of a host without its managed fields; nil if there
// is none.
func exposedHostOf(ctx context.Context, reader client.Reader, host string) (*v1alpha1.ExposedHost, error) {
	var eh v1alpha1.ExposedHost
	name := v1alpha1.NameOfHost(host)
	if err := reader.Get(ctx, client.ObjectKey{Name: name}, &eh); err != nil {
		if err = client.IgnoreNotFound(err); err != nil {
			err = fmt.Errorf("get ExposedHost %s: %w", name, err)
		}
		return nil, err
	}
	eh.ManagedFields = nil
	return &eh, nil
}
