// Package crd carries usher's CustomResourceDefinitions, the generated files
// beside it, into programs: what the API server would refuse is refused where
// there is none. It must not import anything of usher.
package crd

import _ "embed" // for the directives below

// ExposedHosts defines the kind ExposedHost, as YAML.
//
//go:embed usher.techn.is_exposedhosts.yaml
var ExposedHosts string

// MemberClusters defines the kind MemberCluster, as YAML.
//
//go:embed usher.techn.is_memberclusters.yaml
var MemberClusters string

// NetworkLists defines the kind NetworkList, as YAML.
//
//go:embed usher.techn.is_networklists.yaml
var NetworkLists string
