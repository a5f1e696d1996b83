package adminclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Forwarding is a port-forward to the admin listener of a pod. Unlike InPods, it reaches a
// listener on the loopback address of the pod. The permissions for it are to list pods, to
// create pods/portforward, and for the leader to get leases.
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
	url := requests.Post().Namespace(f.Namespace).Resource("pods").Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(f.Config)
	if err != nil {
		return err
	}
	websocket, err := portforward.NewSPDYOverWebsocketDialer(url, f.Config)
	if err != nil {
		return err
	}
	// As kubectl: SPDY for API servers, and proxies before them, that have no WebSockets.
	dialer := portforward.NewFallbackDialer(websocket, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), func(err error) bool {
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
	ready(pod.Name, ports[0].Local)
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
