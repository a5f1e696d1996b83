package member

import (
	"fmt"
	"strings"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// weakness is a setting of a kubeconfig that lets someone other than the member answer,
// or makes the edge impersonate another account.
type weakness struct{ field, why, instead string }

func (w weakness) refusal() string {
	return fmt.Sprintf("%s: %s; %s, or set spec.kubeconfig.insecure: true", w.field, w.why, w.instead)
}

// weaknesses returns the weaknesses of a context. checkSelfContained must have accepted
// the context.
func weaknesses(raw *clientcmdapi.Config, context string) []weakness {
	cluster, user := raw.Clusters[raw.Contexts[context].Cluster], raw.AuthInfos[raw.Contexts[context].AuthInfo]
	var all []weakness
	for _, w := range []struct {
		has bool
		weakness
	}{
		{!strings.HasPrefix(strings.ToLower(cluster.Server), "https://"), weakness{"server", "it is not an https:// URL, so the credentials may be sent in clear text", "write https:// before the address"}},
		{cluster.InsecureSkipTLSVerify, weakness{"insecure-skip-tls-verify", "anyone on the network path can answer for the cluster and read the credentials", "put the cluster's CA into certificate-authority-data"}},
		{cluster.ProxyURL != "", weakness{"proxy-url", "the edge would connect to an address that the kubeconfig chooses", "leave it out"}},
		{user.Impersonate != "" || user.ImpersonateUID != "" || len(user.ImpersonateGroups) > 0 || len(user.ImpersonateUserExtra) > 0,
			weakness{"as", "an account that may impersonate others may do more than read", "use the token of a read-only account, as usher cluster add creates it"}},
	} {
		if w.has {
			all = append(all, w.weakness)
		}
	}
	return all
}
