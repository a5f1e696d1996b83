package manifest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/atomicfile"
	"github.com/jovalle/usher/controllers/routetable"
)

// served returns objects as in a cache: accepted hosts a1.techn.is … of a cluster whose
// ingress is known, with more metadata than a file needs.
func served(hosts int) objects {
	since := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	o := objects{clusters: []v1alpha1.MemberCluster{{
		ObjectMeta: metav1.ObjectMeta{Name: "hades", UID: "1", ResourceVersion: "7"},
		Status:     v1alpha1.MemberClusterStatus{Ingress: &v1alpha1.ResolvedIngress{Addresses: []string{"192.168.1.10"}, HTTPSPort: 443, HTTPPort: 80}},
	}}}
	for i := range hosts {
		host := fmt.Sprintf("a%d.techn.is", i)
		o.hosts = append(o.hosts, v1alpha1.ExposedHost{
			ObjectMeta: metav1.ObjectMeta{Name: host, ResourceVersion: "8", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "usher"}}},
			Spec:       v1alpha1.ExposedHostSpec{Host: host, Holder: "hades", Backends: []v1alpha1.HostBackend{{Cluster: "hades"}}, PlainHTTP: v1alpha1.PlainHTTPRedirect},
			Status: v1alpha1.ExposedHostStatus{Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", LastTransitionTime: since},
				{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", LastTransitionTime: since},
			}},
		})
	}
	return o
}

// source is a Source of the objects.
func (o *objects) source(context.Context) (routetable.Objects, error) { return o.served(), nil }

func newSnapshot(t *testing.T, dir string) *Snapshot {
	t.Helper()
	s, err := NewSnapshot(dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runSnapshot starts Run, and returns a function that ends it and returns its error.
func runSnapshot(t *testing.T, s *Snapshot) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() error { cancel(); return <-done }
}

// save writes objects to the snapshot.
func save(t *testing.T, dir string, o objects) {
	t.Helper()
	s := newSnapshot(t, dir)
	s.Load()
	s.Store(o.source)
	if err := runSnapshot(t, s)(); err != nil {
		t.Fatal(err)
	}
}

// routes returns the routing table of the objects: host → route.
func routes(t *testing.T, o routetable.Objects) map[string]string {
	t.Helper()
	table, problems := routetable.Build(o)
	if len(problems) > 0 {
		t.Error(problems)
	}
	routes := map[string]string{}
	for r := range table.All() {
		route := *r
		route.Source, route.Reached = nil, nil // pointers; the history's own
		routes[r.Host] = fmt.Sprintf("%+v", route)
	}
	return routes
}

func TestASnapshotHasTheSameRoutes(t *testing.T) {
	dir := t.TempDir()
	before := served(3)
	refused := *before.hosts[0].DeepCopy()
	refused.Name, refused.Spec.Host = "refused.techn.is", "refused.techn.is"
	refused.Status.Conditions[0].Status = metav1.ConditionFalse
	undecided := *refused.DeepCopy()
	undecided.Name, undecided.Spec.Host = "undecided.techn.is", "undecided.techn.is"
	undecided.CreationTimestamp, undecided.Status.Conditions = metav1.Now(), nil
	before.hosts = append(before.hosts, refused, undecided)
	before.networks = []v1alpha1.NetworkList{{ObjectMeta: metav1.ObjectMeta{Name: "family", UID: "2"}, Spec: v1alpha1.NetworkListSpec{Networks: []string{"192.0.2.0/24"}}}}
	before.hosts[1].Spec.AllowFrom = []string{"@family", "198.51.100.0/24"}
	before.clusters[0].Annotations = map[string]string{v1alpha1.AnnotationDrain: "true", "example.org/other": "x"}
	before.hosts[2].Spec.Backends[0].Weight, before.hosts[2].Spec.Strategy, before.hosts[2].Spec.Share = new(int32(7)), v1alpha1.StrategyClientHash, true
	save(t, dir, before)

	loaded, ok := newSnapshot(t, dir).Load()
	if !ok {
		t.Fatal("it was not loaded")
	}
	if !maps.Equal(routes(t, loaded), routes(t, before.served())) {
		t.Errorf("loaded %+v", loaded)
	}
	if route := routes(t, loaded)["a1.techn.is"]; !strings.Contains(route, "192.0.2.0/24") {
		t.Errorf("the networks of a list are missing in %s", route)
	}
	if route := routes(t, loaded)["a2.techn.is"]; !strings.Contains(route, "Strategy:ClientHash") || !strings.Contains(route, "Weight:7 Draining:true") {
		t.Errorf("the strategy, the weight or the drain is missing in %s", route)
	}
	path := filepath.Join(dir, snapshotName)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	data, _, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("holder")) || bytes.Contains(data, []byte(`"share"`)) {
		t.Error("the snapshot has holders, or what they share, which an older usher cannot read")
	}
	asManifest, err := readText(t, snapshotName, string(data))
	if err != nil {
		t.Fatalf("as a manifest: %v", err)
	}
	accept(asManifest.hosts, snapshotName, time.Now())
	if !maps.Equal(routes(t, asManifest.served()), routes(t, before.served())) {
		t.Errorf("as a manifest: %+v", asManifest)
	}
}

