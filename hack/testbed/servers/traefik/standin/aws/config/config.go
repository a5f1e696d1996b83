// Package config stands in for the configuration of AWS clients that this Traefik build leaves out: it
// cannot be loaded, and therefore no client of the stand-ins beside it is built.
package config

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"
)

// LoadOptions are ignored.
type LoadOptions struct{}

func WithLogger(logging.Logger) func(*LoadOptions) error { return ignore }

func WithRegion(string) func(*LoadOptions) error { return ignore }

func WithEC2IMDSRegion() func(*LoadOptions) error { return ignore }

func WithCredentialsProvider(aws.CredentialsProvider) func(*LoadOptions) error { return ignore }

func ignore(*LoadOptions) error { return nil }

func LoadDefaultConfig(context.Context, ...func(*LoadOptions) error) (aws.Config, error) {
	return aws.Config{}, errors.ErrUnsupported
}
