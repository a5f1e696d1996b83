package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/jovalle/usher/hack/testbed/process"
)

// Traefik is its TCP routers, from a file. It makes a router and a rule of each
// name.
func Traefik(binary string) Peer {
	return Peer{Name: "Traefik", Descriptors: 6, MaxHosts: 10_000, version: []string{binary, "version"}, command: func(s Site) (process.Command, error) {
		router := 0
		routers := s.table(func(host string, backend int) string {
			router++
			return fmt.Sprintf(traefikRouter, router, host, backend)
		})
		services := s.servers(func(i int, backend Address) string {
			return fmt.Sprintf("    b%d: {loadBalancer: {servers: [{address: %q}]}}\n", i, backend.String())
		})
		file, err := s.write("traefik.yml", "tcp:\n  routers:\n"+routers+"  services:\n"+services)
		return process.Command{Path: binary, Args: []string{
			"--entrypoints.edge.address=" + s.Listen, "--providers.file.filename=" + file, "--log.level=ERROR",
			"--global.checknewversion=false", "--global.sendanonymoususage=false",
		}}, err
	}}
}

const traefikRouter = "    r%d: {entryPoints: [edge], rule: \"HostSNI(`%s`)\", service: b%d, tls: {passthrough: true}}\n"

// Baseline is the plain proxy of package baseline, which binary runs when its
// first argument is command.
func Baseline(binary, command string) Peer {
	return Peer{Name: "plain Go", Descriptors: 6, command: func(s Site) (process.Command, error) {
		hosts, err := s.write("hosts", s.table(func(host string, backend int) string {
			return fmt.Sprintf("%s %s\n", host, s.Backends[backend])
		}))
		return process.Command{Path: binary, Args: []string{command, s.Listen, hosts}}, err
	}}
}

// UsherOptions are what a variant of usher does besides its defaults.
type UsherOptions struct {
	Flags         []string
	Env           []string
	ProxyProtocol string   // towards the backends; none when empty
	AllowFrom     []string // of every host
	Strategy      string   // of every host; Failover when empty
	Backends      int      // clusters of every host; one when 0
	Page          bool     // the status page is open and live
}

// Usher is the real binary, without an API server: its hosts and the clusters
// that they belong to are manifests.
func Usher(name, binary string, o UsherOptions) Peer {
	warm := scrape
	if o.Page {
		warm = func(ctx context.Context, s Site) error { return errors.Join(scrape(ctx, s), openPage(s)) }
	}
	return Peer{Name: name, Descriptors: 2, version: []string{binary, "version"}, warm: warm, command: func(s Site) (process.Command, error) {
		dir, err := o.writeManifests(s)
		return process.Command{Path: binary, Env: o.Env, Args: append([]string{
			"run", "--controllers=false", "--manifests", dir,
			"--https-listen", s.Listen, "--http-listen", "127.0.0.1:0", "--admin-listen", s.Admin,
		}, o.Flags...)}, err
	}}
}

// scrapes is how many times usher is asked for its metrics before it is
// measured: enough to make the garbage collector drop what the start has left.
const scrapes = 300

func scrape(ctx context.Context, s Site) error {
	for range scrapes {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+"/metrics", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("scrape usher: %w", err)
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil {
			return fmt.Errorf("scrape usher: %w", err)
		}
	}
	return nil
}

// openPage follows the events of the status page, as a browser does, until usher ends.
func openPage(s Site) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.Admin+"/events", http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // it is open until usher ends
	if err != nil {
		return fmt.Errorf("open the status page: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return fmt.Errorf("open the status page: %s", response.Status)
	}
	go func() {
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
	}()
	return nil
}
