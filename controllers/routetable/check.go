package routetable

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Check reports, by the index of the host, each field that keeps an accepted host
// out of the table, and each backend that names a cluster without an address or no
// cluster at all. Where an API server feeds the table such a cluster may still come,
// so Build only leaves the backend out. Files have no such later moment.
func Check(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster, report func(host int, mistake *field.Error)) {
	named := byName(clusters)
	for i := range hosts {
		if !meta.IsStatusConditionTrue(hosts[i].Status.Conditions, v1alpha1.ConditionAccepted) {
			continue
		}
		if _, err := routeOf(&hosts[i], named); err != nil {
			report(i, err)
		}
		for at, backend := range hosts[i].Spec.Backends {
			if err := checkCluster(backend.Cluster, named); err != nil {
				err.Field = specPath.Child("backends").Index(at).Child("cluster").String()
				report(i, err)
			}
		}
	}
}

// checkCluster returns what is wrong with a backend's cluster, if it has one.
func checkCluster(name string, clusters map[string]*v1alpha1.MemberCluster) *field.Error {
	cluster := clusters[name]
	switch {
	case name == "":
		return nil
	case cluster == nil:
		return &field.Error{Type: field.ErrorTypeInvalid, BadValue: name, Detail: fmt.Sprintf("there is no MemberCluster %s, or its file is refused: add it, or correct the name", name)}
	case len(Ingress(cluster).Addresses) == 0:
		return &field.Error{Type: field.ErrorTypeInvalid, BadValue: name, Detail: fmt.Sprintf("MemberCluster %s has no address: give it spec.ingress.addresses", name)}
	}
	return nil
}
