// Package testbed starts the servers for usher's tests and demo: real Kubernetes API servers, a
// real Traefik for each, and small apps behind them. Nothing of Kubernetes is mocked.
//
// A Bed is one etcd and any number of clusters. A Cluster is an API server with its own prefix in
// that etcd: RBAC, TokenRequest, CustomResourceDefinitions, server-side apply and watches are
// real. There is no node and, unless StartControllers starts some, no controller. Therefore no pods
// run, a deleted Namespace stays Terminating, owner references have no effect, the Secret of a token
// stays empty, and a test itself writes the address of a LoadBalancer Service into its status. All
// servers listen on loopback unless Options.Address is set.
//
// The programs are built once by `make testbed`. If they are missing, Start returns an error that
// says so.
//
// A test with its own bed:
//
//	bed := testbed.New(t, testbed.Options{Clusters: []string{"hades"}})
//	hades := bed.Cluster("hades")
//	err := hades.Apply(t.Context(), manifests)
//
// The tests of a package should share a bed, since the start of an API server takes two seconds of
// two cores. Each test then uses its own namespaces and host names:
//
//	var bed *testbed.Bed
//
//	func TestMain(m *testing.M) {
//		os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge", "hades"}}))
//	}
//
// A Traefik with an app behind it, and a request without usher in between:
//
//	traefik, err := hades.StartTraefik(ctx)
//	app, err := hades.StartApp(ctx, "default", "whoami")
//	err = hades.Apply(ctx, ingressRouteTo(app.Service, app.Port))
//	err = traefik.AwaitHost(ctx, "whoami.example.com")
//	answer, err := testbed.GetAnswer(ctx, testbed.ClientTo(traefik.HTTPS.String()), "https://whoami.example.com/")
//
// All servers are killed when the process ends, for any reason. Data is removed. Logs are kept after
// a failure.
//
// The package must not import anything of usher, nor the testing package: the demo uses it too.
package testbed
