// Package types has what Traefik reads of AWS EC2.
package types

type (
	InstanceStateName string
	InstanceState     struct{ Name InstanceStateName }
	Instance          struct {
		InstanceId, PrivateIpAddress *string
		State                        *InstanceState
	}
	Reservation struct{ Instances []Instance }
)

const InstanceStateNameRunning InstanceStateName = "running"
