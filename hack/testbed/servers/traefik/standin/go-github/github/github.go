// Package github stands in for the GitHub client with which Traefik looks for a new version: every use of
// it fails.
package github

import (
	"context"
	"errors"
	"net/http"
)

type (
	// Client is never built.
	Client struct{ Repositories *Repositories }
	// Option configures a Client.
	Option struct{}
	// Repositories lists nothing.
	Repositories struct{}
	// ListOptions selects a page.
	ListOptions struct{}
	// Release is a release of a repository.
	Release struct{ TagName string }
	// Response is an answer of GitHub.
	Response struct{ *http.Response }
)

func WithURLs(*string, *string) Option { return Option{} }

func NewClient(...Option) (*Client, error) { return nil, errors.ErrUnsupported }

func (*Repositories) ListReleases(context.Context, string, string, *ListOptions) ([]*Release, *Response, error) {
	return nil, nil, errors.ErrUnsupported
}
