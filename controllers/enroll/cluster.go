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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	dialTimeout = 10 * time.Second
	// reachTimeout bounds the first request to a cluster. A login in a browser, which an exec
	// plugin may ask for, is part of it.
	reachTimeout = time.Minute
)

// A Cluster is reached with a person's own rights.
type Cluster struct {
	context string // of the kubeconfig
	config  *rest.Config
	client  client.Client
}

// Connect reads a kubeconfig as kubectl does: file, or where that is empty $KUBECONFIG or
// ~/.kube/config, and of it the named context, or where that is empty the current one. Exec
// plugins run as they do for kubectl. It sends nothing yet.
func Connect(file, context string) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	if context == "" {
		context = raw.CurrentContext
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read context %q of the kubeconfig: %w", context, err)
	}
	return newCluster(context, config)
}

func newCluster(context string, config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	config.QPS = -1 // a few dozen requests
	config.UserAgent = "usher-cluster"
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", context, err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme, HTTPClient: httpClient})
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", context, err)
	}
	return &Cluster{context: context, config: config, client: c}, nil
}

// uid identifies the cluster, whatever addresses or contexts lead to it: by its namespace
// kube-system, which lasts as long as the cluster does.
func (c *Cluster) uid(ctx context.Context) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	var system corev1.Namespace
	if err := c.get(ctx, metav1.NamespaceSystem, "", &system); err != nil {
		return "", err
	}
	return system.UID, nil
}

// get reads an object; the error names it and the cluster.
func (c *Cluster) get(ctx context.Context, name, namespace string, o client.Object) error {
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, o); err != nil {
		return c.failed("read "+name, err)
	}
	return nil
}

// members lists the MemberClusters of the edge.
func (c *Cluster) members(ctx context.Context) ([]v1alpha1.MemberCluster, error) {
	var list v1alpha1.MemberClusterList
	if err := c.client.List(ctx, &list); err != nil {
		return nil, c.failed("list MemberClusters", err)
	}
	return list.Items, nil
}

// failed says in which cluster what failed. An API server's own message names the permission
// that is missing.
func (c *Cluster) failed(doing string, err error) error {
	return fmt.Errorf("context %s: %s: %w", c.context, doing, err)
}

// checkClash returns an error that wraps ErrClash where want cannot be written.
func (c *Cluster) checkClash(ctx context.Context, want *unstructured.Unstructured) error {
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

// write makes want, or gives the object that is there all fields of want; others stay.
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

// ownedLists are the kinds of what is made in a member, in the order in which it is removed. The
// account itself goes with its namespace.
func ownedLists() []client.ObjectList {
	return []client.ObjectList{
		&rbacv1.RoleBindingList{}, &rbacv1.RoleList{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRoleList{}, &corev1.NamespaceList{},
	}
}

// owned lists what was made in a member, of all kinds or of those given.
func (c *Cluster) owned(ctx context.Context, id identity, kinds ...client.ObjectList) ([]client.Object, error) {
	if len(kinds) == 0 {
		kinds = ownedLists()
	}
	var all []client.Object
	for _, list := range kinds {
		if err := c.client.List(ctx, list, client.MatchingLabels(id.memberLabels())); err != nil {
			return nil, c.failed("look for what was made", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			all = append(all, manifest(o.(client.Object)))
			return nil
		})
		if err != nil {
			return nil, c.failed("look for what was made", err)
		}
	}
	return all, nil
}

// delete deletes an object that was looked at, unless another has taken its place.
func (c *Cluster) delete(ctx context.Context, o client.Object) error {
	uid := o.GetUID()
	if err := c.client.Delete(ctx, o, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return c.failed("delete "+describe(o), err)
	}
	return nil
}

// merge sets in have the labels of want, and each field of want besides its metadata.
func merge(have, want *unstructured.Unstructured) {
	labels := have.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, want.GetLabels())
	have.SetLabels(labels)
	for field, value := range want.Object {
		if field != "metadata" {
			have.Object[field] = value
		}
	}
}

// blank is an object of the same kind and name, and no content.
func blank(o *unstructured.Unstructured) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(o.GroupVersionKind())
	u.SetName(o.GetName())
	u.SetNamespace(o.GetNamespace())
	return u
}
