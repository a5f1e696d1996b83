package routetable

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
)

// Check reports each invalid field of an accepted host, with the index of the host. It
// also reports each backend whose cluster does not exist or has no address, each port that
// no backend has, each NetworkList that does not exist, and an allowFrom without any client. Build only omits
// such a backend and port, and refuses such a host, since with an API server the cluster,
// its port or the list may still appear. Manifests are read all at once, so what is missing is a mistake.
func Check(all Objects, report func(host int, mistake *field.Error)) {
	named := byName(all.Clusters)
	lists, _ := allowfrom.Read(all.Networks) // its errors are those of other objects
	hosts := all.Hosts
	for i := range hosts {
		if !meta.IsStatusConditionTrue(hosts[i].Status.Conditions, v1alpha1.ConditionAccepted) {
			continue
		}
		if _, err := routeOf(&hosts[i], named, lists); err != nil {
			report(i, err)
		}
		if allowfrom.Nobody(hosts[i].Spec.AllowFrom, lists) {
			report(i, field.Invalid(allowFromPath, strings.Join(hosts[i].Spec.AllowFrom, ", "), "the NetworkLists and networks that are joined by & have no client in common: correct them, or remove the host"))
		}
		for at, backend := range hosts[i].Spec.Backends {
			if err := checkCluster(backend, named); err != nil {
				err.Field = specPath.Child("backends").Index(at).Child("cluster").String()
				report(i, err)
			}
		}
		for _, name := range MissingPorts(hosts[i].Spec, named) {
			report(i, field.Invalid(specPath.Child("ports"), name, fmt.Sprintf("no backend has port %s: add it to spec.ingress.ports of the MemberCluster, or to ports of the address", name)))
		}
	}
}

// checkCluster checks the cluster of a backend, if it has one.
func checkCluster(backend v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) *field.Error {
	name := backend.Cluster
	cluster := clusters[name]
	switch {
	case name == "":
		return nil
	case cluster == nil:
		return &field.Error{Type: field.ErrorTypeInvalid, BadValue: name, Detail: fmt.Sprintf("there is no MemberCluster %s, or its file is refused: add it, or correct the name", name)}
	case backend.Gateway != "" && len(gatewayIngress(cluster, backend.Gateway).Addresses) == 0:
		return &field.Error{Type: field.ErrorTypeInvalid, BadValue: name, Detail: fmt.Sprintf("MemberCluster %s has no address of Gateway %s: set its spec.ingress.gateways, and list the Gateway in its status.gateways", name, backend.Gateway)}
	case backend.Gateway == "" && len(Ingress(cluster).Addresses) == 0:
		return &field.Error{Type: field.ErrorTypeInvalid, BadValue: name, Detail: fmt.Sprintf("MemberCluster %s has no address: set its spec.ingress.addresses", name)}
	}
	return nil
}
