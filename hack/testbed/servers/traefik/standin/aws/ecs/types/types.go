// Package types has what Traefik reads of AWS ECS.
package types

type (
	DesiredStatus     string
	HealthStatus      string
	NetworkMode       string
	TransportProtocol string

	Task struct {
		TaskArn, Group, LastStatus              *string
		ContainerInstanceArn, TaskDefinitionArn *string
		HealthStatus                            HealthStatus
		Containers                              []Container
		Attachments                             []struct{}
	}
	Container struct {
		Name              *string
		NetworkInterfaces []NetworkInterface
		NetworkBindings   []NetworkBinding
	}
	NetworkInterface struct{ PrivateIpv4Address, Ipv6Address *string }
	NetworkBinding   struct {
		HostPort, ContainerPort *int32
		Protocol                TransportProtocol
	}
	ContainerInstance struct{ Ec2InstanceId, ContainerInstanceArn *string }
	TaskDefinition    struct {
		ContainerDefinitions []ContainerDefinition
		NetworkMode          NetworkMode
	}
	ContainerDefinition struct {
		Name         *string
		DockerLabels map[string]string
		PortMappings []NetworkBinding
	}
)

const (
	DesiredStatusRunning  DesiredStatus     = "RUNNING"
	HealthStatusHealthy   HealthStatus      = "HEALTHY"
	HealthStatusUnhealthy HealthStatus      = "UNHEALTHY"
	NetworkModeAwsvpc     NetworkMode       = "awsvpc"
	TransportProtocolTcp  TransportProtocol = "tcp"
)
