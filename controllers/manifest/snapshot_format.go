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
	"github.com/jovalle/usher/controllers/routetable"
)

// snapshotFormat is the version of the format below. It must be incremented if an older
// usher would serve a new snapshot incorrectly, or a new usher an old one. Format 1, for
// example, lacks the refused hosts, which a wildcard would then serve.
const snapshotFormat = 2

// The annotations of a snapshot's List. The checksum covers the bytes of its items in
// the file, from '[' to ']'.
const (
	annotationFormat   = "usher.techn.is/snapshot-format"
	annotationChecksum = "usher.techn.is/snapshot-sha256"
)

// encodeSnapshot writes the objects to the file, one per line, and returns the checksum
// of the items. The order of the objects does not change it. Since a table may be
// large, encodeSnapshot has only one line in memory at a time.
func encodeSnapshot(file io.WriteSeeker, served *routetable.Objects) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	out := bufio.NewWriter(file)
	head := fmt.Sprintf(`{
"apiVersion": "v1",
"kind": "List",
"metadata": {"annotations": {%q: "%d", %q: "`, annotationFormat, snapshotFormat, annotationChecksum)
	fmt.Fprintf(out, "%s%x\"}},\n\"items\": ", head, sum) // zeros, until the checksum is known
	if err := encodeItems(io.MultiWriter(out, hash), served); err != nil {
		return sum, err
	}
	fmt.Fprint(out, "\n}\n") // Flush returns the error
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

// encodeItems writes one object per line: NetworkLists, clusters, then hosts, each sorted
// by name.
func encodeItems(out io.Writer, served *routetable.Objects) error {
	lines := lineWriter{out: out, separator: "[\n"}
	for _, i := range sorted(served.Networks, func(l *v1alpha1.NetworkList) string { return l.Name }) {
		if err := lines.write(trimNetworks(&served.Networks[i])); err != nil {
			return fmt.Errorf("encode NetworkList %s: %w", served.Networks[i].Name, err)
		}
	}
	for _, i := range sorted(served.Clusters, func(c *v1alpha1.MemberCluster) string { return c.Name }) {
		if err := lines.write(trimCluster(&served.Clusters[i])); err != nil {
			return fmt.Errorf("encode MemberCluster %s: %w", served.Clusters[i].Name, err)
		}
	}
	for _, i := range sorted(served.Hosts, func(h *v1alpha1.ExposedHost) string { return h.Name }) {
		host := &served.Hosts[i]
		if err := lines.write(trimHost(host)); err != nil {
			return fmt.Errorf("encode ExposedHost %s: %w", host.Name, err)
		}
	}
	return lines.end()
}

// lineWriter writes a JSON array, one element per line.
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

// sorted returns the indexes of a slice, sorted by name. It does not modify the slice.
func sorted[T any](all []T, name func(*T) string) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(name(&all[a]), name(&all[b])) })
	return order
}

// trimHost returns the fields of a host that the routing table needs, and its labels.
func trimHost(host *v1alpha1.ExposedHost) *v1alpha1.ExposedHost {
	trimmed := &v1alpha1.ExposedHost{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindExposedHost},
		ObjectMeta: metav1.ObjectMeta{Name: host.Name, Labels: host.Labels},
		Spec:       host.Spec,
	}
	trimmed.Spec.Holder, trimmed.Spec.Share = "", false // only the control plane needs them, and an older usher without the fields would refuse the snapshot
	trimmed.Status.Conditions = []metav1.Condition{acceptedOf(host)}
	return trimmed
}

// acceptedOf returns a host's Accepted condition. A host without a decision gets the
// reason NotDecided: without a condition, it would be accepted if the file became a
// manifest.
func acceptedOf(host *v1alpha1.ExposedHost) metav1.Condition {
	if accepted := meta.FindStatusCondition(host.Status.Conditions, v1alpha1.ConditionAccepted); accepted != nil {
		return *accepted
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse,
		Reason: reason.NotDecided, LastTransitionTime: host.CreationTimestamp,
	}
}

// trimCluster returns the fields of a cluster that the routing table needs, and its labels;
// of its annotations, whether it is drained.
func trimCluster(cluster *v1alpha1.MemberCluster) *v1alpha1.MemberCluster {
	trimmed := &v1alpha1.MemberCluster{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindMemberCluster},
		ObjectMeta: metav1.ObjectMeta{Name: cluster.Name, Labels: cluster.Labels},
		Spec:       cluster.Spec,
		Status:     v1alpha1.MemberClusterStatus{Ingress: cluster.Status.Ingress, Gateways: cluster.Status.Gateways},
	}
	if drain, given := cluster.Annotations[v1alpha1.AnnotationDrain]; given {
		trimmed.Annotations = map[string]string{v1alpha1.AnnotationDrain: drain}
	}
	return trimmed
}

// trimNetworks returns the fields of a NetworkList that the routing table needs, and its
// labels.
func trimNetworks(list *v1alpha1.NetworkList) *v1alpha1.NetworkList {
	return &v1alpha1.NetworkList{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kindNetworkList},
		ObjectMeta: metav1.ObjectMeta{Name: list.Name, Labels: list.Labels},
		Spec:       list.Spec,
	}
}

// decodeSnapshot decodes a file of encodeSnapshot, and refuses any other.
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
	if err := checkAnnotations(file.Metadata.Annotations, sum); err != nil {
		return objects{}, sum, err
	}
	items, mistakes := document{position: position{document: 1}, text: data}.open()
	found, wrong := decodeAll(context.Background(), items, noValidation)
	if mistakes = append(mistakes, wrong...); len(mistakes) > 0 {
		return objects{}, sum, newLocator(snapshotName, data).problems(mistakes)
	}
	return found, sum, nil
}

// checkAnnotations checks a snapshot's version and the checksum of its items.
func checkAnnotations(annotations map[string]string, sum [sha256.Size]byte) error {
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
