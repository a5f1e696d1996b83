package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	extensionsoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints/filters"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	utilopenapi "k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// storePrefix begins the keys of all objects in etcd.
const storePrefix = "/registry"

// settled is how long the server takes to set everything up, with some time to spare.
const settled = 15 * time.Second

// A Server is the API server with its etcd.
type Server struct {
	Dir            string       // of etcd; nobody else may read it
	Listener       net.Listener // for clients with a certificate
	ClientCA       dynamiccertificates.CAContentProvider
	Certificate    dynamiccertificates.CertKeyContentProvider
	Definitions    []*apiextensionsv1.CustomResourceDefinition // installed at the start
	Namespaces     []string                                    // created at the start; the UID of kube-system identifies a cluster
	Administrators string                                      // the group of clients that may do everything; nobody else may do anything
	Ready          func()                                      // called some seconds after the start
	Log            *zap.Logger
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	etcd, err := startEtcd(ctx, s.Dir, s.Log.Named("etcd"))
	if err != nil {
		return err
	}
	defer etcd.Close()
	config, err := s.config()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config.GenericConfig.LoopbackClientConfig)
	if err != nil {
		return err
	}
	followed := informers.NewSharedInformerFactory(client, 0)
	if err := admitOnlyInNamespaces(&config.GenericConfig.Config, client, followed); err != nil {
		return err
	}
	server, err := newServer(config)
	if err != nil {
		return err
	}
	server.GenericAPIServer.AddPostStartHookOrDie("usher-namespaces-informer", func(c genericapiserver.PostStartHookContext) error {
		followed.Start(c.Done())
		return nil
	})
	server.GenericAPIServer.AddPostStartHookOrDie("usher-objects", func(c genericapiserver.PostStartHookContext) error {
		return s.install(c, config.GenericConfig.LoopbackClientConfig)
	})
	ready := time.AfterFunc(settled, s.Ready)
	defer ready.Stop()
	if err := followGroups(server); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-etcd.Err():
			cancel(fmt.Errorf("etcd failed: %w", err))
		case <-etcd.Server.StopNotify():
			cancel(errors.New("etcd has stopped"))
		case <-ctx.Done():
		}
	}()
	go maintain(ctx, etcd, s.Log.Named("etcd"))
	err = server.GenericAPIServer.PrepareRun().RunWithContext(ctx)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

// config returns the configuration of the API server.
func (s *Server) config() (*extensions.Config, error) {
	recommended := genericapiserver.NewRecommendedConfig(extensions.Codecs)
	c := &recommended.Config
	c.EffectiveVersion = served{compatibility.DefaultBuildEffectiveVersion()}
	c.MergedResourceConfig = extensions.DefaultAPIResourceConfigSource()
	c.EnableProfiling = false
	c.ShutdownSendRetryAfter = true
	c.RequestTimeout = 30 * time.Second
	namer := openapinamer.NewDefinitionNamer(extensions.Scheme, kinds)
	schemas := utilopenapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(definitions)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(schemas, namer)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(schemas, namer)
	c.OpenAPIConfig.Info.Title, c.OpenAPIV3Config.Info.Title = "usher", "usher"

	serving := genericoptions.NewSecureServingOptions()
	serving.Listener, serving.BindPort = s.Listener, s.Listener.Addr().(*net.TCPAddr).Port
	serving.MinTLSVersion = "VersionTLS13"
	serving.ServerCert.GeneratedCert = s.Certificate
	if err := serving.WithLoopback().ApplyToConfig(c); err != nil {
		return nil, fmt.Errorf("set up TLS: %w", err)
	}
	c.SecureServing.ClientCA = s.ClientCA
	c.Authentication.Authenticator = x509.NewDynamic(s.ClientCA.VerifyOptions, x509.CommonNameUserConversion)
	c.Authorization.Authorizer = authorizerfactory.NewPrivilegedGroups(s.Administrators)

	etcd := etcdOptions(extensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion))
	if err := etcd.ApplyTo(c); err != nil {
		return nil, fmt.Errorf("set up the store: %w", err)
	}
	return &extensions.Config{
		GenericConfig: recommended,
		ExtraConfig: extensions.ExtraConfig{
			CRDRESTOptionsGetter: extensionsoptions.NewCRDRESTOptionsGetter(*etcd, c.ResourceTransformers, c.StorageObjectCountTracker),
			MasterCount:          1,
			ServiceResolver:      webhook.NewDefaultServiceResolver(),
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.LoopbackClientConfig, noop.NewTracerProvider()),
		},
	}, nil
}

