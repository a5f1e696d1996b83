// Package redis stands in for the key-value store that this Traefik build leaves out. It registers no store,
// so that a Redis provider cannot be initialized.
package redis

import "crypto/tls"

// StoreName is the name under which nothing is registered.
const StoreName = "redis"

type (
	// Config configures the store.
	Config struct {
		TLS                *tls.Config
		Username, Password string
		DB                 int
		Sentinel           *Sentinel
	}
	// Sentinel configures the store with Redis Sentinel.
	Sentinel struct {
		MasterName, Username, Password                                                     string
		ClusterClient, RouteByLatency, RouteRandomly, ReplicaOnly, UseDisconnectedReplicas bool
	}
)
