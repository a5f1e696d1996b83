package member

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// schemaPath is the path at which an API server publishes the schema of Traefik's kinds.
// Every account that may use discovery may read it.
var schemaPath = "/openapi/v3/apis/" + traefik.GroupVersion.String()

// schemaAgain is the interval between two requests for a schema that cannot be parsed,
// or that has no ETag: a response may be as long as maxAnswer.
const schemaAgain = time.Minute

// traefikKinds describes the CRDs of Traefik's kinds in a cluster.
type traefikKinds struct {
	current bool // the cluster serves the API group traefik.io
	former  bool // the cluster serves traefik.containo.us, which Traefik 3 does not read
	schema  routeSchema
	etag    string    // of the schema; empty if none was read
	again   time.Time // when the schema may be requested next
}

// routeSchema is whether a route of an IngressRoute has a field for its syntax.
type routeSchema int

const (
	schemaUnknown routeSchema = iota
	withoutSyntax             // of Traefik 2
	withSyntax                // of Traefik 3
)

// ruleSyntax returns the default syntax of the Traefik version that the CRDs belong to,
// and the CRD's property that shows it. Both are empty if the version is not clear.
func (k traefikKinds) ruleSyntax() (syntax v1alpha1.RuleSyntax, by string) {
	switch {
	case k.former && !k.current:
		return v1alpha1.RuleSyntaxV2, "API group " + traefik.ContainousGroupVersion.Group
	case k.current && k.schema == withoutSyntax:
		return v1alpha1.RuleSyntaxV2, "schema of IngressRoute, without routes[].syntax"
	case k.current && k.schema == withSyntax && !k.former:
		return v1alpha1.RuleSyntaxV3, "schema of IngressRoute, with routes[].syntax"
	}
	return "", ""
}

// learnKinds records which of Traefik's kinds the cluster serves, and requests their
// schema. If the schema cannot be read, the last known one stays: an error shows
// nothing about the CRDs, and the schema of a new CRD is published only after the CRD
// is served.
func (s *session) learnKinds(ctx context.Context, served []kind) {
	known := s.knownKinds()
	serves := func(gv schema.GroupVersion) bool {
		return slices.ContainsFunc(served, func(k kind) bool { return k.gvk.GroupVersion() == gv })
	}
	known.current, known.former = serves(traefik.GroupVersion), serves(traefik.ContainousGroupVersion)
	if known.current {
		s.fetchSchema(ctx, &known)
	} else {
		known.schema, known.etag = schemaUnknown, ""
	}
	s.mu.Lock()
	s.traefikKinds = known
	s.mu.Unlock()
	s.detect()
}

// knownKinds returns what is known of Traefik's CRDs.
func (s *session) knownKinds() traefikKinds {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.traefikKinds
}

// fetchSchema requests the schema with its last ETag, and parses it if it has changed.
func (s *session) fetchSchema(ctx context.Context, known *traefikKinds) {
	if time.Now().Before(known.again) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := s.discovery.RESTClient().Get().AbsPath(schemaPath).URL()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url.String(), nil)
	if err != nil {
		return
	}
	request.Header.Set("Accept", "application/json")
	if known.etag != "" {
		request.Header.Set("If-None-Match", known.etag)
	}
	response, err := s.client.Do(request)
	if ctx.Err() != nil {
		known.again = time.Now().Add(schemaAgain) // else each probe would take as long
	}
	if err != nil {
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return // mostly 304 Not Modified
	}
	found, err := readSchema(response.Body)
	known.etag = fmt.Sprintf("%.*s", maxVersion, response.Header.Get("ETag"))
	if err != nil || known.etag == "" {
		known.again = time.Now().Add(schemaAgain)
	}
	if found != schemaUnknown {
		known.schema = found
	}
}

// routeDocument is the part of an OpenAPI document that usher reads.
type routeDocument struct {
	Components struct {
		Schemas struct {
			IngressRoute routeObject `json:"io.traefik.v1alpha1.IngressRoute"`
		} `json:"schemas"`
	} `json:"components"`
}

// routeObject is the part of IngressRoute's schema that usher reads.
type routeObject struct {
	Properties struct {
		Spec struct {
			Properties struct {
				Routes struct {
					Items struct {
						Properties struct {
							Match  *struct{} `json:"match"`
							Syntax *struct{} `json:"syntax"`
						} `json:"properties"`
					} `json:"items"`
				} `json:"routes"`
			} `json:"properties"`
		} `json:"spec"`
	} `json:"properties"`
}

// readSchema reads an OpenAPI document of at most maxAnswer bytes.
func readSchema(document io.Reader) (routeSchema, error) {
	data, err := io.ReadAll(document)
	if err != nil {
		return schemaUnknown, err
	}
	var d routeDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return schemaUnknown, err
	}
	switch route := d.Components.Schemas.IngressRoute.Properties.Spec.Properties.Routes.Items.Properties; {
	case route.Match == nil: // the schema is not published yet, or the CRD has none
		return schemaUnknown, nil
	case route.Syntax == nil:
		return withoutSyntax, nil
	}
	return withSyntax, nil
}
