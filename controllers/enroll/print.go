package enroll

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
)

// List returns all MemberClusters of the edge cluster, created by usher or not.
func List(ctx context.Context, edge *Cluster) ([]v1alpha1.MemberCluster, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return edge.members(ctx)
}

// Objects converts MemberClusters for Print, with their status.
func Objects(members []v1alpha1.MemberCluster) []*unstructured.Unstructured {
	all := make([]*unstructured.Unstructured, len(members))
	for i := range members {
		all[i] = complete(&members[i])
	}
	return all
}

// Formats of Print.
const (
	FormatYAML = "yaml" // documents
	FormatJSON = "json" // a List
	FormatName = "name" // one per line, in the form that kubectl accepts
)

// Print writes objects in a format.
func Print(out io.Writer, objects []*unstructured.Unstructured, format string) error {
	switch format {
	case FormatJSON:
		return printJSON(out, objects)
	case FormatName:
		return printNames(out, objects)
	}
	return printYAML(out, objects)
}

func printYAML(out io.Writer, objects []*unstructured.Unstructured) error {
	for i, o := range objects {
		document, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("write %s: %w", describe(o), err)
		}
		separator := "---\n"
		if i == 0 {
			separator = ""
		}
		if _, err := fmt.Fprintf(out, "%s%s", separator, document); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(out io.Writer, objects []*unstructured.Unstructured) error {
	items := make([]any, len(objects))
	for i, o := range objects {
		items[i] = o.Object
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "    ")
	return encoder.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}

func printNames(out io.Writer, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		kind := strings.ToLower(o.GetKind())
		if group := o.GroupVersionKind().Group; group != "" {
			kind += "." + group
		}
		if _, err := fmt.Fprintf(out, "%s/%s\n", kind, o.GetName()); err != nil {
			return err
		}
	}
	return nil
}

// PrintTable writes one line per member, with the columns of kubectl get memberclusters.
func PrintTable(out io.Writer, members []v1alpha1.MemberCluster, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	rows := [][]string{{"NAME", "READY", "REASON", "INGRESS", "HOSTS", "VERSION", "AGE"}}
	for i := range members {
		rows = append(rows, row(&members[i], now))
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(table, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}

func row(mc *v1alpha1.MemberCluster, now time.Time) []string {
	status, reason := string(metav1.ConditionUnknown), ""
	if ready := readyOf(mc); ready != nil {
		status, reason = string(ready.Status), ready.Reason
	}
	var ingress []string
	if mc.Status.Ingress != nil {
		ingress = slices.Clone(mc.Status.Ingress.Addresses)
	}
	return []string{mc.Name, status, reason, strings.Join(ingress, ","), fmt.Sprint(mc.Status.Hosts), mc.Status.KubernetesVersion,
		duration.HumanDuration(now.Sub(mc.CreationTimestamp.Time))}
}
