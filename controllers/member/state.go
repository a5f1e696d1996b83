package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// Condition is one aspect of a member's state.
type Condition struct {
	True    bool
	Reason  string // of package reason
	Message string
}

// State is what is known of a member.
type State struct {
	// Connected is true while the API server answers.
	Connected Condition
	// Synced is true once all watched objects have been read and while they are watched.
	Synced Condition
	// Version of Kubernetes, empty until the member was first reached.
	Version string
	// Origin of the Config that the member is in sync with; empty if it never was in sync.
	Origin string
	// SyncedAt is when the member last came in sync; zero if it never did.
	SyncedAt time.Time
	// Service that Addresses are read from; the zero value if there is none.
	Service types.NamespacedName
	// ServiceRead is true once the Service has been read. Empty Addresses then mean
	// that the Service has none, or does not exist.
	ServiceRead bool
	// Addresses of the Service's load balancer.
	Addresses []string
	// HTTPSEntryPoints and HTTPEntryPoints are the entry points of Traefik that the
	// ports of the ingress lead to; empty if they are not known.
	HTTPSEntryPoints, HTTPEntryPoints []string
	// Ports are the TLS ports of the ingress other than https.
	Ports []source.Port
	// Traefik that serves the member's sources; the zero value until the member was in sync.
	Traefik Traefik
	// Gateways that do not answer at the ingress, with the addresses of their statuses,
	// the oldest first; only if hosts are led to them.
	Gateways []Gateway
	// Refusals of sources that do not concern a single host, the newest sources first,
	// and of objects of kinds that are not read.
	Refusals []v1alpha1.SourceRefusal
	// Unannotated are the objects that use isolating TLS options without the
	// annotation, sorted.
	Unannotated []v1alpha1.SourceRef
}

// maxVersion bounds the version that a member reports, in characters: it is written
// into a status.
const maxVersion = 64

// failure returns the condition for an error of a request to an API server.
func failure(err error) Condition {
	why, advice := classify(err)
	if of := (*traefikError)(nil); errors.As(err, &of) {
		advice = adviceTraefik(why)
	}
	return Condition{Reason: why, Message: message.Format("%s: %s", advice, message.Of(err))}
}

func classify(err error) (why, advice string) {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		network   net.Error
	)
	switch {
	case errors.Is(err, errTooLarge):
		return reason.TooLarge, "the API server sends too much data, and usher waits before it tries again; check what fills the cluster, or who answers in its place"
	case errors.Is(err, errRedirect):
		return reason.Error, "the kubeconfig's server answers with a redirect, which usher does not follow; put the API server's own address into it"
	case errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &record):
		return reason.CertificateInvalid, "the API server's certificate does not match the kubeconfig; put its CA into certificate-authority-data, or add the cluster again"
	case apierrors.IsUnauthorized(err):
		return reason.Unauthorized, "the API server does not accept the kubeconfig's credentials; they may have expired: add the cluster again to rotate them"
	case apierrors.IsForbidden(err):
		return reason.Forbidden, "the kubeconfig's user lacks a permission; add the cluster again to renew its role"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network):
		return reason.Unreachable, "the API server does not answer; check that it runs and that the edge can reach it"
	}
	return reason.Error, "the API server answered with an error"
}

// traefikError is an error of a request to Traefik's API.
type traefikError struct{ error }

func ofTraefik(err error) error {
	if err == nil {
		return nil
	}
	return &traefikError{err}
}

func (e *traefikError) Unwrap() error { return e.error }

// adviceTraefik returns what to do about an error of a request to Traefik's API.
func adviceTraefik(why string) string {
	switch why {
	case reason.TooLarge:
		return "Traefik's API sends too much data, and usher waits before it tries again; check what answers at spec.traefik.url"
	case reason.CertificateInvalid:
		return "the certificate of Traefik's API is not that of spec.traefik.url; put its CA into spec.traefik.caBundle, or correct the URL"
	case reason.Unauthorized, reason.Forbidden:
		return "Traefik's API does not accept the credentials; correct the Secret of spec.traefik.secretName, or the middleware of the API's router"
	case reason.Unreachable:
		return "Traefik's API does not answer; check that it runs and that the edge can reach spec.traefik.url"
	}
	return "Traefik's API does not answer as it should; check spec.traefik.url, and that a router of Traefik leads from there to api@internal"
}
