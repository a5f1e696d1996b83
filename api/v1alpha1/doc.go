// Package v1alpha1 holds usher's API: the kinds MemberCluster and ExposedHost,
// both cluster-scoped, and the names of the annotations by which a source asks
// to be published, and the name of a host's object. It holds data only: what a
// value means is decided in controllers/, and nothing here may import it.
//
// +kubebuilder:object:generate=true
// +groupName=usher.techn.is
package v1alpha1
