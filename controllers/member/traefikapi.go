package member

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
)

// TraefikAPI says how to read the routers of a Traefik without Kubernetes.
type TraefikAPI struct {
	// URL without the path /api.
	URL *url.URL
	// Username and Password, or Token, are sent with each request, unless they are empty.
	Username, Password, Token string
	// Authorities that may sign the certificate; nil: those that the world trusts.
	Authorities *x509.CertPool
	// Interval between two requests.
	Interval time.Duration
	// PublicEntryPoint is the entry point whose routers may be published; empty: none.
	PublicEntryPoint string
	// Isolating are the TLS options of routers that may be published too; nil: none.
	Isolating *v1alpha1.TLSOptionsRef
}

// defaultInterval is spec.traefik.interval where an older definition has not set it.
const defaultInterval = 10 * time.Second

// Limits of a Secret's values for Traefik's API, in bytes.
const maxCredential = 4096

// ErrTraefik marks a spec.traefik that cannot be used.
var ErrTraefik = errors.New("spec.traefik cannot be used")

// ParseTraefik reads spec.traefik and the data of its Secret, and returns a Config with
// Traefik and Origin. The error wraps ErrTraefik and names the field.
func ParseTraefik(spec *v1alpha1.TraefikAPI, isolation *v1alpha1.Isolation, secret map[string][]byte) (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s", ErrTraefik, message.Format(format, args...))
	}
	api := &TraefikAPI{Interval: defaultInterval, PublicEntryPoint: spec.PublicEntryPoint}
	if spec.Interval != nil {
		api.Interval = spec.Interval.Duration
	}
	if isolation != nil {
		api.Isolating = &isolation.TLSOptions
	}
	at, err := url.Parse(spec.URL)
	switch {
	case err != nil:
		return bad("spec.traefik.url: %s is not a URL; write it as https://traefik.home.arpa", message.Quote(spec.URL))
	case at.User != nil || at.RawQuery != "" || at.Fragment != "":
		return bad("spec.traefik.url: %s has a user, a query or a fragment; put the user into the Secret of spec.traefik.secretName", message.Quote(at.Redacted()))
	case at.Scheme == "http" && !isLoopback(at.Hostname()):
		return bad("spec.traefik.url: %s is not encrypted, and its answers decide what is published; use https://, or http:// with a loopback address", message.Quote(spec.URL))
	case strings.HasSuffix(strings.TrimSuffix(at.Path, "/"), "/api"):
		return bad("spec.traefik.url: write it without the path /api")
	}
	api.URL = at.JoinPath("/")
	if len(spec.CABundle) > 0 {
		api.Authorities = x509.NewCertPool()
		if !api.Authorities.AppendCertsFromPEM(spec.CABundle) {
			return bad("spec.traefik.caBundle: it has no PEM certificate")
		}
	}
	for key, value := range map[string]*string{"username": &api.Username, "password": &api.Password, "token": &api.Token} {
		if len(secret[key]) > maxCredential || bytes.ContainsAny(secret[key], "\r\n\x00") {
			return bad("Secret %s, key %s: it has a line break, or more than %d bytes", spec.SecretName, key, maxCredential)
		}
		*value = string(secret[key])
	}
	switch {
	case spec.SecretName == "":
	case api.Token != "" && api.Username+api.Password != "":
		return bad("Secret %s: it has a token, and a username or a password; remove one of them", spec.SecretName)
	case api.Token == "" && (api.Username == "" || api.Password == ""):
		return bad("Secret %s: it needs the keys username and password, or the key token", spec.SecretName)
	}
	return Config{Traefik: api, ServiceOptional: true, Origin: api.origin(spec.CABundle)}, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// origin identifies all that the routers that are read, and their consent, depend on.
func (a *TraefikAPI) origin(authorities []byte) string {
	identity, _ := json.Marshal([]any{a.URL.String(), a.Username, a.Password, a.Token, authorities, a.Interval, a.PublicEntryPoint, a.Isolating})
	return digest(identity, "traefik")
}

