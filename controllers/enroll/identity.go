package enroll

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Labels of all created objects.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelCluster   = "usher.techn.is/cluster" // name of the MemberCluster
	labelEdge      = "usher.techn.is/edge"    // UID of the edge cluster's namespace kube-system; only on objects in a member
)

const managedBy = "usher"

// identity identifies the member that an object was created for.
type identity struct {
	name string    // of the MemberCluster
	edge types.UID // of the edge cluster
}

// memberLabels returns the labels of all objects in the member.
func (id identity) memberLabels() map[string]string {
	return map[string]string{labelManagedBy: managedBy, labelCluster: id.name, labelEdge: string(id.edge)}
}

// edgeLabels returns the labels of all objects in the edge cluster.
func (id identity) edgeLabels() map[string]string {
	return map[string]string{labelManagedBy: managedBy, labelCluster: id.name}
}

// ErrConflict marks an object that must be created but exists already, and was created by somebody
// else or for another member.
var ErrConflict = errors.New("already exists")

// checkOwner returns an error that wraps ErrConflict unless the object has the labels.
func checkOwner(have client.Object, labels map[string]string, context string) error {
	found := have.GetLabels()
	object := fmt.Sprintf("%s (context %s)", describe(have), context)
	switch {
	case found[labelManagedBy] != managedBy:
		return fmt.Errorf("%s %w: it was not created by usher cluster add; rename it, or delete it if it is not needed", object, ErrConflict)
	case found[labelCluster] != labels[labelCluster]:
		return fmt.Errorf("%s %w: it belongs to the member %q; use that name, or remove that member first", object, ErrConflict, found[labelCluster])
	case found[labelEdge] != labels[labelEdge]:
		resources := accountResources
		if have.GetObjectKind().GroupVersionKind().Group == ingressRouteKind.Group {
			resources = traefikResources
		}
		return fmt.Errorf("%s %w: it belongs to another edge cluster; if that one no longer exists, delete its objects with: %s",
			object, ErrConflict, deleteCommand(context, resources, types.UID(found[labelEdge])))
	}
	return nil
}

// Resources of the objects in a member, as kubectl names them: of the account, and of Traefik.
const (
	accountResources = "rolebindings,roles,clusterrolebindings,clusterroles,namespaces"
	traefikResources = "ingressroutes.traefik.io,tlsoptions.traefik.io"
)

// deleteCommand returns the command that deletes all objects of an edge cluster in a member
// that are of some resources.
func deleteCommand(context, resources string, edge types.UID) string {
	return fmt.Sprintf("kubectl --context %s delete %s --all-namespaces -l %s=%s", context, resources, labelEdge, edge)
}

// describe returns the kind and the name of an object.
func describe(o client.Object) string {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if o.GetNamespace() == "" {
		return kind + " " + o.GetName()
	}
	return kind + " " + o.GetNamespace() + "/" + o.GetName()
}
