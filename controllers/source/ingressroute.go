package source

import "github.com/jovalle/usher/controllers/source/traefik"

// FromIngressRoute reads a Traefik IngressRoute of either API group.
func FromIngressRoute(route *traefik.IngressRoute, in Context) Result {
	return Result{}
}

// FromIngressRouteTCP reads a Traefik IngressRouteTCP of either API group.
func FromIngressRouteTCP(route *traefik.IngressRouteTCP, in Context) Result {
	return Result{}
}
