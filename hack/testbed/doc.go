// Package testbed starts what usher is tested and shown against: real Kubernetes API servers,
// a real Traefik for each, and small apps behind them. Nothing of Kubernetes is mocked.
//
// A Bed is one etcd and any number of clusters. A Cluster is an API server with a prefix of
// its own on that etcd: RBAC, TokenRequest, CustomResourceDefinitions, server-side apply and
// watches are real. There is no node and, unless StartControllers runs some, no controller, so
// no pods run, a deleted Namespace stays Terminating, owner references delete nothing, a token's
// Secret stays empty, and a LoadBalancer Service gets the address that a test writes into its
// status. Everything listens on loopback, unless Options say otherwise.
//
// The programs are built once by `make testbed`; without them Start says so.
//
// A test that wants a bed for itself:
//
//	bed := testbed.New(t, testbed.Options{Clusters: []string{"hades"}})
//	hades := bed.Cluster("hades")
//	err := hades.Apply(t.Context(), manifests)
//
// The tests of a package had better share one, since an API server takes two seconds of two
// cores. They keep apart by namespaces and host names of their own:
//
//	var bed *testbed.Bed
//
//	func TestMain(m *testing.M) {
//		os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge", "hades"}}))
//	}
//
// A Traefik with an app behind it, asked without usher in between:
//
//	traefik, err := hades.StartTraefik(ctx)
//	app, err := hades.StartApp(ctx, "default", "whoami")
//	err = hades.Apply(ctx, ingressRouteTo(app.Service, app.Port))
//	err = traefik.AwaitHost(ctx, "whoami.example.com")
//	answer, err := testbed.Ask(ctx, testbed.ClientTo(traefik.HTTPS.String()), "https://whoami.example.com/")
//
// All of it ends with the process, however that ends. Data is removed; logs are kept where
// something failed.
//
// The package must not import anything of usher, nor the testing package: the demo uses it too.
package testbed
