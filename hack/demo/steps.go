package main

import "github.com/jovalle/usher/hack/walkthrough"

// curl asks usher for a host as a browser would: by its name, over its address.
func curl(host string) string {
	return "curl -sSk --max-time 10 --resolve " + host + ":$HTTPS:127.0.0.1 https://" + host + ":$HTTPS/"
}

const alert = "unrecognized name"

// steps run in order.
var steps = []walkthrough.Step{
	{Title: "The clusters are connected, and nothing is exposed: no host is answered",
		Command: "kubectl get memberclusters", Expect: []string{"hades", "illmatic", "True"}, Refuse: "False"},
	{Command: curl("whoami.techn.is"), Expect: []string{alert}, Fails: true},

	{Title: "Expose one app of each cluster",
		Command: "kubectl --kubeconfig $HADES annotate ingressroute whoami usher.techn.is/expose=true"},
	{Command: "kubectl --kubeconfig $ILLMATIC annotate ingressroute photos usher.techn.is/expose=true"},
	{Command: "kubectl get exposedhosts -o wide", Expect: []string{"whoami.techn.is", "hades", "photos.techn.is", "illmatic", "Ready"}, Refuse: "False"},
	{Command: "kubectl get memberclusters", Expect: []string{"hades", "illmatic"}},

	{Title: "Each is answered by its own cluster; TLS ends there, not at the edge",
		Command: curl("whoami.techn.is"), Expect: []string{`"cluster":"hades"`, `"app":"whoami"`}},
	{Command: curl("photos.techn.is"), Expect: []string{`"cluster":"illmatic"`, `"app":"photos"`}},

	{Title: "The private apps stay private",
		Command: curl("ledger.techn.is"), Expect: []string{alert}, Fails: true},
	{Command: curl("diary.techn.is"), Expect: []string{alert}, Fails: true},

	{Title: "Plain HTTP is redirected where a host is exposed, and answers nothing else",
		Command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code} %{redirect_url}\\n' -H 'Host: whoami.techn.is' \"http://127.0.0.1:$HTTP/a/b?c=d\"",
		Expect:  []string{"308 https://whoami.techn.is/a/b?c=d"}},
	{Command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code}\\n' -H 'Host: ledger.techn.is' http://127.0.0.1:$HTTP/", Expect: []string{"404"}},

	{Title: "Take the annotation away: the host is gone",
		Command: "kubectl --kubeconfig $HADES annotate ingressroute whoami usher.techn.is/expose-"},
	{Command: curl("whoami.techn.is"), Expect: []string{alert}, Fails: true},
	{Command: "kubectl get exposedhosts", Expect: []string{"photos.techn.is"}, Refuse: "whoami.techn.is"},
}
