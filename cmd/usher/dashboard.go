package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/adminclient"
	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/proxy/accept"
)

const (
	defaultDashboardPort = 8090
	// reconnectAfter is the pause before the next pod is looked for.
	reconnectAfter = 2 * time.Second
)

// dashboardOptions are the flags of usher dashboard.
type dashboardOptions struct {
	clusterOptions // of the edge cluster, and the namespace of the pods
	port           int
	pod, account   string
}

func dashboardCommand() *cobra.Command {
	o := dashboardOptions{}
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show the status page of usher in a browser",
		Long: `Dashboard forwards a port of this machine to the admin listener of usher's pod, as
kubectl port-forward does, and prints the address of the status page. It chooses the
pod that leads, and another one when that ends. It stays until it is interrupted.

Where usher runs with --admin-auth=kubernetes, the command requests a token of the
ServiceAccount in --account, and sends it with each request; your own credentials do
not leave this machine. Every program on this machine can use the port meanwhile.`,
		Example: `  usher dashboard
  usher dashboard --edge-context edge --port 9000`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			quiet()
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&o.port, "port", defaultDashboardPort, "`PORT` of 127.0.0.1; 0: a free one")
	flags.StringVar(&o.pod, "pod", "", "`NAME` of the pod (default: the leader's)")
	flags.StringVar(&o.account, "account", adminclient.DefaultViewer, "`NAME` of a ServiceAccount in the namespace that may read the admin listener, for an usher with --admin-auth=kubernetes")
	o.namespaceFlag(cmd)
	o.edgeFlags(cmd)
	complete(cmd, map[string]cobra.CompletionFunc{"edge-context": contexts(o.edgeSource)})
	return cmd
}

// run forwards the port until ctx ends. It fails only if no pod is reached at first.
func (o *dashboardOptions) run(ctx context.Context, out, warnings io.Writer) error {
	errs := []error{flagError("namespace", enroll.CheckName(o.Namespace)), flagError("account", enroll.CheckName(o.account))}
	if o.port < 0 || o.port > 65535 {
		errs = append(errs, badFlag("port", "%d is not a port: give 1 to 65535, or 0 for a free one", o.port))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	edge, err := o.edgeSource().Load()
	if err != nil {
		return &usageError{err}
	}
	viewer, err := adminclient.NewViewer(edge.REST, o.Namespace, o.account)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return badFlag("port", "%w: give another one", err)
	}
	page := &forwarded{viewer: viewer}
	server := &http.Server{Handler: page.handler(), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(accept.Retrying(listener, nil))
	}()
	defer func() {
		_ = server.Close()
		<-served
	}()
	forwarding := adminclient.Forwarding{Config: edge.REST, Namespace: o.Namespace, Pod: o.pod}
	for reached := false; ; {
		err := forwarding.Run(ctx, func(pod string, port uint16) {
			page.port.Store(uint32(port))
			if reached {
				fmt.Fprintf(warnings, "Connected to pod %s.\n", pod)
				return
			}
			reached = true
			fmt.Fprintf(out, "The status page of pod %s: http://%s/\nPress Ctrl-C to end.\n", pod, listener.Addr())
		})
		page.port.Store(0)
		switch {
		case ctx.Err() != nil:
			return nil
		case !reached:
			return edge.Failure(err)
		}
		fmt.Fprintf(warnings, "usher: %v; looking for a pod again\n", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectAfter):
		}
	}
}

// forwarded serves what the forwarded port does.
type forwarded struct {
	port   atomic.Uint32 // of the port-forward; 0: there is none now
	viewer *adminclient.Viewer
}

// handler passes requests on as they are: usher itself checks where they come from.
func (f *forwarded) handler() http.Handler {
	return &httputil.ReverseProxy{
		Transport: f,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", f.port.Load())})
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "usher's pod does not answer: "+err.Error(), http.StatusBadGateway)
		},
	}
}

// RoundTrip implements http.RoundTripper.
func (f *forwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.port.Load() == 0 {
		return nil, errors.New("there is no connection to it")
	}
	return f.viewer.RoundTrip(r)
}
