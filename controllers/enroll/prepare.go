package enroll

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// An enrolment is what is to be made of a member, after all has been looked at and before
// anything has been written.
type enrolment struct {
	Options
	edge, member *Cluster
	id           identity
	atHome       bool                         // the member is the edge cluster itself
	server       string                       // of the stored kubeconfig
	service      types.NamespacedName         // that usher will follow; none where addresses are given
	reader       []*unstructured.Unstructured // to be made in the member
	cluster      *unstructured.Unstructured   // the MemberCluster
}

// prepare looks at both clusters, and finds what stands in the way.
func prepare(ctx context.Context, edge, member *Cluster, o Options) (*enrolment, error) {
	e := &enrolment{Options: o, edge: edge, member: member, server: o.Server}
	if e.server == "" {
		e.server = member.config.Host
		if err := checkServer(e.server); err != nil {
			return nil, member.failed("use the server "+e.server, err)
		}
	}
	var err error
	if e.id, err = identify(ctx, edge, o.Name); err != nil {
		return nil, err
	}
	uid, err := member.uid(ctx)
	if err != nil {
		return nil, err
	}
	e.atHome = uid == e.id.edge
	spec, err := e.spec(ctx)
	if err != nil {
		return nil, err
	}
	if len(spec.Ingress.Addresses) == 0 {
		e.service = types.NamespacedName(spec.Ingress.Service)
	}
	e.reader, e.cluster = readerManifests(e.id, e.service), memberCluster(e.id, spec)
	return e, e.checkClashes(ctx)
}

func identify(ctx context.Context, edge *Cluster, name string) (identity, error) {
	uid, err := edge.uid(ctx)
	return identity{name: name, edge: uid}, err
}

// spec is the MemberCluster's: as it is, but for what the options change.
func (e *enrolment) spec(ctx context.Context) (v1alpha1.MemberClusterSpec, error) {
	var have v1alpha1.MemberCluster
	err := e.edge.client.Get(ctx, client.ObjectKey{Name: e.Name}, &have)
	switch {
	case meta.IsNoMatchError(err):
		return have.Spec, e.edge.failed("read MemberCluster "+e.Name, fmt.Errorf("usher's kinds are not known there; install usher first: %w", err))
	case client.IgnoreNotFound(err) != nil:
		return have.Spec, e.edge.failed("read MemberCluster "+e.Name, err)
	}
	spec := have.Spec
	switch {
	case len(e.Addresses) > 0:
		spec.Ingress.Addresses = e.Addresses
		return spec, nil
	case e.Service.Name == "" && err == nil:
		return spec, nil
	}
	return spec, e.findIngress(ctx, &spec.Ingress)
}

// findIngress has usher follow the Service of the options, or go to the addresses
// of the one that is found.
func (e *enrolment) findIngress(ctx context.Context, ingress *v1alpha1.IngressEndpoint) error {
	find := e.member.findIngress
	if e.Service.Name != "" {
		find = func(ctx context.Context) (v1alpha1.IngressEndpoint, []string, error) {
			return e.member.ingressOfService(ctx, e.Service)
		}
	}
	found, addresses, err := find(ctx)
	if err != nil {
		return err
	}
	ingress.Addresses, ingress.Service, ingress.HTTPSPort, ingress.HTTPPort = nil, found.Service, found.HTTPSPort, found.HTTPPort
	e.say("Traefik answers at %s, the load balancer of Service %s/%s", strings.Join(addresses, ", "), found.Service.Namespace, found.Service.Name)
	if e.Service.Name == "" {
		return e.pin(ctx, ingress, addresses)
	}
	e.say("usher follows that Service: anyone who may change it can lead usher to any address that is not refused; --address pins one")
	return nil
}

// pin writes down addresses that were found, so that nobody but a person changes
// where the edge is led. It refuses those that usher would not take from the member.
func (e *enrolment) pin(ctx context.Context, ingress *v1alpha1.IngressEndpoint, addresses []string) error {
	members, err := e.edge.members(ctx)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if why := whyNotPinned(e.Name, address, members); why != "" {
			return e.member.failed("find Traefik", fmt.Errorf("its Service says %q, which is %s: %w", address, why, ErrNoIngress))
		}
	}
	ingress.Addresses = addresses
	e.say("pinned as spec.ingress.addresses: where it moves to later, tell with --address; --service %s/%s follows the Service instead", ingress.Service.Namespace, ingress.Service.Name)
	return nil
}

// whyNotPinned says, as the end of "which is …", why an address that was found for
// a member can not be its own; "" where it can.
func whyNotPinned(name, address string, members []v1alpha1.MemberCluster) string {
	addr, err := netip.ParseAddr(address)
	if err == nil && !routing.DialAllowed(addr) {
		return routing.AddressProblem(addr)
	}
	for i := range members {
		if members[i].Name != name && slices.Contains(routetable.Ingress(&members[i]).Addresses, address) {
			return "the address of MemberCluster " + members[i].Name
		}
	}
	return ""
}

// checkClashes looks at each place where something is to be made.
func (e *enrolment) checkClashes(ctx context.Context) error {
	for _, want := range e.reader {
		if err := e.member.checkClash(ctx, want); err != nil {
			return err
		}
	}
	for _, want := range []*unstructured.Unstructured{kubeconfigSecret(e.id, e.Namespace, nil), e.cluster} {
		if err := e.edge.checkClash(ctx, want); err != nil {
			return err
		}
	}
	var namespace corev1.Namespace
	err := e.edge.client.Get(ctx, client.ObjectKey{Name: e.Namespace}, &namespace)
	if apierrors.IsNotFound(err) {
		return e.edge.failed("read Namespace "+e.Namespace, fmt.Errorf("install usher first, or name its namespace with --namespace: %w", err))
	}
	if err != nil {
		return e.edge.failed("read Namespace "+e.Namespace, err)
	}
	return nil
}

// loopbackAdvice says what is wrong with a server that each machine takes for itself.
func (e *enrolment) loopbackAdvice() string {
	better := "the address by which the edge reaches it"
	if e.atHome {
		better = "https://kubernetes.default.svc, as its own pods do"
	}
	return fmt.Sprintf("the member's API server is %s, which leads each machine to itself; name with --server %s", e.server, better)
}
