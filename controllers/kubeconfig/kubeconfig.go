// Package kubeconfig reads the kubeconfig of the person who runs a command, as kubectl
// does. Its errors name the file and the context, say which flag chooses another one, and
// why a cluster does not answer.
//
// The kubeconfigs of members, which usher itself uses, are read by controllers/member.
package kubeconfig

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/jovalle/usher/controllers/message"
)

// A Source says which context of which kubeconfig to use.
type Source struct {
	Cluster string // what the context leads to, such as "the edge cluster"
	File    string // empty: those of $KUBECONFIG, or ~/.kube/config
	Context string // empty: the current one

	FileFlag    string // name of the flag that sets File
	ContextFlag string // name of the flag that sets Context; empty: there is none
}

// A Config is a context of a kubeconfig.
type Config struct {
	Source
	Context string // its name
	REST    *rest.Config
	Admin   string // URL of the admin listener of an edge without Kubernetes; empty: there is none
}

// AdminExtension is the name of the extension of a cluster in a kubeconfig that has the
// URL of usher's admin listener: {"url": "http://127.0.0.1:8080"}. It is in the kubeconfig
// of an edge without Kubernetes, where usher runs in no pod.
const AdminExtension = "usher.techn.is/admin"

// adminOf returns the URL in the extension of a cluster, or an empty string.
func adminOf(cluster *clientcmdapi.Cluster) string {
	unknown, ok := cluster.Extensions[AdminExtension].(*runtime.Unknown)
	if !ok {
		return ""
	}
	var admin struct {
		URL string `json:"url"`
	}
	if json.Unmarshal(unknown.Raw, &admin) != nil {
		return ""
	}
	return admin.URL
}

// InCluster is the name of the context that is used in a pod without a kubeconfig.
const InCluster = "in-cluster"

// Load reads the kubeconfig. It sends no request, and runs no exec plugin. Without any
// kubeconfig it returns the configuration of the pod that it runs in, if it does.
func (s Source) Load() (*Config, error) {
	merged, err := s.read()
	if err != nil {
		pod, notInCluster := rest.InClusterConfig()
		if errors.Is(err, ErrNotFound) && s.File == "" && s.Context == "" && notInCluster == nil {
			return &Config{Source: s, Context: InCluster, REST: pod}, nil
		}
		return nil, err
	}
	name := cmp.Or(s.Context, merged.CurrentContext)
	if err := s.check(merged, name); err != nil {
		return nil, err
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*merged, name, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err == nil {
		_, err = rest.TLSConfigFor(config)
	}
	if err != nil {
		return nil, fmt.Errorf("context %q of %s: %s", name, s.files(), strings.TrimPrefix(err.Error(), "invalid configuration: "))
	}
	return &Config{Source: s, Context: name, REST: config, Admin: adminOf(merged.Clusters[merged.Contexts[name].Cluster])}, nil
}

// Contexts returns the names of all contexts, in order.
func (s Source) Contexts() ([]string, error) {
	merged, err := s.read()
	if err != nil {
		return nil, err
	}
	return names(merged.Contexts), nil
}

// ErrNotFound marks a kubeconfig of which there is no file.
var ErrNotFound = errors.New("there is no file")

// read reads the files, and merges them as kubectl does.
func (s Source) read() (*clientcmdapi.Config, error) {
	rules := s.rules()
	found := false
	for _, file := range rules.GetLoadingPrecedence() {
		_, err := clientcmd.LoadFromFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, s.unreadable(file, err)
		default:
			found = true
		}
	}
	if !found {
		return nil, s.notFound()
	}
	merged, err := rules.Load()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.files(), err)
	}
	return merged, nil
}

func (s Source) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = s.File
	rules.Precedence = slices.DeleteFunc(rules.Precedence, func(file string) bool { return file == "" })
	rules.Warner = func(error) {}
	return rules
}

// files names the files for a message.
func (s Source) files() string { return strings.Join(s.rules().GetLoadingPrecedence(), " and ") }

func (s Source) notFound() error {
	switch files := s.rules().GetLoadingPrecedence(); {
	case s.File != "":
		return fmt.Errorf("--%s: %w %s", s.FileFlag, ErrNotFound, s.File)
	case slices.Equal(files, []string{clientcmd.RecommendedHomeFile}):
		return fmt.Errorf("no kubeconfig for %s: %w %s, and $KUBECONFIG is not set; name a file with --%s",
			s.Cluster, ErrNotFound, files[0], s.FileFlag)
	default:
		return fmt.Errorf("no kubeconfig for %s: %w %s, which $KUBECONFIG names; correct it, or name a file with --%s",
			s.Cluster, ErrNotFound, strings.Join(files, ", nor "), s.FileFlag)
	}
}

// unreadable returns the error of a file that is there.
func (s Source) unreadable(file string, err error) error {
	text := err.Error()
	var failed *fs.PathError
	switch {
	case errors.As(err, &failed):
		return fmt.Errorf("the kubeconfig for %s cannot be read: %w; name another file with --%s", s.Cluster, err, s.FileFlag)
	case strings.HasPrefix(text, "couldn't get version/kind"):
		text = "it has no apiVersion: v1 and kind: Config"
	}
	return fmt.Errorf("%s is no kubeconfig: %s; name another file with --%s", file, text, s.FileFlag)
}

// check returns an error if there is no such context, or what it refers to is missing.
func (s Source) check(config *clientcmdapi.Config, name string) error {
	known := names(config.Contexts)
	context := config.Contexts[name]
	switch {
	case len(known) == 0:
		return fmt.Errorf("%s has no contexts, and says nothing about %s; name another file with --%s", s.files(), s.Cluster, s.FileFlag)
	case name == "":
		return fmt.Errorf("no context for %s: %s has no current context; %s", s.Cluster, s.files(), s.choose(known))
	case context == nil && s.Context == "":
		return fmt.Errorf("no context for %s: the current context %q is not in %s; %s", s.Cluster, name, s.files(), s.choose(known))
	case context == nil:
		return fmt.Errorf("--%s: there is no context %q in %s.%s It has: %s", s.ContextFlag, name, s.files(), message.DidYouMean(name, known), list(known))
	}
	cluster := config.Clusters[context.Cluster]
	switch {
	case cluster == nil:
		return fmt.Errorf("context %q of %s names the cluster %q, which is not there. It has: %s", name, s.files(), context.Cluster, list(names(config.Clusters)))
	case cluster.Server == "":
		return fmt.Errorf("cluster %q of %s, which context %q names, has no server", context.Cluster, s.files(), name)
	case context.AuthInfo != "" && config.AuthInfos[context.AuthInfo] == nil:
		return fmt.Errorf("context %q of %s names the user %q, which is not there. It has: %s", name, s.files(), context.AuthInfo, list(names(config.AuthInfos)))
	}
	return nil
}

// choose says how to choose one of the contexts.
func (s Source) choose(known []string) string {
	if s.ContextFlag == "" {
		return fmt.Sprintf("set it with: kubectl --kubeconfig %s config use-context NAME, of: %s", s.files(), list(known))
	}
	return fmt.Sprintf("choose one with --%s: %s", s.ContextFlag, list(known))
}

// maxListed is how many names a message lists.
const maxListed = 20

func list(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxListed], ", "), more)
	}
	return strings.Join(names, ", ")
}

func names[V any](byName map[string]V) []string { return slices.Sorted(maps.Keys(byName)) }
