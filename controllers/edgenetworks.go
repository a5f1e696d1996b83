package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// network is a range of addresses of the edge cluster.
type network struct {
	prefix netip.Prefix
	what   string // such as "the edge cluster's Service range 10.43.0.0/16"
}

// edgeNetworks has the edge cluster's Service and Pod ranges, as far as its API server
// reports them. They are requested when they are needed and older than recheckEvery, so
// that no Nodes of the edge are kept in the cache.
type edgeNetworks struct {
	reader client.Reader // of the API server itself

	mu      sync.Mutex
	queried time.Time
	found   []network
}

// listTimeout is the timeout of these requests.
const listTimeout = 5 * time.Second

// Kubernetes has ServiceCIDRs since 1.33. An older API server does not report its
// Service range. The podCIDRs of a Node are the addresses of its Pods if the network
// plugin uses the ranges that Kubernetes allocates.
//
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=list
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list

// known returns the ranges. It leaves out a range that cannot be requested, and logs if a
// permission is missing.
func (e *edgeNetworks) known(ctx context.Context) ([]network, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Since(e.queried) < recheckEvery {
		return e.found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	var services networkingv1.ServiceCIDRList
	var nodes corev1.NodeList
	for _, list := range []client.ObjectList{&services, &nodes} {
		if err := e.list(ctx, list); err != nil {
			return nil, err
		}
	}
	e.queried, e.found = time.Now(), nil
	for _, s := range services.Items {
		e.add("Service", s.Spec.CIDRs)
	}
	for _, n := range nodes.Items {
		e.add("Pod", n.Spec.PodCIDRs)
	}
	return e.found, nil
}

func (e *edgeNetworks) list(ctx context.Context, list client.ObjectList) error {
	err := e.reader.List(ctx, list)
	switch {
	case err == nil, apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return nil
	case apierrors.IsForbidden(err):
		log.FromContext(ctx).Error(err, "Cannot tell which addresses are the edge cluster's own; upgrade usher's roles")
		return nil
	}
	return fmt.Errorf("list the edge cluster's networks: %w", err)
}

func (e *edgeNetworks) add(of string, cidrs []string) {
	for _, cidr := range cidrs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			e.found = append(e.found, network{prefix.Masked(), fmt.Sprintf("the edge cluster's %s range %s", of, prefix.Masked())})
		}
	}
}
