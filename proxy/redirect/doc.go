// Package redirect answers plain HTTP: it sends the browsers of exposed hosts
// to HTTPS, lets ACME challenges through to the cluster that asked for a
// certificate, and forwards hosts that want to be reached without TLS. Anything
// else gets one and the same empty 404.
//
// It must not import Kubernetes, nor the controllers.
package redirect
