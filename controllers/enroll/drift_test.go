package enroll

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The controllers' ClusterRole is generated from the markers of the code that watches. The account
// in a member must be granted the same. Services are the exception: a separate Role grants only one.
func TestReaderMayReadWhatTheControllersMayRead(t *testing.T) {
	want := readable(generatedRole(t, "usher-member").Rules)
	got := append(readable(readerRules()), "/services")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("a member grants\n%q\nand usher watches\n%q", got, want)
	}
}

// readable returns the resources that may be read as GROUP/RESOURCE, sorted.
func readable(rules []rbacv1.PolicyRule) []string {
	var all []string
	for _, rule := range rules {
		if !slices.Equal(rule.Verbs, readVerbs()) {
			continue
		}
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				all = append(all, group+"/"+resource)
			}
		}
	}
	slices.Sort(all)
	return all
}

// generatedRole returns one of the roles that make generate writes.
func generatedRole(t *testing.T, name string) rbacv1.ClusterRole {
	t.Helper()
	content, err := os.ReadFile("../../config/rbac/role.yaml")
	testkit.Must(t, err)
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
		var role rbacv1.ClusterRole
		err := decoder.Decode(&role)
		if errors.Is(err, io.EOF) {
			t.Fatalf("there is no role %s", name)
		}
		testkit.Must(t, err)
		if role.Kind == "ClusterRole" && role.Name == name {
			return role
		}
	}
}
