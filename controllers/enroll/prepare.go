package enroll

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

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
	isNew        bool                         // there is no MemberCluster yet
	spec         v1alpha1.MemberClusterSpec   // of the MemberCluster as it is
	server       string                       // of the stored kubeconfig
	traefiks     []*traefikService            // of the member; empty if nothing depends on them
	traefik      *traefikService              // the one that usher connects to; nil if the ingress is kept, or not known
	service      types.NamespacedName         // that usher will read; zero for none
	reader       []*unstructured.Unstructured // the objects to write in the member
	cluster      *unstructured.Unstructured   // the MemberCluster
}

// survey reads both clusters, and asks the person which Traefik usher connects to if that
// is not clear.
func survey(ctx context.Context, edge, member *Cluster, o Options) (*enrolment, error) {
	e := &enrolment{Options: o, edge: edge, member: member, server: o.Server}
	if e.server == "" {
		e.server = member.config.Host
		if err := checkServer(e.server); err != nil {
			return nil, member.failed("use its server", fmt.Errorf("%s %w; set it with --server", e.server, err))
		}
	}
	if err := o.bound(ctx, e.read); err != nil {
		return nil, err
	}
	return e, e.chooseTraefik()
}

// read reads what is there before anything is planned.
func (e *enrolment) read(ctx context.Context) error {
	var err error
	if e.id, err = identify(ctx, e.edge, e.Name); err != nil {
		return err
	}
	uid, err := e.member.uid(ctx)
	if err != nil {
		return err
	}
	e.isEdge = uid == e.id.edge
	if err := e.readSpec(ctx); err != nil {
		return err
	}
	return e.findTraefiks(ctx)
}

// prepare plans what to write, and returns an error if an object to write belongs to
// somebody else.
func (e *enrolment) prepare(ctx context.Context) error {
	spec := e.spec
	if e.traefik != nil {
		if err := e.setTraefik(ctx, &spec.Ingress); err != nil {
			return err
		}
	} else if len(e.Addresses) > 0 {
		spec.Ingress.Addresses = e.Addresses
	}
	var err error
	if e.service, err = e.member.serviceToRead(ctx, spec.Ingress); err != nil {
		return err
	}
	e.reader, e.cluster = readerManifests(e.id, e.service), memberCluster(e.id, spec)
	return e.checkConflicts(ctx)
}

func identify(ctx context.Context, edge *Cluster, name string) (identity, error) {
	uid, err := edge.uid(ctx)
	return identity{name: name, edge: uid}, err
}

// readSpec reads the spec of the MemberCluster, which is empty for a new member.
func (e *enrolment) readSpec(ctx context.Context) error {
	var have v1alpha1.MemberCluster
	err := e.edge.client.Get(ctx, client.ObjectKey{Name: e.Name}, &have)
	switch {
	case meta.IsNoMatchError(err):
		return e.edge.failed("read MemberCluster "+e.Name, fmt.Errorf("the cluster lacks the CRDs of usher; install usher first: %w", err))
	case client.IgnoreNotFound(err) != nil:
		return e.edge.failed("read MemberCluster "+e.Name, err)
	}
	e.spec, e.isNew = have.Spec, err != nil
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
