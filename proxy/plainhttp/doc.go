// Package plainhttp serves plain HTTP. It redirects requests for exposed hosts to
// HTTPS, forwards ACME challenges to the cluster that requested the certificate,
// and forwards requests for hosts that are published without TLS. All other
// requests get the same empty 404.
//
// It must not import Kubernetes, nor the controllers.
package plainhttp
