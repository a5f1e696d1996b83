package apiserver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

var ageColumn = metav1.TableColumnDefinition{Name: "Age", Type: "string"}

// age returns for how long something has been there, as kubectl prints it.
func age(since time.Time) string {
	if since.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(since))
}

// ConvertToTable implements rest.TableConvertor: the columns that kubectl get prints.
func (r resource) ConvertToTable(_ context.Context, object, options runtime.Object) (*metav1.Table, error) {
	table := &metav1.Table{}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		table.ColumnDefinitions = append([]metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name"}}, r.columns...)
	}
	add := func(item runtime.Object) error {
		o, err := meta.Accessor(item)
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: append([]any{o.GetName()}, r.cells(item)...), Object: runtime.RawExtension{Object: item}})
		return nil
	}
	list, err := meta.ListAccessor(object)
	if err != nil {
		return table, add(object)
	}
	table.ResourceVersion, table.Continue, table.RemainingItemCount = list.GetResourceVersion(), list.GetContinue(), list.GetRemainingItemCount()
	return table, meta.EachListItem(object, add)
}
