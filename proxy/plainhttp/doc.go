// Package plainhttp answers plain HTTP: it redirects the browsers of exposed
// hosts to HTTPS, lets ACME challenges through to the cluster that asked for a
// certificate, and forwards the requests for hosts that are published without
// TLS. Anything else gets one and the same empty 404.
//
// It must not import Kubernetes, nor the controllers.
package plainhttp
