package manifest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// snapshotFormat is the version of the format below. It rises when an older
// usher would serve a newer snapshot wrongly, or a newer one an older snapshot:
// one of format 1 lacks the hosts that are refused, which a wildcard would serve.
const snapshotFormat = 2

// The annotations of a snapshot's List. The checksum is of the bytes of its
// items, from '[' to ']', as they stand in the file.
const (
	annotationFormat   = "usher.techn.is/snapshot-format"
	annotationChecksum = "usher.techn.is/snapshot-sha256"
)

// encodeSnapshot writes the file that holds the objects, one a line, and returns
// the checksum of its items: the same for the same objects in any order. It holds
// one line in memory, not the whole: a table may be large.
func encodeSnapshot(file io.WriteSeeker, served *objects) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	out := bufio.NewWriter(file)
	head := fmt.Sprintf(`{
"apiVersion": "v1",
"kind": "List",
"metadata": {"annotations": {%q: "%d", %q: "`, annotationFormat, snapshotFormat, annotationChecksum)
	fmt.Fprintf(out, "%s%x\"}},\n\"items\": ", head, sum) // zeros, until the items are known
	if err := encodeItems(io.MultiWriter(out, hash), served); err != nil {
		return sum, err
	}
	fmt.Fprint(out, "\n}\n") // what fails, Flush tells
	if err := out.Flush(); err != nil {
		return sum, err
	}
	sum = [sha256.Size]byte(hash.Sum(nil))
	if _, err := file.Seek(int64(len(head)), io.SeekStart); err != nil {
		return sum, err
	}
	_, err = fmt.Fprintf(file, "%x", sum)
	return sum, err
}

// encodeItems writes one object a line: clusters, then hosts, each by name.
func encodeItems(out io.Writer, served *objects) error {
	lines := lineWriter{out: out, separator: "[\n"}
	for _, i := range sorted(served.clusters, func(c *v1alpha1.MemberCluster) string { return c.Name }) {
		if err := lines.write(trimCluster(&served.clusters[i])); err != nil {
			return fmt.Errorf("encode MemberCluster %s: %w", served.clusters[i].Name, err)
		}
	}
	for _, i := range sorted(served.hosts, func(h *v1alpha1.ExposedHost) string { return h.Name }) {
		host := &served.hosts[i]
		if err := lines.write(trimHost(host)); err != nil {
			return fmt.Errorf("encode ExposedHost %s: %w", host.Name, err)
		}
	}
	return lines.end()
}

// lineWriter writes a JSON array, one element a line.
type lineWriter struct {
	out       io.Writer
	separator string // before the next element
	line      bytes.Buffer
}

func (w *lineWriter) write(object any) error {
	w.line.Reset()
	w.line.WriteString(w.separator)
	if err := json.NewEncoder(&w.line).Encode(object); err != nil {
		return err
	}
	w.separator = ",\n"
	_, err := w.out.Write(bytes.TrimSuffix(w.line.Bytes(), []byte("\n")))
	return err
}

func (w *lineWriter) end() error {
	tail := "\n]"
	if w.separator != ",\n" {
		tail = "[\n]"
	}
	_, err := io.WriteString(w.out, tail)
	return err
}

// sorted returns the indexes of a slice, which is not to be edited, by name.
func sorted[T any](all []T, name func(*T) string) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(name(&all[a]), name(&all[b])) })
	return order
}

// trimHost returns what the routing table needs of a host, and its labels.
func trimHost(host *v1alpha1.ExposedHost) *v1alpha1.ExposedHost {
	trimmed := &v1alpha1.ExposedHost{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindExposedHost},
		ObjectMeta: metav1.ObjectMeta{Name: host.Name, Labels: host.Labels},
		Spec:       host.Spec,
	}
	trimmed.Spec.Holder = "" // for who decides; an usher from before it would take no snapshot that has it
	trimmed.Status.Conditions = []metav1.Condition{acceptedOf(host)}
	return trimmed
}

// acceptedOf returns a host's Accepted condition. One that nobody has decided about
// says so: without it, the host would be accepted where the file is a manifest.
func acceptedOf(host *v1alpha1.ExposedHost) metav1.Condition {
	if accepted := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ConditionAccepted); accepted != nil {
		return *accepted
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse,
		Reason: reason.NotDecided, LastTransitionTime: host.CreationTimestamp,
	}
}

// trimCluster returns what the routing table needs of a cluster, and its labels.
func trimCluster(cluster *v1alpha1.MemberCluster) *v1alpha1.MemberCluster {
	return &v1alpha1.MemberCluster{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindMemberCluster},
		ObjectMeta: metav1.ObjectMeta{Name: cluster.Name, Labels: cluster.Labels},
		Spec:       cluster.Spec,
		Status:     v1alpha1.MemberClusterStatus{Ingress: cluster.Status.Ingress},
	}
}

// decodeSnapshot reads a file that encodeSnapshot wrote, and nothing else.
func decodeSnapshot(data []byte) (objects, [sha256.Size]byte, error) {
	var file struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        metav1.ObjectMeta `json:"metadata"`
		Items           json.RawMessage   `json:"items"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &file); err != nil {
		return objects{}, [sha256.Size]byte{}, fmt.Errorf("is not JSON: %w", err)
	}
	sum := sha256.Sum256(file.Items)
	if err := checkSeal(file.Metadata.Annotations, sum); err != nil {
		return objects{}, sum, err
	}
	items, mistakes := document{position: position{document: 1}, text: data}.open()
	found, wrong := decodeAll(context.Background(), items, noValidation)
	if mistakes = append(mistakes, wrong...); len(mistakes) > 0 {
		return objects{}, sum, newLocator(snapshotName, data).problems(mistakes)
	}
	return found, sum, nil
}

// checkSeal checks a snapshot's version, and its items' checksum.
func checkSeal(annotations map[string]string, sum [sha256.Size]byte) error {
	format, err := strconv.Atoi(annotations[annotationFormat])
	switch {
	case err != nil:
		return fmt.Errorf("the annotation %s is not a version: %w", annotationFormat, err)
	case format != snapshotFormat:
		return fmt.Errorf("has format %d; this usher reads format %d", format, snapshotFormat)
	case annotations[annotationChecksum] != hex.EncodeToString(sum[:]):
		return errors.New("its checksum is wrong: it was damaged, or edited")
	}
	return nil
}
