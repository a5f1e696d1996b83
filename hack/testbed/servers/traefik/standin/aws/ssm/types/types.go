// Package types has what Traefik reads of AWS Systems Manager.
package types

type (
	InstanceInformation             struct{ InstanceId, IPAddress *string }
	InstanceInformationStringFilter struct {
		Key    *string
		Values []string
	}
)
