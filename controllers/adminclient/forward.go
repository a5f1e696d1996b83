package adminclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/jovalle/usher/api/v1alpha1"
)

// InPods returns the listeners of usher's running pods in a namespace, the ready ones first.
// Each request has a port-forward of its own. The permissions for it are those of Forwarding
// and Viewer.
func InPods(ctx context.Context, config *rest.Config, namespace string) ([]Listener, error) {
	requests, err := podClient(config)
	if err != nil {
		return nil, err
	}
	pods, err := runningPods(ctx, requests, namespace)
	if err != nil {
		return nil, err
	}
	viewer, err := NewViewer(config, namespace, DefaultViewer)
	if err != nil {
		return nil, err
	}
	all := make([]Listener, len(pods))
	for i, pod := range pods {
		all[i] = Listener{Name: "pod " + pod.Name, get: func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
			return getFrom(ctx, config, pod, &http.Client{Transport: viewer}, path, query)
		}}
	}
	return all, nil
}

// getFrom asks the listener of a pod by a port-forward, which ends when the answer is closed.
func getFrom(ctx context.Context, config *rest.Config, pod *corev1.Pod, with *http.Client, path string, query url.Values) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended, port := make(chan struct{}), make(chan uint16, 1)
	var failure error // set when ended is closed
	go func() {
		defer close(ended)
		failure = forward(ctx, config, pod, func(local uint16) { port <- local })
	}()
	end := func() {
		cancel()
		<-ended
	}
	select {
	case <-ended:
		cancel()
		return nil, failure
	case local := <-port:
		body, err := get(ctx, with, fmt.Sprintf("http://127.0.0.1:%d", local), path, query)
		if err != nil {
			end()
			return nil, err
		}
		return &forwardedBody{body, end}, nil
	}
}

// forwardedBody is an answer that ends its port-forward when it is closed.
type forwardedBody struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (b *forwardedBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// Forwarding is a port-forward to the admin listener of a pod. The permissions for it are to
// list pods, to create pods/portforward, and for the leader to get leases.
type Forwarding struct {
	Config    *rest.Config
	Namespace string
	// Pod is the name of the pod; if it is empty, that of the leader, or else of any that is
	// ready.
	Pod string
}

// Run forwards a free port of 127.0.0.1 until ctx ends, and then returns nil. It calls ready
// with the name of the pod and the port when the port accepts connections.
func (f *Forwarding) Run(ctx context.Context, ready func(pod string, port uint16)) error {
	requests, err := podClient(f.Config)
	if err != nil {
		return err
	}
	pods, err := runningPods(ctx, requests, f.Namespace)
	if err != nil {
		return err
	}
	pod, err := f.choose(pods, f.leader(ctx))
	if err != nil {
		return err
	}
	return forward(ctx, f.Config, pod, func(port uint16) { ready(pod.Name, port) })
}

// forward forwards a free port of 127.0.0.1 to the admin listener of a pod until ctx ends, and
// then returns nil. It calls ready when the port accepts connections.
func forward(ctx context.Context, config *rest.Config, pod *corev1.Pod, ready func(port uint16)) error {
	requests, err := podClient(config)
	if err != nil {
		return err
	}
	target := requests.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(target, config)
	if err != nil {
		return err
	}
	// As kubectl: SPDY for API servers, and proxies before them, that have no WebSockets.
	dialer := portforward.NewFallbackDialer(websocket, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target), func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	accepts := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", portOf(pod))}, accepts, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return fmt.Errorf("forward a port to pod %s: %w", pod.Name, err)
	case <-accepts:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	ready(ports[0].Local)
	if err := <-ended; err != nil && ctx.Err() == nil {
		return fmt.Errorf("forward a port to pod %s: %w", pod.Name, err)
	}
	return nil
}

// leader returns the host name of the leader; empty if there is none, or it is not known.
func (f *Forwarding) leader(ctx context.Context) string {
	leases, err := coordination.NewForConfig(f.Config)
	if err != nil {
		return ""
	}
	lease, err := leases.Leases(f.Namespace).Get(ctx, v1alpha1.LeaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	host, _, _ := strings.Cut(*lease.Spec.HolderIdentity, "_") // a random part follows
	return host
}

// choose returns the pod to use. The leader's host name is that of its pod, or of its node if
// the pod is on the host's network.
func (f *Forwarding) choose(pods []*corev1.Pod, leader string) (*corev1.Pod, error) {
	if len(pods) == 0 {
		return nil, fmt.Errorf("no pod of usher runs in namespace %s of the cluster %s", f.Namespace, f.Config.Host)
	}
	if f.Pod != "" {
		at := slices.IndexFunc(pods, func(pod *corev1.Pod) bool { return pod.Name == f.Pod })
		if at < 0 {
			return nil, errors.New("no running pod of usher in namespace " + f.Namespace + " has the name " + f.Pod)
		}
		return pods[at], nil
	}
	at := slices.IndexFunc(pods, func(pod *corev1.Pod) bool {
		return leader != "" && (pod.Name == leader || pod.Spec.HostNetwork && pod.Spec.NodeName == leader)
	})
	return pods[max(at, 0)], nil
}
