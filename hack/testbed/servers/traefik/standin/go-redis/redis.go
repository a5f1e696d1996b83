// Package redis stands in for the Redis client that this Traefik build leaves out: every command fails.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

type (
	// UniversalOptions configure a client.
	UniversalOptions struct {
		Addrs                                  []string
		Username, Password                     string
		DB, PoolSize                           int
		MinIdleConns, MaxActiveConns           int
		DialTimeout, ReadTimeout, WriteTimeout time.Duration
		TLSConfig                              *tls.Config
	}
	// Client fails each command.
	Client struct{}
	// Script is not run.
	Script struct{}
	// Cmd is a failed command.
	Cmd struct{}
	// BoolSliceCmd is a failed command.
	BoolSliceCmd struct{}
	// StringCmd is a failed command.
	StringCmd struct{}
	// IntCmd is a failed command.
	IntCmd struct{}
)

func NewUniversalClient(*UniversalOptions) *Client { return &Client{} }

func NewScript(string) *Script { return &Script{} }

func (*Script) Run(context.Context, any, []string, ...any) *Cmd { return &Cmd{} }

func (*Cmd) Result() (any, error) { return nil, errors.ErrUnsupported }

func (*Client) Eval(context.Context, string, []string, ...any) *Cmd { return &Cmd{} }

func (*Client) EvalSha(context.Context, string, []string, ...any) *Cmd { return &Cmd{} }

func (*Client) EvalRO(context.Context, string, []string, ...any) *Cmd { return &Cmd{} }

func (*Client) EvalShaRO(context.Context, string, []string, ...any) *Cmd { return &Cmd{} }

func (*Client) ScriptExists(context.Context, ...string) *BoolSliceCmd { return &BoolSliceCmd{} }

func (*Client) ScriptLoad(context.Context, string) *StringCmd { return &StringCmd{} }

func (*Client) Del(context.Context, ...string) *IntCmd { return &IntCmd{} }
