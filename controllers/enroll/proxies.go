package enroll

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// labelName and valueName select usher's pods, as the chart and the manifests label them.
	labelName, valueName = "app.kubernetes.io/name", "usher"
	// adminPort is the name of the port of the admin listener in a pod.
	adminPort = "admin"
	// openMetric counts the open connections of a proxy by cluster; acceptedMetric is one that
	// each process with a proxy has.
	openMetric     = "usher_cluster_connections_open"
	acceptedMetric = "usher_connections_accepted_total"
	// metricsTimeout and maxMetrics bound the answer of one proxy.
	metricsTimeout = 5 * time.Second
	maxMetrics     = 32 << 20
)

// A proxy is a process of usher whose metrics can be read.
type proxy struct {
	name string
	read func(ctx context.Context) (io.ReadCloser, error)
}

// adminListeners returns the proxies behind admin listeners.
func adminListeners(urls []string) []proxy {
	var all []proxy
	for _, url := range urls {
		all = append(all, proxy{name: url, read: func(ctx context.Context) (io.ReadCloser, error) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/metrics", nil)
			if err != nil {
				return nil, err
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return nil, err
			}
			if response.StatusCode != http.StatusOK {
				_ = response.Body.Close()
				return nil, fmt.Errorf("GET /metrics: %s", response.Status)
			}
			return response.Body, nil
		}})
	}
	return all
}

// proxyPods returns usher's running pods in a namespace. Their metrics are read through the
// API server.
func (c *Cluster) proxyPods(ctx context.Context, namespace string) ([]proxy, error) {
	var pods corev1.PodList
	if err := c.client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{labelName: valueName}); err != nil {
		return nil, c.failed("list the pods of usher", err)
	}
	config := rest.CopyConfig(c.config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = clientscheme.Codecs.WithoutConversion()
	requests, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, c.failed("read the metrics of usher", err)
	}
	var all []proxy
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		all = append(all, proxy{name: "pod " + pod.Name, read: func(ctx context.Context) (io.ReadCloser, error) {
			return requests.Get().Namespace(namespace).Resource("pods").Name(fmt.Sprintf("%s:%d", pod.Name, adminPortOf(pod))).
				SubResource("proxy").Suffix("metrics").Stream(ctx)
		}})
	}
	return all, nil
}

// adminPortOf returns the port of a pod's admin listener.
func adminPortOf(pod *corev1.Pod) int32 {
	for i := range pod.Spec.Containers {
		for _, port := range pod.Spec.Containers[i].Ports {
			if port.Name == adminPort {
				return port.ContainerPort
			}
		}
	}
	return 8080 // the default of --admin-listen
}

// openIn returns how many connections a process has open to a cluster; false if it forwards
// none to any cluster, since it runs the controllers only.
func openIn(ctx context.Context, p proxy, cluster string) (open int, forwards bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	body, err := p.read(ctx)
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = body.Close() }()
	bounded := &io.LimitedReader{R: body, N: maxMetrics}
	lines := bufio.NewScanner(bounded)
	sample := fmt.Sprintf("%s{cluster=%q} ", openMetric, cluster)
	for lines.Scan() {
		line := lines.Text()
		forwards = forwards || strings.HasPrefix(line, acceptedMetric)
		if value, is := strings.CutPrefix(line, sample); is {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, false, fmt.Errorf("metric %s: %w", openMetric, err)
			}
			open += int(number)
		}
	}
	if bounded.N == 0 {
		return 0, false, fmt.Errorf("the metrics have more than %d bytes", maxMetrics)
	}
	return open, forwards, errors.Join(lines.Err(), ctx.Err())
}
