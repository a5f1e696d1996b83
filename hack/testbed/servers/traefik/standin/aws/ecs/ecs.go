// Package ecs stands in for the client of AWS ECS that this Traefik build leaves out.
package ecs

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

type (
	// Client is never built: see package config.
	Client struct{}

	ListClustersInput  struct{}
	ListClustersOutput struct{ ClusterArns []string }

	ListTasksInput struct {
		Cluster       *string
		DesiredStatus types.DesiredStatus
	}
	ListTasksOutput struct{ TaskArns []string }

	DescribeTasksInput struct {
		Cluster *string
		Tasks   []string
	}
	DescribeTasksOutput struct{ Tasks []types.Task }

	DescribeContainerInstancesInput struct {
		Cluster            *string
		ContainerInstances []string
	}
	DescribeContainerInstancesOutput struct{ ContainerInstances []types.ContainerInstance }

	DescribeTaskDefinitionInput  struct{ TaskDefinition *string }
	DescribeTaskDefinitionOutput struct{ TaskDefinition *types.TaskDefinition }

	// Paginator has no pages.
	Paginator[Page any] struct{}
)

func NewFromConfig(aws.Config) *Client { return &Client{} }

func NewListClustersPaginator(*Client, *ListClustersInput) *Paginator[ListClustersOutput] {
	return &Paginator[ListClustersOutput]{}
}

func NewListTasksPaginator(*Client, *ListTasksInput) *Paginator[ListTasksOutput] {
	return &Paginator[ListTasksOutput]{}
}

func (*Paginator[Page]) HasMorePages() bool { return false }

func (*Paginator[Page]) NextPage(context.Context) (*Page, error) { return nil, errors.ErrUnsupported }

func (*Client) DescribeTasks(context.Context, *DescribeTasksInput) (*DescribeTasksOutput, error) {
	return nil, errors.ErrUnsupported
}

func (*Client) DescribeContainerInstances(context.Context, *DescribeContainerInstancesInput) (*DescribeContainerInstancesOutput, error) {
	return nil, errors.ErrUnsupported
}

func (*Client) DescribeTaskDefinition(context.Context, *DescribeTaskDefinitionInput) (*DescribeTaskDefinitionOutput, error) {
	return nil, errors.ErrUnsupported
}
