package source

import (
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/controllers/message"
)

// entry is an entry of managed fields.
func entry(manager string, at time.Time, fields string) metav1.ManagedFieldsEntry {
	e := metav1.ManagedFieldsEntry{Manager: manager, Time: &metav1.Time{Time: at}, FieldsV1: &metav1.FieldsV1{}}
	e.FieldsV1.SetRawBytes([]byte(fields))
	return e
}

func TestManager(t *testing.T) {
	const sets = `{"f:metadata":{"f:annotations":{".":{},"f:usher.techn.is/expose":{}}}}`
	const others = `{"f:metadata":{"f:annotations":{"f:usher.techn.is/hosts":{}}},"f:spec":{"f:usher.techn.is/expose":{}}}`
	now := time.Now()
	for name, tt := range map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		"none":                {nil, ""},
		"one":                 {[]metav1.ManagedFieldsEntry{entry("helm", now, others), entry("kubectl-annotate", now, sets)}, "kubectl-annotate"},
		"the latest":          {[]metav1.ManagedFieldsEntry{entry("argocd", now, sets), entry("old", now.Add(-time.Hour), sets)}, "argocd"},
		"other fields":        {[]metav1.ManagedFieldsEntry{entry("helm", now, others)}, ""},
		"no JSON":             {[]metav1.ManagedFieldsEntry{entry("x", now, `{"f:metadata":{"f:annotations":["f:usher.techn.is/expose"]}}`), entry("y", now, "f:usher.techn.is/expose")}, ""},
		"no fields":           {[]metav1.ManagedFieldsEntry{{Manager: "x"}}, ""},
		"too long":            {[]metav1.ManagedFieldsEntry{entry(strings.Repeat("x", maxManager+1), now, sets)}, ""},
		"a terminal's escape": {[]metav1.ManagedFieldsEntry{entry("x\x1b[2Jy", now, sets)}, message.Bound("x\x1b[2Jy")},
		"no time":             {[]metav1.ManagedFieldsEntry{{Manager: "x", FieldsV1: entry("", now, sets).FieldsV1}}, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			object := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"usher.techn.is/expose": "true"}, ManagedFields: tt.entries}}
			if got := Manager(object); got != tt.want {
				t.Errorf("Manager: %q instead of %q", got, tt.want)
			}
			KeepManager(object)
			if got := Manager(object); got != tt.want || len(object.ManagedFields) > 1 {
				t.Errorf("after KeepManager: %q instead of %q, %d entries", got, tt.want, len(object.ManagedFields))
			}
			object.Annotations = nil
			if KeepManager(object); object.ManagedFields != nil {
				t.Error("without the annotation managed fields should be removed")
			}
		})
	}
}
