package enroll

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labels of all that is made.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelCluster   = "usher.techn.is/cluster" // name of the MemberCluster
	labelEdge      = "usher.techn.is/edge"    // UID of the edge's namespace kube-system, only on what is in a member
)

const managedBy = "usher"

// identity says for whom an object was made.
type identity struct {
	name string    // of the MemberCluster
	edge types.UID // of the edge cluster
}

// memberLabels are those of all that is made in the member.
func (id identity) memberLabels() map[string]string {
	return map[string]string{labelManagedBy: managedBy, labelCluster: id.name, labelEdge: string(id.edge)}
}

// edgeLabels are those of all that is made at the edge.
func (id identity) edgeLabels() map[string]string {
	return map[string]string{labelManagedBy: managedBy, labelCluster: id.name}
}

// ErrClash marks an object that stands where one has to be made, and was made by somebody else
// or for another member.
var ErrClash = errors.New("is in the way")

// checkOwner returns an error that wraps ErrClash unless labels are among those of the object.
func checkOwner(have client.Object, labels map[string]string, context string) error {
	found := have.GetLabels()
	object := fmt.Sprintf("%s (context %s)", describe(have), context)
	switch {
	case found[labelManagedBy] != managedBy:
		return fmt.Errorf("%s %w: it was not made by usher cluster add; rename it, or delete it if it is of no use", object, ErrClash)
	case found[labelCluster] != labels[labelCluster]:
		return fmt.Errorf("%s %w: it belongs to the member %q; use that name, or remove that member first", object, ErrClash, found[labelCluster])
	case found[labelEdge] != labels[labelEdge]:
		return fmt.Errorf("%s %w: it belongs to another edge cluster; if that one is no more, delete what it left with: %s",
			object, ErrClash, takeBackCommand(context, types.UID(found[labelEdge])))
	}
	return nil
}

// takeBackCommand deletes all that was made in a member for an edge cluster.
func takeBackCommand(context string, edge types.UID) string {
	return fmt.Sprintf("kubectl --context %s delete rolebindings,roles,clusterrolebindings,clusterroles,namespaces --all-namespaces -l %s=%s", context, labelEdge, edge)
}

// describe names an object as a person would.
func describe(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}
