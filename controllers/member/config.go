package member

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Config says how to connect to a member.
type Config struct {
	// Name of the member.
	Name string
	// REST is the client configuration for its API server.
	REST *rest.Config
	// Traefik is the API of a Traefik without Kubernetes; REST and Service are not used then.
	Traefik *TraefikAPI
	// Service that is watched for its load-balancer addresses, its ports, and the
	// version of Traefik. With the zero value no Service is watched.
	Service types.NamespacedName
	// ServiceOptional means that the member can be in sync without the Service, since
	// the MemberCluster gives its addresses.
	ServiceOptional bool
	// Origin identifies where REST was read from. A Config with another Origin,
	// Service or ServiceOptional replaces the member's connection.
	Origin string
	// Weaknesses are the insecure fields of the kubeconfig that the MemberCluster allows.
	Weaknesses []string
	// Expiry is when the first certificate, or the token, of the kubeconfig ends.
	Expiry Expiry
}

// same reports whether o would connect as c does.
func (c Config) same(o Config) bool {
	return c.Name == o.Name && c.Origin == o.Origin && c.Service == o.Service && c.ServiceOptional == o.ServiceOptional
}

// ErrKubeconfig marks a kubeconfig that cannot be used. ErrInsecure marks one that can
// be used if spec.kubeconfig.insecure allows its weaknesses.
var (
	ErrKubeconfig = errors.New("kubeconfig cannot be used")
	ErrInsecure   = errors.New("kubeconfig is insecure")
)

// ParseKubeconfig parses a kubeconfig and returns a Config with REST, Origin, Weaknesses
// and Expiry of one of its contexts; an empty context means the current one. It returns
// ErrKubeconfig if the kubeconfig would run a program or read a file at the edge, or has
// a malformed certificate. It returns ErrInsecure, unless insecure is set, if someone other than the member could
// answer, or if the edge would impersonate another account.
func ParseKubeconfig(data []byte, context string, insecure bool) (Config, error) {
	raw, err := clientcmd.Load(data)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	if context == "" {
		context = raw.CurrentContext
	}
	if err := checkSelfContained(raw, context); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	weak := weaknesses(raw, context)
	if len(weak) > 0 && !insecure {
		return Config{}, fmt.Errorf("%w: %s", ErrInsecure, weak[0].refusal())
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*raw, context, nil, nil).ClientConfig()
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	expiry, err := expiryOf(cfg)
	if err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrKubeconfig, err)
	}
	config := Config{REST: cfg, Origin: digest(data, context), Expiry: expiry}
	for _, w := range weak {
		config.Weaknesses = append(config.Weaknesses, w.field)
	}
	return config, nil
}

// digest identifies a kubeconfig and the context that is read from it.
func digest(data []byte, context string) string {
	sum := sha256.Sum256(append([]byte(context+"\x00"), data...))
	return fmt.Sprintf("%x", sum[:8])
}

// OriginOf identifies a client configuration that was not read from a kubeconfig.
func OriginOf(cfg *rest.Config) string {
	identity, _ := json.Marshal([]string{cfg.Host, cfg.Username, cfg.BearerTokenFile})
	return digest(identity, "")
}

// checkSelfContained refuses a context that needs a program or a file of this machine.
func checkSelfContained(raw *clientcmdapi.Config, name string) error {
	context, ok := raw.Contexts[name]
	if !ok {
		return fmt.Errorf("it has no context %q", name)
	}
	cluster, ok := raw.Clusters[context.Cluster]
	if !ok {
		return fmt.Errorf("context %q names the cluster %q, which it does not have", name, context.Cluster)
	}
	if cluster.CertificateAuthority != "" {
		return errors.New("certificate-authority is a file path: put the certificate itself into certificate-authority-data")
	}
	user, ok := raw.AuthInfos[context.AuthInfo]
	if !ok {
		return fmt.Errorf("context %q names the user %q, which it does not have", name, context.AuthInfo)
	}
	return checkUser(user)
}

func checkUser(user *clientcmdapi.AuthInfo) error {
	switch {
	case user.Exec != nil:
		return errors.New("its user has an exec plugin, which would run a program at the edge: use a ServiceAccount's token")
	case user.AuthProvider != nil:
		return errors.New("its user has an auth-provider, which would run code at the edge: use a ServiceAccount's token")
	case user.ClientCertificate != "" || user.ClientKey != "":
		return errors.New("client-certificate or client-key is a file path: put the content into client-certificate-data and client-key-data")
	case user.TokenFile != "":
		return errors.New("tokenFile is a file path: put the token itself into token")
	}
	return nil
}

// Timeouts of one attempt to reach an API server.
const (
	dialTimeout  = 5 * time.Second
	probeTimeout = 5 * time.Second
)

// newDialer returns the dialer of connections to members.
func newDialer() *net.Dialer { return &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second} }

// unshared returns a copy of cfg whose client shares no connections with other clients:
// after an outage, a shared connection may be dead and hang.
func unshared(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Dial = newDialer().DialContext
	cfg.QPS = -1 // no limit: there are few requests, and the API server has its own priority and fairness
	cfg.UserAgent = "usher"
	cfg.ContentType = runtime.ContentTypeJSON // boundedTransport finds the events in JSON only
	cfg.AcceptContentTypes = runtime.ContentTypeJSON
	return cfg
}
