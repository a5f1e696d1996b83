package main

import "github.com/jovalle/usher/hack/walkthrough"

// curl asks usher for a host as a browser would: by its name, over its address.
func curl(host string) string {
	return "curl -sS --max-time 10 --cacert $CA --resolve " + host + ":$HTTPS:127.0.0.1 https://" + host + ":$HTTPS/"
}

const alert = "unrecognized name"

// steps run in order.
var steps = []walkthrough.Step{
	{Title: "Two clusters, hades and illmatic, each with one host. This is hades:",
		Command: "cat $HOSTS/hades.yaml", Expect: []string{"whoami.techn.is"}},

	{Title: "Each host is answered by its own cluster; curl checks the certificate, since TLS ends there and not at the edge",
		Command: curl("whoami.techn.is"), Expect: []string{"hades answers for whoami.techn.is"}},
	{Command: curl("photos.techn.is"), Expect: []string{"illmatic answers for photos.techn.is"}},

	{Title: "A name that no file lists is refused with a TLS alert; no cluster sees the connection",
		Command: curl("ledger.techn.is"), Expect: []string{alert}, Fails: true},

	{Title: "Plain HTTP is redirected where a host is exposed, and answers nothing else",
		Command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code} %{redirect_url}\\n' -H 'Host: whoami.techn.is' \"http://127.0.0.1:$HTTP/a/b?c=d\"",
		Expect:  []string{"308 https://whoami.techn.is/a/b?c=d"}},
	{Command: "curl -sS --max-time 10 -o /dev/null -w '%{http_code}\\n' -H 'Host: ledger.techn.is' http://127.0.0.1:$HTTP/", Expect: []string{"404"}},

	{Title: "Edit a file: the new name is served, and the old one refused, at once",
		Command: "sed -i s/whoami/ledger/ $HOSTS/hades.yaml"},
	{Command: curl("ledger.techn.is"), Expect: []string{"hades answers for ledger.techn.is"}},
	{Command: curl("whoami.techn.is"), Expect: []string{alert}, Fails: true},
}
