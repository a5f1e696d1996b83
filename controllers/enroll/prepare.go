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

// An enrolment is the plan for a member. It is complete before anything is written.
type enrolment struct {
	Options
	edge, member *Cluster
	id           identity
	isEdge       bool                         // the member is the edge cluster itself
	server       string                       // of the stored kubeconfig
	service      types.NamespacedName         // that usher will read; zero for none
	reader       []*unstructured.Unstructured // the objects to write in the member
	cluster      *unstructured.Unstructured   // the MemberCluster
}

// prepare reads both clusters, and returns an error if an object to write belongs to somebody else.
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
	e.isEdge = uid == e.id.edge
	spec, err := e.spec(ctx)
	if err != nil {
		return nil, err
	}
	if e.service, err = member.serviceToRead(ctx, spec.Ingress); err != nil {
		return nil, err
	}
	e.reader, e.cluster = readerManifests(e.id, e.service), memberCluster(e.id, spec)
	return e, e.checkConflicts(ctx)
}

func identify(ctx context.Context, edge *Cluster, name string) (identity, error) {
	uid, err := edge.uid(ctx)
	return identity{name: name, edge: uid}, err
}

// spec returns the spec of the MemberCluster: the existing one with the changes of the options.
func (e *enrolment) spec(ctx context.Context) (v1alpha1.MemberClusterSpec, error) {
	var have v1alpha1.MemberCluster
	err := e.edge.client.Get(ctx, client.ObjectKey{Name: e.Name}, &have)
	switch {
	case meta.IsNoMatchError(err):
		return have.Spec, e.edge.failed("read MemberCluster "+e.Name, fmt.Errorf("the cluster lacks the CRDs of usher; install usher first: %w", err))
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

// findIngress makes usher follow the Service of the options. If there is none, it
// searches for Traefik's Service and pins its addresses.
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
	e.report("Traefik's address is %s, from the load balancer of Service %s/%s", strings.Join(addresses, ", "), found.Service.Namespace, found.Service.Name)
	if e.Service.Name == "" {
		return e.pin(ctx, ingress, addresses)
	}
	e.report("usher follows that Service: anyone who may change it can direct usher to any address that is not refused; --address pins one")
	return nil
}

// pin sets found addresses in the spec, so that only a person can change them later. It
// refuses addresses that usher would refuse if the member's Service had them.
func (e *enrolment) pin(ctx context.Context, ingress *v1alpha1.IngressEndpoint, addresses []string) error {
	members, err := e.edge.members(ctx)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if why := whyNotPinned(e.Name, address, members); why != "" {
			return e.member.failed("find Traefik", fmt.Errorf("its Service has %q, which is %s: %w", address, why, ErrNoIngress))
		}
	}
	ingress.Addresses = addresses
	e.report("pinned as spec.ingress.addresses: if the address changes, set it with --address; --service %s/%s follows the Service instead", ingress.Service.Namespace, ingress.Service.Name)
	return nil
}

// whyNotPinned returns why a found address cannot be the member's own, as the end of
// "which is …"; "" if it can.
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

// checkConflicts checks each object that will be written.
func (e *enrolment) checkConflicts(ctx context.Context) error {
	for _, want := range e.reader {
		if err := e.member.checkConflict(ctx, want); err != nil {
			return err
		}
	}
	for _, want := range []*unstructured.Unstructured{kubeconfigSecret(e.id, e.Namespace, nil), e.cluster} {
		if err := e.edge.checkConflict(ctx, want); err != nil {
			return err
		}
	}
	var namespace corev1.Namespace
	err := e.edge.client.Get(ctx, client.ObjectKey{Name: e.Namespace}, &namespace)
	if apierrors.IsNotFound(err) {
		return e.edge.failed("read Namespace "+e.Namespace, fmt.Errorf("install usher first, or set its namespace with --namespace: %w", err))
	}
	if err != nil {
		return e.edge.failed("read Namespace "+e.Namespace, err)
	}
	return nil
}

// loopbackAdvice explains why a loopback address of the server is wrong, and what to use instead.
func (e *enrolment) loopbackAdvice() string {
	better := "the address that the edge reaches it by"
	if e.isEdge {
		better = "https://kubernetes.default.svc, which its own pods use"
	}
	return fmt.Sprintf("the member's API server is %s, a loopback address, which another machine cannot reach; set --server to %s", e.server, better)
}
