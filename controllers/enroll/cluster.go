package enroll

import (
	"context"
	"fmt"
	"maps"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/kubeconfig"
)

const (
	dialTimeout = 10 * time.Second
	// connectTimeout bounds the first request to a cluster. It includes a login in a browser,
	// which an exec plugin may require.
	connectTimeout = time.Minute
)

// A Cluster is a connection to a cluster with the permissions of the person who runs the command.
type Cluster struct {
	context    string // of the kubeconfig
	kubeconfig *kubeconfig.Config
	config     *rest.Config
	client     client.Client
}

// Connect reads a kubeconfig as kubectl does. Exec plugins run as for kubectl. Connect sends no
// request.
func Connect(source kubeconfig.Source) (*Cluster, error) {
	from, err := source.Load()
	if err != nil {
		return nil, err
	}
	return newCluster(from)
}

func newCluster(from *kubeconfig.Config) (*Cluster, error) {
	config := rest.CopyConfig(from.REST)
	config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	config.QPS = -1 // a few dozen requests
	config.UserAgent = "usher-cluster"
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", from.Context, err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme, HTTPClient: httpClient})
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", from.Context, err)
	}
	return &Cluster{context: from.Context, kubeconfig: from, config: config, client: c}, nil
}

// String names the cluster by its context and its server.
func (c *Cluster) String() string {
	return fmt.Sprintf("context %s, server %s", c.context, c.config.Host)
}

// Same reports whether two contexts lead to one cluster.
func Same(ctx context.Context, a, b *Cluster) (bool, error) {
	first, err := a.uid(ctx)
	if err != nil {
		return false, err
	}
	second, err := b.uid(ctx)
	return first == second, err
}

// uid returns an ID of the cluster that does not depend on its address or context: the UID of its
// namespace kube-system, which exists as long as the cluster does.
func (c *Cluster) uid(ctx context.Context) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var system corev1.Namespace
	if err := c.get(ctx, metav1.NamespaceSystem, "", &system); err != nil {
		return "", err
	}
	return system.UID, nil
}

// get reads an object; its error names the object and the cluster.
func (c *Cluster) get(ctx context.Context, name, namespace string, o client.Object) error {
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		return c.failed("read "+name, err)
	}
	return nil
}

// members lists the MemberClusters of the edge cluster.
func (c *Cluster) members(ctx context.Context) ([]v1alpha1.MemberCluster, error) {
	var list v1alpha1.MemberClusterList
	if err := c.client.List(ctx, &list); err != nil {
		return nil, c.failed("list MemberClusters", noCRDs(err))
	}
	return list.Items, nil
}

// failed adds the cluster and the action to an error. The message of the API server names the
// permission that is missing. An API server that does not answer is reported without the action.
func (c *Cluster) failed(action string, err error) error {
	if failure := c.kubeconfig.Failure(err); failure != nil {
		return failure
	}
	return fmt.Errorf("context %s: %s: %w", c.context, action, err)
}

// checkConflict returns an error that wraps ErrConflict if want exists already and belongs to
// somebody else.
func (c *Cluster) checkConflict(ctx context.Context, want *unstructured.Unstructured) error {
	have := blank(want)
	err := c.client.Get(ctx, client.ObjectKeyFromObject(want), have)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return c.failed("read "+describe(want), err)
	}
	return checkOwner(have, want.GetLabels(), c.context)
}

// write creates want, or sets all fields of want in the existing object and keeps its other fields.
func (c *Cluster) write(ctx context.Context, want *unstructured.Unstructured) (controllerutil.OperationResult, error) {
	have := blank(want)
	result, err := controllerutil.CreateOrPatch(ctx, c.client, have, func() error {
		if have.GetUID() != "" {
			if err := checkOwner(have, want.GetLabels(), c.context); err != nil {
				return err
			}
		}
		merge(have, want)
		return nil
	})
	if err != nil {
		return result, c.failed("write "+describe(want), err)
	}
	return result, nil
}

// ownedLists returns the kinds of the objects in a member, in the order in which they are deleted.
// The account is deleted together with its namespace.
func ownedLists() []client.ObjectList {
	return []client.ObjectList{
		listOf(ingressRouteKind), listOf(tlsOptionKind),
		&rbacv1.RoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRoleList{}, &corev1.NamespaceList{},
	}
}

// listOf returns a list of a kind that has no Go type here.
func listOf(kind schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	return list
}

// owned lists the objects in a member that were created for id, of all kinds or only of the given ones.
func (c *Cluster) owned(ctx context.Context, id identity, kinds ...client.ObjectList) ([]client.Object, error) {
	if len(kinds) == 0 {
		kinds = ownedLists()
	}
	var all []client.Object
	for _, list := range kinds {
		err := c.client.List(ctx, list, client.MatchingLabels(id.memberLabels()))
		if meta.IsNoMatchError(err) {
			continue // a cluster without Traefik's kinds
		}
		if err != nil {
			return nil, c.failed("list the objects of usher", err)
		}
		err = meta.EachListItem(list, func(o runtime.Object) error {
			all = append(all, manifest(o.(client.Object)))
			return nil
		})
		if err != nil {
			return nil, c.failed("list the objects of usher", err)
		}
	}
	return all, nil
}

// delete deletes an object by its UID, so that a new object of the same name stays.
func (c *Cluster) delete(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	if err := c.client.Delete(ctx, o, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return c.failed("delete "+describe(o), err)
	}
	return nil
}

// merge copies the labels and annotations of want to have, and each field of want except its
// metadata.
func merge(have, want *unstructured.Unstructured) {
	have.SetLabels(union(have.GetLabels(), want.GetLabels()))
	have.SetAnnotations(union(have.GetAnnotations(), want.GetAnnotations()))
	for field, value := range want.Object {
		if field != "metadata" {
			have.Object[field] = value
		}
	}
}

// union returns the entries of two maps; more has precedence. have may be nil, and is changed.
func union(have, more map[string]string) map[string]string {
	if have == nil {
		return maps.Clone(more)
	}
	maps.Copy(have, more)
	return have
}

// blank returns an object of the same kind and name without content.
func blank(o *unstructured.Unstructured) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(o.GroupVersionKind())
	u.SetName(o.GetName())
	u.SetNamespace(o.GetNamespace())
	return u
}
