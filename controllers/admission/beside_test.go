package admission_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

func TestRestrict(t *testing.T) {
	accepted := func(whole bool) admission.Decision {
		return admission.Decision{Accepted: true, Reason: reason.Admitted, Message: "held", Cluster: "hades", Options: source.Options{WholeWildcard: whole}}
	}
	acceptedFrom := func(clients ...string) admission.Decision {
		d := accepted(false)
		d.Options.AllowFrom = clients
		return d
	}
	refs := func(names ...string) (refs []v1alpha1.SourceRef) {
		for _, name := range names {
			refs = append(refs, v1alpha1.SourceRef{Cluster: "hades", Kind: "Ingress", Namespace: "n", Name: name})
		}
		return refs
	}
	sharing := func(allowFrom ...string) []source.Sharing {
		return []source.Sharing{{Source: refs("b")[0], Host: "b.is", AllowFrom: allowFrom}}
	}
	labels := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("l%04d", i))
		}
		return all
	}
	for name, test := range map[string]struct {
		decision   admission.Decision
		host       string
		requireAll bool
		beside     admission.Beside
		reason     string
		says       string // no more than "held" where it is empty
		except     []string
	}{
		"nothing beside":                {accepted(false), "a.is", true, admission.Beside{}, reason.Admitted, "", nil},
		"refused already":               {admission.Decision{Reason: reason.AllowedDomains, Message: "held"}, "*.a.is", true, admission.Beside{Unannotated: refs("x"), Names: labels(1)}, reason.AllowedDomains, "", nil},
		"an object beside":              {accepted(false), "a.is", false, admission.Beside{Unannotated: refs("x")}, reason.Admitted, "does not show the path: Ingress n/x", nil},
		"more objects than are named":   {accepted(false), "a.is", false, admission.Beside{Unannotated: refs("1", "2", "3", "4", "5", "6", "7")}, reason.Admitted, "Ingress n/5 and 2 more", nil},
		"an object, all required":       {accepted(false), "a.is", true, admission.Beside{Unannotated: refs("x")}, reason.NotAllAnnotated, "without the annotation: Ingress n/x; annotate each", nil},
		"a whole wildcard, all too":     {accepted(true), "*.a.is", true, admission.Beside{Unannotated: refs("x")}, reason.NotAllAnnotated, "Ingress n/x", nil},
		"names under a wildcard":        {accepted(false), "*.a.is", false, admission.Beside{Names: []string{"b", "c"}, Private: []string{"c"}}, reason.Admitted, "without an annotated object: c", []string{"b", "c"}},
		"published ones alone":          {accepted(false), "*.a.is", false, admission.Beside{Names: []string{"b"}}, reason.Admitted, "", []string{"b"}},
		"names under a whole wildcard":  {accepted(true), "*.a.is", false, admission.Beside{Names: []string{"b", "c"}, Private: []string{"c"}}, reason.Admitted, "including these without an annotated object: c", nil},
		"as many names as it may have":  {accepted(false), "*.a.is", false, admission.Beside{Names: labels(v1alpha1.MaxExcept)}, reason.Admitted, "", labels(v1alpha1.MaxExcept)},
		"too many names":                {accepted(false), "*.a.is", false, admission.Beside{Names: labels(v1alpha1.MaxExcept + 1)}, reason.TooManyNames, "usher.techn.is/wildcard: all", nil},
		"too many under a whole one":    {accepted(true), "*.a.is", false, admission.Beside{Names: labels(v1alpha1.MaxExcept + 1)}, reason.Admitted, "it publishes every name under it", nil},
		"an object that may be any":     {accepted(false), "*.a.is", false, admission.Beside{Unlisted: refs("x")}, reason.Admitted, "that they serve under the wildcard are published: Ingress n/x", nil},
		"other TLS options":             {accepted(false), "a.is", false, admission.Beside{Unisolated: refs("x"), Unannotated: refs("x")}, reason.NotIsolated, "options of the host: Ingress n/x", nil},
		"too many to check":             {accepted(false), "a.is", false, admission.Beside{Unchecked: true}, reason.NotIsolated, "than usher checks", nil},
		"options of the same clients":   {accepted(false), "a.is", false, admission.Beside{Sharing: sharing()}, reason.Admitted, "", nil},
		"options of other clients":      {accepted(false), "a.is", false, admission.Beside{Sharing: append(sharing(), sharing("10.0.0.0/8")...)}, reason.IsolationShared, "host b.is of Ingress n/b of cluster hades, which has allow-from 10.0.0.0/8, while this host has allow-from everyone", nil},
		"options of a list":             {accepted(false), "a.is", false, admission.Beside{Sharing: sharing("@family")}, reason.IsolationShared, "which has allow-from @family, while this host has allow-from everyone", nil},
		"options of the same list":      {acceptedFrom("@family"), "a.is", false, admission.Beside{Sharing: sharing("@family")}, reason.Admitted, "", nil},
		"options of a list and a CIDR":  {acceptedFrom("10.0.0.0/8"), "a.is", false, admission.Beside{Sharing: sharing("@family")}, reason.IsolationShared, "@family", nil},
		"an object of any, and no wild": {accepted(false), "a.is", true, admission.Beside{Unlisted: refs("x")}, reason.Admitted, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := admission.Restrict(test.decision, test.host, test.requireAll, test.beside)
			if d.Reason != test.reason || d.Accepted != (test.reason == reason.Admitted) || !slices.Equal(d.Except, test.except) {
				t.Errorf("it is %+v", d)
			}
			if !strings.Contains(d.Message, test.says) || test.says == "" && d.Message != "held" {
				t.Errorf("it says %q", d.Message)
			}
		})
	}
}
