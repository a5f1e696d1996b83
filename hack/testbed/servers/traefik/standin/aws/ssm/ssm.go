// Package ssm stands in for the client of AWS Systems Manager that this Traefik build leaves out.
package ssm

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

type (
	// Client is never built: see package config.
	Client struct{}

	DescribeInstanceInformationInput struct {
		Filters []types.InstanceInformationStringFilter
	}
	DescribeInstanceInformationOutput struct {
		InstanceInformationList []types.InstanceInformation
	}

	// Paginator has no pages.
	Paginator struct{}
)

func NewFromConfig(aws.Config) *Client { return &Client{} }

func NewDescribeInstanceInformationPaginator(*Client, *DescribeInstanceInformationInput) *Paginator {
	return &Paginator{}
}

func (*Paginator) HasMorePages() bool { return false }

func (*Paginator) NextPage(context.Context) (*DescribeInstanceInformationOutput, error) {
	return nil, errors.ErrUnsupported
}
