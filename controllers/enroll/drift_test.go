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

// The role of an edge that is its own member is generated from the code that watches. What a
// member grants must be the same; only of Services it grants a single one, by a role beside it.
func TestReaderMayReadWhatTheControllersRoleMay(t *testing.T) {
	want := readable(generatedRole(t, "usher-member").Rules)
	got := append(readable(readerRules()), "/services")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("a member grants\n%q\nand usher watches\n%q", got, want)
	}
}

// readable lists what may be read as GROUP/RESOURCE, sorted.
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

// generatedRole reads one of the roles that make generate writes.
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