// etcdOptions returns how objects are stored. Nothing collects garbage here, so that a
// deletion must not wait for it.
func etcdOptions(codec runtime.Codec) *genericoptions.EtcdOptions {
	o := genericoptions.NewEtcdOptions(storagebackend.NewDefaultConfig(storePrefix, codec))
	o.StorageConfig.Transport.ServerList = []string{"unix://" + etcdSocket}
	o.EnableGarbageCollection = false
	return o
}

// newServer returns the server of custom resources, with the core kinds installed.
func newServer(config *extensions.Config) (*extensions.CustomResourceDefinitions, error) {
	completed := config.Complete()
	completed.GenericConfig.EnableDiscovery = true // there is no aggregator that would list the groups
	// until the definitions have been read, the answer is "try again", and not "there is no such kind"
	unknown := notfoundhandler.New(extensions.Codecs, filters.NoMuxAndDiscoveryIncompleteKey)
	server, err := completed.New(genericapiserver.NewEmptyDelegateWithCustomHandler(unknown))
	if err != nil {
		return nil, fmt.Errorf("create the API server: %w", err)
	}
	return server, installCore(server.GenericAPIServer, coreGetter(&config.GenericConfig.Config))
}

// coreGetter returns how the core kinds are stored.
func coreGetter(c *genericapiserver.Config) generic.RESTOptionsGetter {
	etcd := etcdOptions(codecs.LegacyCodec(coreVersion, coordinationVersion))
	etcd.SkipHealthEndpoints = true
	etcd.WatchCacheSizes = []string{"events#0"}
	factory := &genericoptions.SimpleStorageFactory{StorageConfig: etcd.StorageConfig}
	return etcd.CreateRESTOptionsGetter(factory, c.ResourceTransformers)
}

// installCore installs the core kinds.
func installCore(server *genericapiserver.GenericAPIServer, getter generic.RESTOptionsGetter) error {
	stores := map[string]rest.Storage{}
	for _, r := range []resource{namespaces, secrets, events, leases} {
		s, err := r.store(getter)
		if err != nil {
			return err
		}
		stores[r.group.Resource] = s
	}
	core := genericapiserver.NewDefaultAPIGroupInfo(coreVersion.Group, kinds, runtime.NewParameterCodec(kinds), codecs)
	core.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{
		"namespaces": kept{stores["namespaces"].(*store)}, "secrets": stores["secrets"], "events": stores["events"],
	}
	if err := server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &core); err != nil {
		return err
	}
	eventsGroup := genericapiserver.NewDefaultAPIGroupInfo(eventsVersion.Group, kinds, runtime.NewParameterCodec(kinds), codecs)
	eventsGroup.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{"events": stores["events"]}
	leasesGroup := genericapiserver.NewDefaultAPIGroupInfo(coordinationVersion.Group, kinds, runtime.NewParameterCodec(kinds), codecs)
	leasesGroup.VersionedResourcesStorageMap["v1"] = map[string]rest.Storage{"leases": stores["leases"]}
	return server.InstallAPIGroups(&eventsGroup, &leasesGroup)
}

// admitOnlyInNamespaces refuses objects in a namespace that does not exist.
func admitOnlyInNamespaces(c *genericapiserver.Config, client kubernetes.Interface, followed informers.SharedInformerFactory) error {
	plugin, err := lifecycle.NewLifecycle(nil)
	if err != nil {
		return err
	}
	plugin.SetExternalKubeClientSet(client)
	plugin.SetExternalKubeInformerFactory(followed)
	if err := plugin.ValidateInitialization(); err != nil {
		return err
	}
	c.AdmissionControl = admission.NewChainHandler(plugin)
	return nil
}
