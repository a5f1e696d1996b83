package informer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

var bed *testbed.Bed

func TestMain(m *testing.M) {
	os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"hades"}}))
}

// stallingProxy is a reverse proxy of an API server. It can stop the events of the
// watches that are open, while other requests and new watches work.
type stallingProxy struct {
	server         *httptest.Server
	lists, watches atomic.Int32 // number of started ones

	mu      sync.Mutex
	stopped chan struct{} // closed when the open watches must deliver no more events
}

func newStallingProxy(t *testing.T, cluster *testbed.Cluster) *stallingProxy {
	t.Helper()
	transport, err := rest.TransportFor(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	v := &stallingProxy{stopped: make(chan struct{})}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: cluster.Address().String()}) },
		Transport:      transport,
		FlushInterval:  -1, // forward each event of a watch at once
		ModifyResponse: v.pass,
	}
	v.server = httptest.NewServer(proxy)
	t.Cleanup(func() { v.server.CloseClientConnections(); v.server.Close() })
	return v
}

// pass counts a response, and makes the events of a watch stoppable.
func (v *stallingProxy) pass(response *http.Response) error {
	if response.Request.URL.Query().Get("watch") == "" {
		v.lists.Add(1)
		return nil
	}
	v.watches.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	response.Body = &stream{ReadCloser: response.Body, stopped: v.stopped, ended: response.Request.Context()}
	return nil
}

// stop stops the events of the open watches.
func (v *stallingProxy) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.stopped)
	v.stopped = make(chan struct{})
}

// stream is the response body of a watch.
type stream struct {
	io.ReadCloser
	stopped chan struct{}
	ended   context.Context // of the request
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	select {
	case <-s.stopped:
		<-s.ended.Done()
		return 0, s.ended.Err()
	default:
		return n, err
	}
}

// follow runs an informer of ConfigMaps through the proxy. The returned function waits
// for a ConfigMap with a name.
func follow(t *testing.T, v *stallingProxy, silence time.Duration) (await func(name string)) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: v.server.URL})
	source := toolscache.NewFilteredListWatchFromClient(client.CoreV1().RESTClient(), "configmaps", space(t), func(o *metav1.ListOptions) {
		o.FieldSelector = fields.Everything().String()
	})
	informer := newFunc(nil, silence)(source, &corev1.ConfigMap{}, 0, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return func(name string) {
		t.Helper()
		testkit.WaitFor(t, "an event about ConfigMap "+name, func() bool {
			_, known, _ := informer.GetStore().GetByKey(space(t) + "/" + name)
			return known
		})
	}
}

// write creates a ConfigMap in the test's own namespace, not through the proxy.
func write(t *testing.T, name string) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(bed.Cluster("hades").Config())
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: space(t), Name: name}}
	if _, err := client.CoreV1().ConfigMaps(cm.Namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// If a watch is silent although its API server answers, it is renewed: changes are
// received without another list request.
func TestSilentWatchIsRenewed(t *testing.T) {
	makeNamespace(t)
	v := newStallingProxy(t, bed.Cluster("hades"))
	await := follow(t, v, time.Second)
	write(t, "before")
	await("before")
	lists := v.lists.Load()
	v.stop()
	write(t, "unheard")
	began := time.Now()
	await("unheard")
	t.Logf("heard of it after %v", time.Since(began))
	if again := v.lists.Load() - lists; again != 0 {
		t.Errorf("it was listed %d times", again)
	}
}

// A watch that delivers an event from time to time is not renewed.
func TestWatchWithEventsIsKept(t *testing.T) {
	makeNamespace(t)
	v := newStallingProxy(t, bed.Cluster("hades"))
	await := follow(t, v, 2*time.Second)
	write(t, "first")
	await("first")
	began, watches := time.Now(), v.watches.Load()
	for i := 0; time.Since(began) < 5*time.Second; i++ {
		name := fmt.Sprint("more", i)
		write(t, name)
		await(name)
		time.Sleep(100 * time.Millisecond)
	}
	if again := v.watches.Load() - watches; again != 0 {
		t.Errorf("it was watched again %d times", again)
	}
}

func makeNamespace(t *testing.T) {
	t.Helper()
	if err := bed.Cluster("hades").Apply(t.Context(), fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", space(t))); err != nil {
		t.Fatal(err)
	}
}

// space is a namespace of the test's own.
func space(t *testing.T) string { return strings.ToLower(t.Name()) }
