package plainhttp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/proxy/balance"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// candidate is one address of a route. A request is sent to the first candidate that
// accepts a connection. While there are others, each gets endpoint.AttemptDelay, and
// those that are known to fail are put off; these get the whole timeout at the end.
// Unlike on the TLS port, addresses are not dialled beside each other: plain HTTP
// connections are few, and most are reused.
type candidate struct {
	backend *routing.Backend
	address string // IP address or name
	alone   bool   // the route has no other address
	final   bool   // it was put off before
	counted bool   // the strategy counts connections
}

// hostPort returns the address and port to dial.
func (c *candidate) hostPort() string {
	return net.JoinHostPort(c.address, strconv.Itoa(int(c.backend.HTTPPort)))
}

// candidatesOf returns the addresses of a route in the order in which they are tried for
// a client.
func (d *dialer) candidatesOf(route *routing.Route, client netip.Addr) []*candidate {
	if balance.Needed(route.Strategy, route.Backends) {
		return d.ordered(route, client)
	}
	var all []*candidate
	for i := range route.Backends {
		backend := &route.Backends[i]
		for _, address := range backend.Addresses {
			all = append(all, &candidate{backend: backend, address: address})
		}
	}
	if len(all) == 1 {
		all[0].alone = true
	}
	return all
}

// ordered returns the addresses in the order of the route's strategy.
func (d *dialer) ordered(route *routing.Route, client netip.Addr) []*candidate {
	choice := balance.Choice{Strategy: route.Strategy, Client: client, Turn: rand.Uint64(), State: d.addressState} //nolint:gosec // it only spreads requests
	if route.Turns != nil {
		choice.Turn = route.Turns.Add(1)
	}
	var all []*candidate
	for _, target := range balance.Order(nil, route.Backends, choice) {
		backend := &route.Backends[target.Backend]
		all = append(all, &candidate{backend: backend, address: backend.Addresses[target.Address], counted: route.Strategy == routing.LeastConnections})
	}
	return all
}

// addressState is the State of a balance.Choice.
func (d *dialer) addressState(b *routing.Backend, address string) (open int, part float64) {
	part = d.endpoints.PartOf(b.Cluster, address, b.HTTPPort)
	return d.connections.Count(endpoint.Backend{Cluster: b.Cluster, Address: address}), part
}

// count counts a request to the candidate as a connection to it until ctx ends, which is
// when the request has its response.
func (d *dialer) count(ctx context.Context, c *candidate) {
	if c.counted {
		context.AfterFunc(ctx, d.connections.Begin(endpoint.Backend{Cluster: c.backend.Cluster, Address: c.address}).End)
	}
}

// Reasons why an address of a backend is not dialled, or not now.
var (
	errOwnAddress = errors.New("the address is one of usher's own listeners")
	errNotAllowed = errors.New("this address is not allowed for the backend")
	errPutOff     = errors.New("the address does not answer, and there are others")
)

// dialer dials the candidate in the context of a request.
type dialer struct {
	net.Dialer
	endpoints   *endpoint.Memory
	connections *endpoint.Connections
	timeout     time.Duration // of one candidate, with the lookup of its name
}

func newDialer(timeout time.Duration, isOwnAddress func(netip.AddrPort) bool, endpoints *endpoint.Memory, connections *endpoint.Connections) *dialer {
	d := &dialer{endpoints: endpoints, connections: connections, timeout: timeout}
	d.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		switch {
		case err != nil:
			return err
		case isOwnAddress != nil && isOwnAddress(addr):
			return errOwnAddress
		case !candidateOf(ctx).backend.Dials(addr.Addr()):
			return errNotAllowed
		}
		return nil
	}
	return d
}

func candidateOf(ctx context.Context) *candidate { return ctx.Value(candidateKey).(*candidate) }

// dial dials the candidate of ctx: one after the other of its addresses. It returns
// errPutOff if one of them may still answer.
func (d *dialer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	deadline := time.Now().Add(d.timeout)
	c := candidateOf(ctx)
	addrs, err := d.resolve(ctx, c.address)
	if err != nil {
		return nil, dialError(network, err)
	}
	putOff := false
	for i, addr := range addrs {
		e := endpoint.Of(c.backend.Cluster, netip.AddrPortFrom(addr, c.backend.HTTPPort))
		timeout, standing := time.Until(deadline)/time.Duration(len(addrs)-i), endpoint.Good
		hurry := !c.final && !(c.alone && len(addrs) == 1)
		if hurry {
			timeout, standing = min(d.timeout, endpoint.AttemptDelay), d.endpoints.Standing(e)
		}
		if standing == endpoint.Failing {
			putOff = true
			continue
		}
		var conn net.Conn
		if conn, err = d.connect(ctx, network, e, timeout, standing == endpoint.Due); err == nil || ctx.Err() != nil {
			return conn, err
		}
		putOff = putOff || hurry && isTimeout(err)
	}
	if putOff {
		err = dialError(network, errPutOff)
	}
	return nil, err
}

// resolve returns the address, or the addresses of a name.
func (d *dialer) resolve(ctx context.Context, address string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(address); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address)
	return addrs[:min(len(addrs), endpoint.MaxResolved)], err
}

// connect dials one address and records the result.
func (d *dialer) connect(ctx context.Context, network string, e endpoint.Endpoint, timeout time.Duration, wasDue bool) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := d.DialContext(limited, network, e.Addr.String())
	switch {
	case err == nil:
		d.endpoints.Answered(e)
	case ctx.Err() == nil && isFailure(err):
		d.endpoints.Failed(e, wasDue)
	case wasDue:
		d.endpoints.Returned(e)
	}
	return conn, err
}

// isFailure reports whether a failed dial is a failure of the address.
func isFailure(err error) bool {
	var errno syscall.Errno
	shortage := errors.As(err, &errno) && endpoint.IsShortage(errno)
	return !shortage && !errors.Is(err, errOwnAddress) && !errors.Is(err, errNotAllowed)
}

func isTimeout(err error) bool {
	var failure net.Error
	return errors.As(err, &failure) && failure.Timeout()
}

// dialError returns an error for which isDialError is true.
func dialError(network string, err error) error {
	return &net.OpError{Op: "dial", Net: network, Err: err}
}

// isDialError reports whether dialling failed, so that nothing was sent.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// dialWithProxyHeader dials the candidate of ctx and sends the PROXY header of ctx.
func (d *dialer) dialWithProxyHeader(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	header := ctx.Value(proxyHeaderKey).(*proxyproto.Header)
	if _, err := header.WriteTo(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
