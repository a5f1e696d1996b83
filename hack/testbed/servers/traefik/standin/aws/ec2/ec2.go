// Package ec2 stands in for the client of AWS EC2 that this Traefik build leaves out.
package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

type (
	// Client is never built: see package config.
	Client struct{}

	DescribeInstancesInput  struct{ InstanceIds []string }
	DescribeInstancesOutput struct{ Reservations []types.Reservation }

	// Paginator has no pages.
	Paginator struct{}
)

func NewFromConfig(aws.Config) *Client { return &Client{} }

func NewDescribeInstancesPaginator(*Client, *DescribeInstancesInput) *Paginator { return &Paginator{} }

func (*Paginator) HasMorePages() bool { return false }

func (*Paginator) NextPage(context.Context) (*DescribeInstancesOutput, error) {
	return nil, errors.ErrUnsupported
}
