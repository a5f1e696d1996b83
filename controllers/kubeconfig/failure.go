package kubeconfig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Failure returns an error that says why the API server does not answer, or refuses the
// credentials: which context, which server, what to do. It returns nil for every other
// error, such as an answer of the API server.
func (c *Config) Failure(err error) error {
	why, advice := c.explain(err)
	if why == "" {
		return nil
	}
	return &failure{fmt.Sprintf("%s (context %s, server %s) %s; %s", c.Cluster, c.Context, c.REST.Host, why, advice), err}
}

type failure struct {
	text  string
	cause error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.cause }

// credentials begins the error of a plugin that should get credentials.
const credentials = "getting credentials: "

// explain returns why there is no useful answer, and what to do.
func (c *Config) explain(err error) (why, advice string) {
	if apierrors.IsUnauthorized(err) {
		return "does not accept the credentials", "log in again, or correct the user of the context" + c.orOther()
	}
	requestFailed, ok := errors.AsType[*url.Error](err)
	if !ok {
		return "", ""
	}
	cause := requestFailed.Err
	certificate, untrusted := errors.AsType[*tls.CertificateVerificationError](cause)
	noName, unknownName := errors.AsType[*net.DNSError](cause)
	text, plugin := strings.CutPrefix(firstLine(cause), credentials)
	switch {
	case plugin:
		return "cannot be asked without credentials: " + text, "install the program that the user of the context names" + c.orOther()
	case untrusted:
		return "has a certificate that is not trusted: " + certificate.Err.Error(), "correct the server and certificate-authority-data of the context" + c.orOther()
	case unknownName:
		return fmt.Sprintf("cannot be reached: %s has no address", noName.Name), "correct the server of the context" + c.orOther()
	case errors.Is(cause, syscall.ECONNREFUSED):
		return "cannot be reached: connection refused", c.checkServer()
	case requestFailed.Timeout() || errors.Is(cause, context.DeadlineExceeded):
		return "does not answer in time", c.checkServer()
	}
	return "does not answer: " + text, c.checkServer()
}

// checkServer advises to check the server. A kubeconfig that was copied from the server
// itself, as of K3s, has its loopback address.
func (c *Config) checkServer() string {
	if c.isLoopback() {
		return "that server is this machine: check that it runs, or set the server of the context to the address of another machine" + c.orOther()
	}
	return "check that it runs, and that this machine reaches it" + c.orOther()
}

func (c *Config) isLoopback() bool {
	server, err := url.Parse(c.REST.Host)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(server.Hostname())
	return err == nil && address.IsLoopback() || server.Hostname() == "localhost"
}

// orOther says how to choose another context.
func (c *Config) orOther() string {
	if c.ContextFlag == "" {
		return ""
	}
	return ", or choose another context with --" + c.ContextFlag
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
