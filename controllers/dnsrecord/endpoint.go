package dnsrecord

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Kind is external-dns's DNSEndpoint. The source "crd" of external-dns reads it.
var Kind = schema.GroupVersionKind{Group: "externaldns.k8s.io", Version: "v1alpha1", Kind: "DNSEndpoint"}

const (
	maxName  = 253 // bytes of an object's name
	hashName = 16  // hexadecimal digits of the hash in the name of a long host
)

// NameOf returns the name of the DNSEndpoint of an ExposedHost in a view. The names of two
// hosts or views differ: no short name ends as the shortened ones do.
func NameOf(view v1alpha1.DNSView, exposedHost string) string {
	suffix := "." + Label(view)
	if len(exposedHost)+len(suffix) <= maxName {
		return exposedHost + suffix
	}
	sum := sha256.Sum256([]byte(exposedHost))
	suffix = "-" + hex.EncodeToString(sum[:])[:hashName] + suffix + "-short"
	return strings.TrimRight(exposedHost[:maxName-len(suffix)], ".-") + suffix
}

// Label returns the value of the label v1alpha1.LabelDNSView for a view.
func Label(view v1alpha1.DNSView) string { return strings.ToLower(string(view)) }

// Endpoint returns the DNSEndpoint of an ExposedHost for its records, which are not empty.
func (r Records) Endpoint(namespace string, owner *v1alpha1.ExposedHost) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"endpoints": r.endpoints()}}}
	o.SetGroupVersionKind(Kind)
	o.SetNamespace(namespace)
	o.SetName(NameOf(r.View, owner.Name))
	o.SetLabels(map[string]string{v1alpha1.LabelManaged: "true", v1alpha1.LabelDNSView: Label(r.View)})
	o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(owner, v1alpha1.GroupVersion.WithKind("ExposedHost"))})
	return o
}

// endpoints returns the records as external-dns reads them.
func (r Records) endpoints() []any {
	var endpoints []any
	for _, set := range r.Sets {
		targets := make([]any, len(set.Targets))
		for i, target := range set.Targets {
			targets[i] = target
		}
		endpoint := map[string]any{"dnsName": r.Host, "recordType": set.Type, "targets": targets}
		if set.TTL != 0 {
			endpoint["recordTTL"] = int64(set.TTL)
		}
		if len(r.Properties) > 0 {
			properties := make([]any, len(r.Properties))
			for i, p := range r.Properties {
				properties[i] = map[string]any{"name": p.Name, "value": p.Value}
			}
			endpoint["providerSpecific"] = properties
		}
		endpoints = append(endpoints, endpoint)
	}
	return endpoints
}

// OwnerOf returns the name of the ExposedHost that a DNSEndpoint of usher belongs to; empty
// if usher has not written it.
func OwnerOf(endpoint metav1.Object) string {
	labels := endpoint.GetLabels()
	if labels[v1alpha1.LabelManaged] != "true" || labels[v1alpha1.LabelDNSView] == "" {
		return ""
	}
	owner := metav1.GetControllerOf(endpoint)
	if owner == nil || owner.Kind != "ExposedHost" || owner.APIVersion != v1alpha1.GroupVersion.String() {
		return ""
	}
	return owner.Name
}