// newClient returns a client with the bounds of a member. It follows no redirect: the
// credentials go to the URL alone.
func (a *TraefikAPI) newClient() *http.Client {
	return &http.Client{
		Transport: &boundedTransport{RoundTripper: &http.Transport{
			DialContext: newDialer().DialContext, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true,
			TLSClientConfig:        &tls.Config{RootCAs: a.Authorities, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 16 << 10, DisableCompression: true, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute,
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // for one without a Location
	}
}

// apiRouter is a router as Traefik's API shows it.
type apiRouter struct {
	Name        string     `json:"name"`
	Provider    string     `json:"provider"`
	Rule        string     `json:"rule"`
	RuleSyntax  string     `json:"ruleSyntax"`
	Status      string     `json:"status"`
	Errors      []string   `json:"error"`
	EntryPoints []string   `json:"entryPoints"`
	Using       []string   `json:"using"`
	TLS         *routerTLS `json:"tls"`
}

type routerTLS struct {
	Options     string `json:"options"`
	Passthrough bool   `json:"passthrough"`
}

// apiVersion is the answer to /api/version.
type apiVersion struct {
	Version   string    `json:"Version"`
	StartDate time.Time `json:"startDate"`
}

const (
	// routersPerPage is how many routers are requested at once, and maxRouterPages how many
	// pages at most.
	routersPerPage = 500
	maxRouterPages = 100
	// maxAPIWait bounds one request.
	maxAPIWait = 10 * time.Second
	// nextPage is Traefik's header with the number of the next page; 1 after the last one.
	nextPage = "X-Next-Page"
)

// errOtherProgram is an answer that Traefik's API does not give.
var errOtherProgram = errors.New("the answer is not one of Traefik's API")

// version requests the version of Traefik, and the time at which it began by its own clock.
func (r *routers) version(ctx context.Context) (is apiVersion, uptime time.Duration, err error) {
	header, err := r.get(ctx, "api/version", nil, &is)
	if err != nil {
		return is, 0, err
	}
	if is.Version == "" || is.StartDate.IsZero() {
		return is, 0, fmt.Errorf("%w: it has no version and no startDate", errOtherProgram)
	}
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return is, now.Sub(is.StartDate), nil
}

// list requests all routers of a protocol. It fails unless all pages were read.
func (r *routers) list(ctx context.Context, protocol string) (all []apiRouter, pages int, err error) {
	for page := 1; ; {
		var some []apiRouter
		query := url.Values{"page": {strconv.Itoa(page)}, "per_page": {strconv.Itoa(routersPerPage)}}
		header, err := r.get(ctx, "api/"+protocol+"/routers", query, &some)
		if err != nil {
			return nil, page, err
		}
		all = append(all, some...)
		switch next := header.Get(nextPage); {
		case next == "1":
			return all, page, nil
		case next != strconv.Itoa(page+1):
			return nil, page, fmt.Errorf("%w: after page %d comes page %.20q", errOtherProgram, page, next)
		case page == maxRouterPages:
			return nil, page, fmt.Errorf("%w: more than %d routers", errTooLarge, maxRouterPages*routersPerPage)
		}
		page++
	}
}

// get requests a path and decodes the answer.
func (r *routers) get(ctx context.Context, path string, query url.Values, into any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, maxAPIWait)
	defer cancel()
	api := r.session.config.Traefik
	at := api.URL.JoinPath(path)
	at.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "usher")
	request.Header.Set("Accept", "application/json")
	switch {
	case api.Token != "":
		request.Header.Set("Authorization", "Bearer "+api.Token)
	case api.Username != "":
		request.SetBasicAuth(api.Username, api.Password)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, apierrors.NewGenericServerResponse(response.StatusCode, http.MethodGet, schema.GroupResource{Resource: "/" + path}, "", http.StatusText(response.StatusCode), 0, false)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("%w: %w", errOtherProgram, err)
	}
	return response.Header, nil
}

// plainName are the names that a status may show: Docker's labels and files allow others.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/+@-]{0,252}$`)

// nameOfRouter returns the namespace and the name of a router as a source, and why its own
// name cannot be shown; empty if it can.
func nameOfRouter(r *apiRouter) (namespace, name, problem string) {
	namespace, name = r.Provider, r.Name
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		name, namespace = name[:i], name[i+1:]
	}
	if len(namespace) > 63 || !plainName.MatchString(namespace) {
		namespace, problem = "unknown", message.Format("the name of its provider, %s, has characters that a status cannot show", message.Quote(namespace))
	}
	if !plainName.MatchString(name) {
		sum := sha256.Sum256([]byte(r.Name))
		problem = message.Format("its name, %s, has characters that a status cannot show; rename it", message.Quote(name))
		name = "unnamed-" + hex.EncodeToString(sum[:4])
	}
	return namespace, name, problem
}

// problemOf returns why Traefik does not serve a router soundly; off says that it does not
// serve it at all.
func problemOf(r *apiRouter) (problem string, off bool) {
	if r.Status == "enabled" {
		return "", false
	}
	said := ""
	if len(r.Errors) > 0 {
		said = ": " + r.Errors[0]
	}
	return message.Format("Traefik says that the router is %s%s", message.Quote(r.Status), said), r.Status == "disabled"
}

// servedOn returns the entry points that serve a router.
func servedOn(r *apiRouter) []string {
	if len(r.Using) > 0 {
		return r.Using
	}
	return r.EntryPoints
}
