package apiserver

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	helpers "k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	clientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/config/crd"
)

// UsherDefinitions returns the definitions of usher's own kinds.
func UsherDefinitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, text := range []string{crd.ExposedHosts, crd.MemberClusters, crd.NetworkLists} {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict([]byte(text), definition); err != nil {
			return nil, fmt.Errorf("read a definition: %w", err)
		}
		all = append(all, definition)
	}
	return all, nil
}

// established is how long the API server may take to serve a definition.
const established = 30 * time.Second

// awaitEstablished waits until the objects of a definition are served.
func awaitEstablished(ctx context.Context, client clientset.Interface, name string) error {
	return wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, established, true, func(ctx context.Context) (bool, error) {
		found, err := client.ApiextensionsV1().CustomResourceDefinitions().Get(ctx, name, metav1.GetOptions{})
		return err == nil && helpers.IsCRDConditionTrue(found, apiextensionsv1.Established), err
	})
}

// install creates the namespaces, and installs the definitions or upgrades those of an
// earlier version.
func (s *Server) install(ctx context.Context, config *restclient.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, name := range s.Namespaces {
		_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the namespace %s: %w", name, err)
		}
	}
	definitions, err := clientset.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, wanted := range s.Definitions {
		if err := installDefinition(ctx, definitions, wanted); err != nil {
			return fmt.Errorf("install the definition %s: %w", wanted.Name, err)
		}
	}
	for _, wanted := range s.Definitions {
		if err := awaitEstablished(ctx, definitions, wanted.Name); err != nil {
			return fmt.Errorf("establish the definition %s: %w", wanted.Name, err)
		}
	}
	return nil
}

func installDefinition(ctx context.Context, client clientset.Interface, wanted *apiextensionsv1.CustomResourceDefinition) error {
	all := client.ApiextensionsV1().CustomResourceDefinitions()
	if _, err := all.Create(ctx, wanted.DeepCopy(), metav1.CreateOptions{}); err == nil || !apierrors.IsAlreadyExists(err) {
		return err
	}
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found, err := all.Get(ctx, wanted.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		found.Spec = *wanted.Spec.DeepCopy()
		_, err = all.Update(ctx, found, metav1.UpdateOptions{})
		return err
	})
}

// followGroups lists the groups of custom resources in /apis, where older clients look
// for them. In Kubernetes the aggregator does this.
func followGroups(server *extensions.CustomResourceDefinitions) error {
	groups := server.GenericAPIServer.DiscoveryGroupManager
	_, err := server.Informers.Apiextensions().V1().CustomResourceDefinitions().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { addGroup(groups.AddGroup, object) },
		UpdateFunc: func(_, object any) { addGroup(groups.AddGroup, object) },
	})
	return err
}

func addGroup(add func(metav1.APIGroup), object any) {
	definition := object.(*apiextensionsv1.CustomResourceDefinition)
	group := metav1.APIGroup{Name: definition.Spec.Group}
	for _, version := range definition.Spec.Versions {
		if version.Served {
			group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: group.Name + "/" + version.Name, Version: version.Name})
		}
	}
	if len(group.Versions) == 0 {
		return
	}
	group.PreferredVersion = group.Versions[0]
	add(group)
}

const (
	// maintenance is how often the database is looked at.
	maintenance = 5 * time.Minute
	// defragFree is how many bytes of the database must be free to rewrite it.
	defragFree = 32 << 20
)

// maintain frees the space that compaction, which the API server asks for every five
// minutes, leaves in the database. A database that was full takes writes again.
func maintain(ctx context.Context, etcd *embed.Etcd, log *zap.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(maintenance):
		}
		if err := maintainOnce(ctx, etcd); err != nil {
			log.Error("Could not maintain the database", zap.Error(err))
		}
	}
}

func maintainOnce(ctx context.Context, etcd *embed.Etcd) error {
	backend := etcd.Server.Backend()
	if backend.Size()-backend.SizeInUse() > defragFree {
		if err := backend.Defrag(); err != nil {
			return err
		}
	}
	alarms := etcd.Server.Alarms()
	if len(alarms) == 0 || backend.Size() > storeQuota*9/10 {
		return nil
	}
	for _, alarm := range alarms {
		if _, err := etcd.Server.Alarm(ctx, &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_DEACTIVATE, MemberID: alarm.MemberID, Alarm: alarm.Alarm}); err != nil {
			return err
		}
	}
	return nil
}
