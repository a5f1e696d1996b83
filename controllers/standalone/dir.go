package standalone

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/jovalle/usher/controllers/atomicfile"
	"github.com/jovalle/usher/controllers/kubeconfig"
)

// Default is the directory of an edge that was installed as a package.
const Default = "/var/lib/usher"

// Dir is the directory of an edge without Kubernetes. Nobody but its owner may enter it.
type Dir string

func (d Dir) file(names ...string) string {
	return filepath.Join(append([]string{string(d)}, names...)...)
}

// Kubeconfig is the file for kubectl and the commands of usher.
func (d Dir) Kubeconfig() string { return d.file("kubeconfig") }

// State is where the snapshot of the routing table and the history are.
func (d Dir) State() string { return d.file("state") }

// Store is where etcd is.
func (d Dir) Store() string { return d.file("etcd") }

// CA is the certificate of the authority that signs the clients' certificates.
func (d Dir) CA() string { return d.file("pki", "ca.crt") }

func (d Dir) caKey() string { return d.file("pki", "ca.key") }

// admin has the certificate of the administrator and its key, in one file so that both
// are replaced at once.
func (d Dir) admin() string { return d.file("pki", "admin.pem") }

// Prepare creates the directory, and in it the certificates and the kubeconfig, if they
// are missing or end soon. Server is the host and port of the API server, admin the URL of
// the admin listener.
func (d Dir) Prepare(ctx context.Context, server, admin string) error {
	if err := d.secure(); err != nil {
		return err
	}
	unlock, err := lock(ctx, d.file("pki", "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.renew(time.Now()); err != nil {
		return err
	}
	text, err := clientcmd.Write(*d.config(server, admin))
	if err != nil {
		return err
	}
	return writeFile(d.Kubeconfig(), text)
}

// secure creates the directories, and refuses a directory that others may enter.
func (d Dir) secure() error {
	for _, dir := range []string{string(d), d.file("pki"), d.State(), d.Store()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	var stat unix.Stat_t
	if err := unix.Stat(string(d), &stat); err != nil {
		return &fs.PathError{Op: "stat", Path: string(d), Err: err}
	}
	if int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user (uid %d): give a directory of your own, or: chown -R %d %s", d, stat.Uid, os.Geteuid(), d)
	}
	if stat.Mode&0o077 != 0 {
		return fmt.Errorf("%s can be entered by other users, and will have keys: chmod 700 %s", d, d)
	}
	return nil
}

// contextName is the name of the context, the cluster and the user in the kubeconfig.
const contextName = "usher"

func (d Dir) config(server, admin string) *clientcmdapi.Config {
	relative := func(path string) string { return filepath.Join("pki", filepath.Base(path)) }
	extension, _ := json.Marshal(map[string]string{"url": admin})
	c := clientcmdapi.NewConfig()
	c.Clusters[contextName] = &clientcmdapi.Cluster{
		Server: "https://" + server, CertificateAuthority: relative(d.CA()),
		Extensions: map[string]runtime.Object{kubeconfig.AdminExtension: &runtime.Unknown{Raw: extension, ContentType: runtime.ContentTypeJSON}},
	}
	c.AuthInfos[contextName] = &clientcmdapi.AuthInfo{ClientCertificate: relative(d.admin()), ClientKey: relative(d.admin())}
	c.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	c.CurrentContext = contextName
	return c
}

// Client returns the configuration of a client of the API server at a host and port. It
// reads the certificate again when it is renewed.
func (d Dir) Client(server string) *rest.Config {
	return &rest.Config{Host: "https://" + server, TLSClientConfig: rest.TLSClientConfig{CAFile: d.CA(), CertFile: d.admin(), KeyFile: d.admin()}}
}

// LocalServer returns the host and port at which this machine reaches a listen address.
func LocalServer(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified():
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// Lock waits until no other process serves the API of this directory. It returns the
// function that lets the next one in.
func (d Dir) Lock(ctx context.Context) (unlock func(), _ error) { return lock(ctx, d.file("lock")) }

// lockRetry is how often a lock is tried.
const lockRetry = 50 * time.Millisecond

// lock takes a lock that ends with the process.
func lock(ctx context.Context, path string) (unlock func(), _ error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = file.Close()
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for the process that uses %s: %w", path, ctx.Err())
		case <-time.After(lockRetry):
		}
	}
}

// Busy reports whether a process serves the API of this directory.
func (d Dir) Busy() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	unlock, err := d.Lock(ctx)
	if err == nil {
		unlock()
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// writeFile writes a file that only its owner may read, at once and durably.
func writeFile(path string, data []byte) error {
	return atomicfile.Replace(path, func(file *os.File) error {
		_, err := file.Write(data)
		return err
	})
}
