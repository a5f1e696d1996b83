package doctor

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// retryPause is the pause before a backend that does not answer is tried again.
const retryPause = time.Second

// reach opens a session to an address as the proxy does, and finds out whether the backend
// takes the PROXY header that usher sends, or one that it does not send.
func (d *Doctor) reach(ctx context.Context, b *backend, to netip.AddrPort) (*session, []Finding) {
	header := b.ProxyProtocol.LocalHeader()
	s, err := d.open(ctx, to, header, b.host.asked())
	if err != nil && ctx.Err() == nil { // once more: it may just be restarting
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
		s, err = d.open(ctx, to, header, b.host.asked())
	}
	switch {
	case err == nil && header != "", errors.Is(err, context.Canceled):
		return s, nil
	case err == nil:
		if d.shakes(ctx, to, routing.V2.LocalHeader(), b.host.asked()) {
			return s, []Finding{b.mismatch(routing.V2, "%s takes a PROXY header, and usher sends none: the apps see the edge's address as that of every client", to)}
		}
		return s, nil
	case header != "" && d.shakes(ctx, to, "", b.host.asked()):
		return nil, []Finding{b.mismatch(routing.None, "with the PROXY header %s, %s does not complete a TLS handshake (%s); without one it does", b.ProxyProtocol.String(), to, message.Of(err))}
	case header == "" && d.shakes(ctx, to, routing.V2.LocalHeader(), b.host.asked()):
		return nil, []Finding{b.mismatch(routing.V2, "%s does not complete a TLS handshake (%s); with a PROXY header it does", to, message.Of(err))}
	}
	return nil, []Finding{b.unreachable("%s: %s", to, message.Of(err))}
}

// shakes reports whether an address completes a TLS handshake after a header.
func (d *Doctor) shakes(ctx context.Context, to netip.AddrPort, header, name string) bool {
	conn, err := d.handshake(ctx, to, header, tlsConfig(name))
	if err != nil {
		return false
	}
	end(conn)
	return true
}

func (b *backend) unreachable(evidence string, parts ...any) Finding {
	return b.found(reason.BackendUnreachable, b.readdress(), evidence, parts...)
}

func (b *backend) loop(text string, address netip.Addr) Finding {
	return b.found(reason.LoopToSelf, b.readdress(), "the address %s of the backend is usher itself (%s)", text, address)
}

func (b *backend) mismatch(should routing.ProxyProtocol, evidence string, parts ...any) Finding {
	return b.found(reason.ProxyProtocolMismatch, b.setProxyProtocol("proxyProtocol", should), evidence, parts...)
}

// refused reports whether a port is closed.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