func TestASnapshotIsWrittenOnlyWhenItChanges(t *testing.T) {
	dir := t.TempDir()
	first := served(3)
	save(t, dir, first)
	path := filepath.Join(dir, snapshotName)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}

	same := served(3)
	slices.Reverse(same.hosts)
	same.hosts[0].ResourceVersion = "9"
	same.hosts[0].Status.Conditions[1].Status = metav1.ConditionFalse
	save(t, dir, same)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("it was written again: %v", err)
	}
	save(t, dir, served(4))
	if after, err := os.Stat(path); err != nil || os.SameFile(before, after) {
		t.Errorf("it was not written: %v", err)
	}
}

func TestStoresAreCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := newSnapshot(t, dir)
		stop := runSnapshot(t, s)
		store := func(n int) {
			o := served(n)
			s.Store(o.source)
		}
		holdsAfter := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if n := hostsIn(dir); n != want {
				t.Errorf("the snapshot has %d hosts, want %d", n, want)
			}
		}
		store(1)
		holdsAfter(0, 1)
		for i := range 100 {
			store(i + 1)
		}
		holdsAfter(s.interval-1, 1)
		holdsAfter(1, 100)
		store(101)
		if err := stop(); err != nil || hostsIn(dir) != 101 {
			t.Errorf("at the end the snapshot has %d hosts: %v", hostsIn(dir), err)
		}
	})
}

// hostsIn returns the number of hosts in the snapshot of a directory, or -1 if there is no good one.
func hostsIn(dir string) int {
	data, _, err := readFile(filepath.Join(dir, snapshotName))
	if err != nil {
		return -1
	}
	found, _, err := decodeSnapshot(data)
	if err != nil {
		return -1
	}
	return len(found.hosts)
}

func TestABadSnapshotIsSetAside(t *testing.T) {
	good := encoded(t, served(3))
	swap := func(old, with string) []byte { return bytes.Replace(good, []byte(old), []byte(with), 1) }
	newer := `{"usher.techn.is/snapshot-format": "3"`
	older := `{"usher.techn.is/snapshot-format": "1"`
	for name, data := range map[string][]byte{
		"empty":                 {},
		"zeros":                 make([]byte, 4096),
		"cut off":               good[:len(good)/2],
		"cut off at the end":    good[:len(good)-3],
		"followed by more":      append(slices.Clone(good), '}'),
		"one letter changed":    swap("a1.techn.is", "b1.techn.is"),
		"one space added":       swap(`"spec":{`, `"spec": {`),
		"of a newer format":     swap(`{"usher.techn.is/snapshot-format": "2"`, newer),
		"of an older format":    swap(`{"usher.techn.is/snapshot-format": "2"`, older),
		"without a format":      swap("snapshot-format", "snapshot-formed"),
		"without a checksum":    swap("snapshot-sha256", "snapshot-sha512"),
		"of another kind":       swap(`"List"`, `"Lost"`),
		"with an unknown field": edited(t, good, `"plainHTTP":`, `"onlyFrom":`),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, snapshotName)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var logged atomic.Int32
			s := newSnapshot(t, dir)
			s.log = funcr.New(func(_, _ string) { logged.Add(1) }, funcr.Options{})
			if _, ok := s.Load(); ok {
				t.Error("the snapshot was used")
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			if bad, err := siblings(path, snapshotName+".bad-"); len(bad) != 1 || err != nil {
				t.Errorf("set aside: %v, %v", bad, err)
			}
			if logged.Load() != 1 {
				t.Errorf("logged %d lines", logged.Load())
			}
		})
	}
}

// encoded returns the bytes of a snapshot.
func encoded(t *testing.T, o objects) []byte {
	t.Helper()
	dir := t.TempDir()
	save(t, dir, o)
	data, err := os.ReadFile(filepath.Join(dir, snapshotName))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edited changes an item and updates the checksum.
func edited(t *testing.T, file []byte, old, with string) []byte {
	t.Helper()
	_, sum, err := decodeSnapshot(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := bytes.IndexByte(file, '[')
	items := bytes.Replace(file[begin:bytes.LastIndexByte(file, ']')+1], []byte(old), []byte(with), 1)
	head := strings.Replace(string(file[:begin]), fmt.Sprintf("%x", sum), fmt.Sprintf("%x", sha256.Sum256(items)), 1)
	return []byte(head + string(items) + "\n}\n")
}

func TestFewBadSnapshotsAreKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, snapshotName)
	for i := range 5 {
		if err := os.WriteFile(path, fmt.Appendf(nil, "bad %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
		newSnapshot(t, dir).Load()
	}
	bad, err := siblings(path, snapshotName+".bad-")
	if len(bad) != maxBad || err != nil {
		t.Fatalf("kept %v, %v", bad, err)
	}
	if data, _, err := readFile(bad[maxBad-1]); string(data) != "bad 4" {
		t.Errorf("the newest holds %q, %v", data, err)
	}
}

func TestNoSnapshotIsNoError(t *testing.T) {
	s, err := NewSnapshot(filepath.Join(t.TempDir(), "made", "here"), logr.New(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Load(); ok {
		t.Error("something was loaded")
	}
}

func TestAStateDirectoryThatCannotBeWrittenTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/self"} {
		if _, err := NewSnapshot(dir, logr.Discard()); err == nil || !strings.Contains(err.Error(), "state directory") {
			t.Errorf("%s: the error is %v", dir, err)
		}
	}
}

func TestTemporaryFilesOfKilledWritesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, atomicfile.TempPrefix(snapshotName)+"123")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newSnapshot(t, dir)
	if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
		t.Errorf("there are %v, %v", entries, err)
	}
}
