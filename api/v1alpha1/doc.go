// Package v1alpha1 holds usher's API: the kinds MemberCluster, ExposedHost and
// NetworkList, all cluster-scoped, the annotations with which a source requests to be
// published, and the names of ExposedHosts. It holds data only: controllers/
// interprets the values, and nothing here may import it.
//
// +kubebuilder:object:generate=true
// +groupName=usher.techn.is
package v1alpha1
