package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// An App is a small HTTP server in this process that answers with its name and the request. In a
// cluster it is a Service of type ExternalName to localhost, since there are no pods, and Endpoints
// may not be loopback addresses.
type App struct {
	Namespace, Service string // of the Service in the cluster
	Port               int32  // of the Service, and of the server on loopback
}

// An Answer is what an App answers to any request, as JSON.
type Answer struct {
	Cluster string `json:"cluster"`
	App     string `json:"app"`  // the Service's name
	Host    string `json:"host"` // the request's Host header
	Path    string `json:"path"` // the request's target, with its query

	// The request's X-Forwarded-... headers.
	ForwardedFor   string `json:"forwardedFor,omitempty"`
	ForwardedHost  string `json:"forwardedHost,omitempty"`
	ForwardedPort  string `json:"forwardedPort,omitempty"`
	ForwardedProto string `json:"forwardedProto,omitempty"`
}

// StartApp starts an app and its Service of the given name. The namespace must exist.
func (c *Cluster) StartApp(ctx context.Context, namespace, name string) (*App, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", netip.AddrPortFrom(loopback, 0).String())
	if err != nil {
		return nil, fmt.Errorf("starting app %s: %w", name, err)
	}
	server := &http.Server{Handler: answerAs(c.name, name), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	c.bed.onStop(func() { _ = server.Close() })
	app := &App{Namespace: namespace, Service: name, Port: int32(listener.Addr().(*net.TCPAddr).Port)}
	return app, c.Apply(ctx, app.manifest())
}

func (a *App) manifest() string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %q, namespace: %q}
spec: {type: ExternalName, externalName: localhost, ports: [{name: http, port: %d}]}
`, a.Service, a.Namespace, a.Port)
}

func answerAs(cluster, app string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Answer{
			Cluster:        cluster,
			App:            app,
			Host:           r.Host,
			Path:           r.RequestURI,
			ForwardedFor:   r.Header.Get("X-Forwarded-For"),
			ForwardedHost:  r.Header.Get("X-Forwarded-Host"),
			ForwardedPort:  r.Header.Get("X-Forwarded-Port"),
			ForwardedProto: r.Header.Get("X-Forwarded-Proto"),
		})
	}
}
