package main

// step is one command that a person would try.
type step struct {
	title   string   // printed above the command, if not empty
	command string   // for bash
	expect  []string // texts that its output must contain
	refuse  string   // text that its output must not contain
	fails   bool     // whether its exit code must not be 0
}

// curl asks usher for a host as a browser would: by its name, over its address.
func curl(host string) string {
	return "curl -sSk --max-time 10 --resolve " + host + ":$HTTPS:127.0.0.1 https://" + host + ":$HTTPS/"
}

const alert = "unrecognized name"

// steps run in order.
var steps = []step{
	{title: "The clusters are connected, and nothing is exposed: no host is answered",
		command: "kubectl get memberclusters", expect: []string{"hades", "illmatic", "True"}, refuse: "False"},
	{command: curl("whoami.techn.is"), expect: []string{alert}, fails: true},

	{title: "Expose one app of each cluster",
		command: "kubectl --kubeconfig $HADES annotate ingressroute whoami usher.techn.is/expose=true"},
	{command: "kubectl --kubeconfig $ILLMATIC annotate ingressroute photos usher.techn.is/expose=true"},
	{command: "kubectl get exposedhosts -o wide", expect: []string{"whoami.techn.is", "hades", "photos.techn.is", "illmatic", "Ready"}, refuse: "False"},
	{command: "kubectl get memberclusters", expect: []string{"hades", "illmatic"}},

	{title: "Each is answered by its own cluster; TLS ends there, not at the edge",
		command: curl("whoami.techn.is"), expect: []string{`"cluster":"hades"`, `"app":"whoami"`}},
	{command: curl("photos.techn.is"), expect: []string{`"cluster":"illmatic"`, `"app":"photos"`}},

	{title: "The private apps stay private",
		command: curl("ledger.techn.is"), expect: []string{alert}, fails: true},
	{command: curl("diary.techn.is"), expect: []string{alert}, fails: true},

	{title: "Plain HTTP is redirected where a host is exposed, and answers nothing else",
		command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code} %{redirect_url}\\n' -H 'Host: whoami.techn.is' \"http://127.0.0.1:$HTTP/a/b?c=d\"",
		expect:  []string{"308 https://whoami.techn.is/a/b?c=d"}},
	{command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code}\\n' -H 'Host: ledger.techn.is' http://127.0.0.1:$HTTP/", expect: []string{"404"}},

	{title: "Take the annotation away: the host is gone",
		command: "kubectl --kubeconfig $HADES annotate ingressroute whoami usher.techn.is/expose-"},
	{command: curl("whoami.techn.is"), expect: []string{alert}, fails: true},
	{command: "kubectl get exposedhosts", expect: []string{"photos.techn.is"}, refuse: "whoami.techn.is"},
}
