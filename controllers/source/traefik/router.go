package traefik

// Router is an HTTP router as Traefik's API shows it. Its namespace is the provider, and its
// name is that of the router without the provider. Spec has one route.
//
// +kubebuilder:object:root=true
type Router struct {
	IngressRoute `json:",inline"`

	Status RouterStatus `json:"status"`
}

// RouterTCP is a TCP router as Traefik's API shows it, as Router.
//
// +kubebuilder:object:root=true
type RouterTCP struct {
	IngressRouteTCP `json:",inline"`

	Status RouterStatus `json:"status"`
}

// RouterStatus is what Traefik says about a router.
type RouterStatus struct {
	// Problem is why the router is not published, whatever it says; empty if nothing
	// prevents it.
	Problem string `json:"problem,omitempty"`
	// Off means that Traefik does not serve the router.
	Off bool `json:"off,omitempty"`
}
