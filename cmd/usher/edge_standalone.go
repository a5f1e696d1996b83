//go:build linux

package main

import (
	"context"
	"errors"
	"net"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/controllers/lifecycle"
	"github.com/jovalle/usher/controllers/standalone"
	"github.com/jovalle/usher/proxy/takeover"
)

// readStandalone checks the flags of an edge without Kubernetes, and sets those that
// follow from them.
func (s *settings) readStandalone() error {
	if s.standalone == "" {
		return nil
	}
	var errs []error
	switch {
	case !hasAPIServer:
		return badFlag("standalone", "this program was built without an API server, as the image for Kubernetes is: use the Debian package or the program of the release")
	case s.manifests != "":
		errs = append(errs, badFlag("standalone", "usher decides here, and --manifests has the decisions of another process: remove one of them"))
	case s.kubeconfig != "":
		errs = append(errs, badFlag("standalone", "usher serves the API of the edge itself: remove --kubeconfig"))
	case !s.controllers || !s.proxy:
		errs = append(errs, badFlag("standalone", "this process runs both halves: leave --controllers and --proxy on"))
	}
	if s.adminAuth == adminAuthKubernetes {
		errs = append(errs, badFlag("admin-auth", "the API of --standalone issues no tokens: leave it at none, and --admin-listen at a loopback address"))
	}
	for _, host := range s.apiHost {
		if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
			errs = append(errs, badFlag("api-host", "%q is no host name and no IP address", host))
		}
	}
	if err := s.readAPIListen(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	s.runOptions.standalone = absolute(s.standalone)
	dir := standalone.Dir(s.standalone)
	if s.stateDir == "" {
		s.stateDir = dir.State()
	}
	s.leaderElect = true // the old process and the new one run together during an upgrade
	s.edge = asUsher(dir.Client(s.apiServer))
	return errors.Join(errs...)
}

func (s *settings) readAPIListen() error {
	address, err := takeover.ParseAddress(s.apiListen)
	switch {
	case err != nil:
		return nil // readListen reports it
	case address.Port() == 0:
		return badFlag("api-listen", "the kubeconfig names the port: give one, such as 127.0.0.1:6443")
	}
	s.apiServer, err = standalone.LocalServer(s.apiListen)
	return flagError("api-listen", err)
}

// withAPIServer returns the feed from the edge, and with --standalone the API server that it reads.
func (s *settings) withAPIServer(edge lifecycle.EdgeOptions) (lifecycle.Feed, error) {
	if s.standalone == "" {
		return lifecycle.NewEdgeFeed(edge), nil
	}
	process := apiserverOptions{dir: s.standalone, listen: s.apiListen, hosts: s.apiHost, logLevel: s.logLevel, logFormat: s.logFormat}
	supervisor := &standalone.Supervisor{
		Dir: standalone.Dir(s.standalone), Server: s.apiServer, AdminURL: adminURL(s.adminListen),
		Arguments: process.arguments(), Log: edge.Log.WithName("standalone"),
	}
	edge.Await = supervisor.Await
	return &standaloneFeed{lifecycle.NewEdgeFeed(edge), supervisor}, nil
}

// prepareStandalone makes the directory of --standalone, before anything is read of it.
func (s *settings) prepareStandalone(ctx context.Context) error {
	if s.standalone == "" {
		return nil
	}
	if err := standalone.Dir(s.standalone).Prepare(ctx, s.apiServer, adminURL(s.adminListen)); err != nil {
		return badFlag("standalone", "%w", err)
	}
	return nil
}

// adminURL returns the URL of the admin listener for this machine.
func adminURL(listen []string) string {
	for _, address := range listen {
		if local, err := standalone.LocalServer(address); err == nil {
			return "http://" + local
		}
	}
	return localAdmin
}

// standaloneFeed is a feed whose API server runs while it does.
type standaloneFeed struct {
	*lifecycle.EdgeFeed
	supervisor *standalone.Supervisor
}

// Run implements lifecycle.Feed. The API server ends after the controllers, which write
// until then, and before the proxy has drained: the next process waits for it.
func (f *standaloneFeed) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.supervisor.Run(serving)
	}()
	err := f.EdgeFeed.Run(ctx)
	stop()
	<-ended
	return err
}
