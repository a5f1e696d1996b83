package manifest

import (
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// hostOf returns the host of a document with mistakes, or an empty string if it cannot
// be read.
func (d document) hostOf() string {
	var content struct {
		Kind string
		Spec struct{ Host string }
	}
	if json.Unmarshal(d.text, &content) != nil || content.Kind != kindExposedHost {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(content.Spec.Host), ".")
}

// unserved returns the hosts of refused files that no other file serves, sorted. They
// are refused by name: a wildcard of another file must not serve a host whose own file
// is broken.
func (d *directory) unserved() []string {
	served := map[string]bool{} // host → true
	for _, f := range d.files {
		for i := range f.accepted.hosts {
			served[f.accepted.hosts[i].Spec.Host] = true
		}
	}
	var hosts []string
	for _, f := range d.files {
		if f.next == nil {
			continue
		}
		for i := range f.next.hosts {
			hosts = append(hosts, f.next.hosts[i].Spec.Host)
		}
		hosts = append(hosts, f.next.mistaken...)
	}
	hosts = slices.DeleteFunc(hosts, func(host string) bool { return host == "" || served[host] })
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// refusals returns refused ExposedHosts for the hosts.
func refusals(hosts []string) []v1alpha1.ExposedHost {
	refused := make([]v1alpha1.ExposedHost, len(hosts))
	for i, host := range hosts {
		refused[i].Name, refused[i].Spec.Host = v1alpha1.NameOfHost(host), host
		refused[i].Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: reason.ManifestRefused,
			Message: "its file is refused; usher check names the mistakes",
		}}
	}
	return refused
}
