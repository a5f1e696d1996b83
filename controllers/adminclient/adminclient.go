// Package adminclient asks the admin listeners of running processes of usher: at URLs, or in
// the pods of a cluster by port-forwards through its API server, which reach a listener on
// the loopback address of the pod, too.
package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const (
	// labels select usher's pods, as the chart and the manifests label them.
	labels = "app.kubernetes.io/name=usher"
	// portName is the name of the port of the admin listener in a pod, and defaultPort the
	// one of --admin-listen.
	portName    = "admin"
	defaultPort = 8080

	// maxPods bounds the pods that are asked.
	maxPods = 64
	// maxMessage bounds the text of an error, in bytes.
	maxMessage = 4 << 10
	// notReadyRetry is the pause before a process is asked again that has just started.
	notReadyRetry = 500 * time.Millisecond
)

// ErrNotServed means that a process has no such path: it is another program or an older
// usher, or it runs without what would answer.
var ErrNotServed = errors.New("is not served there: it is another program, an older usher, or one that runs without what would answer")

// A Listener is the admin listener of one process.
type Listener struct {
	// Name names the process, such as "pod usher-7c9" or "http://127.0.0.1:8080".
	Name string

	get func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error)
}

// statusError is an answer other than 200.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// CheckURL returns an error if a value is no URL of an admin listener.
func CheckURL(value string) error {
	if parsed, err := url.Parse(value); err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return fmt.Errorf("%q is no URL, such as http://127.0.0.1:8080", value)
	}
	return nil
}

// At returns the listener at a URL, such as http://127.0.0.1:8080.
func At(admin string) Listener {
	return Listener{Name: admin, get: func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
		return get(ctx, http.DefaultClient, admin, path, query)
	}}
}

// get asks the listener at a URL. Answers other than 200 are a statusError.
func get(ctx context.Context, from *http.Client, admin, path string, query url.Values) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := from.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxMessage))
		return nil, &statusError{response.StatusCode, strings.TrimSpace(string(text))}
	}
	return response.Body, nil
}

// podClient returns a client of an API server for Pods.
func podClient(config *rest.Config) (*rest.RESTClient, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = clientscheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(config)
}

// runningPods returns usher's running pods in a namespace, the ready ones first.
func runningPods(ctx context.Context, requests *rest.RESTClient, namespace string) ([]*corev1.Pod, error) {
	var pods corev1.PodList
	if err := requests.Get().Namespace(namespace).Resource("pods").VersionedParams(&metav1.ListOptions{LabelSelector: labels, Limit: maxPods}, clientscheme.ParameterCodec).Do(ctx).Into(&pods); err != nil {
		return nil, fmt.Errorf("list the pods of usher in namespace %s: %w", namespace, err)
	}
	var ready, others []*corev1.Pod
	for i := range pods.Items {
		pod := &pods.Items[i]
		switch {
		case pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil:
		case isReady(pod):
			ready = append(ready, pod)
		default:
			others = append(others, pod)
		}
	}
	return append(ready, others...), nil
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// portOf returns the port of a pod's admin listener.
func portOf(pod *corev1.Pod) int32 {
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == portName {
				return port.ContainerPort
			}
		}
	}
	return defaultPort
}

// Open asks for a path, such as "/metrics". The error is ErrNotServed, if the process does
// not serve it. A process that has just started and answers 503 is asked again until ctx
// ends.
func (l Listener) Open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	for {
		body, err := l.get(ctx, path, query)
		var status *statusError
		switch {
		case err == nil:
			return body, nil
		case !errors.As(err, &status):
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		case status.code == http.StatusNotFound:
			return nil, fmt.Errorf("%s: %s %w", l.Name, path, ErrNotServed)
		case status.code != http.StatusServiceUnavailable:
			return nil, fmt.Errorf("%s: %w", l.Name, status)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", l.Name, status)
		case <-time.After(notReadyRetry):
		}
	}
}

// Read asks for a path, and reads at most limit bytes.
func (l Listener) Read(ctx context.Context, path string, query url.Values, limit int64) ([]byte, error) {
	body, err := l.Open(ctx, path, query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var all bytes.Buffer
	switch n, err := io.Copy(&all, io.LimitReader(body, limit+1)); {
	case err != nil:
		return nil, fmt.Errorf("%s: %s: %w", l.Name, path, err)
	case n > limit:
		return nil, fmt.Errorf("%s: %s has more than %d bytes", l.Name, path, limit)
	}
	return all.Bytes(), nil
}

// JSON asks for a path, and decodes at most limit bytes of JSON into value.
func (l Listener) JSON(ctx context.Context, path string, query url.Values, limit int64, value any) error {
	body, err := l.Read(ctx, path, query, limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, value); err != nil {
		return fmt.Errorf("%s: %s: %w", l.Name, path, err)
	}
	return nil
}
