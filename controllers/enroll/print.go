package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Formats of Print.
const (
	FormatYAML = "yaml" // documents
	FormatJSON = "json" // a List
)

// Print writes manifests in a format.
func Print(out io.Writer, objects []*unstructured.Unstructured, format string) error {
	if format == FormatJSON {
		list := &unstructured.UnstructuredList{}
		for _, o := range objects {
			list.Items = append(list.Items, *o)
		}
		return (&printers.JSONPrinter{}).PrintObj(asList(list), out)
	}
	printer := &printers.YAMLPrinter{}
	for _, o := range objects {
		if err := printer.PrintObj(o, out); err != nil {
			return fmt.Errorf("write %s: %w", describe(o), err)
		}
	}
	return nil
}

// asList makes a list a List of any kind, as kubectl prints it.
func asList(list *unstructured.UnstructuredList) *unstructured.UnstructuredList {
	list.Object = map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}}
	return list
}

// List returns all MemberClusters of the edge cluster, created by usher or not.
func List(ctx context.Context, edge *Cluster) (*unstructured.UnstructuredList, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	list := listOf(v1alpha1.GroupVersion.WithKind("MemberCluster"))
	if err := edge.client.List(ctx, list); err != nil {
		return nil, edge.failed("list MemberClusters", noCRDs(err))
	}
	return asList(list), nil
}

// tableAccept asks the API server for a Table, as kubectl get does.
const tableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io"

// Table returns all MemberClusters of the edge cluster as the table of kubectl get
// memberclusters: the API server makes it, with the columns of the
// CustomResourceDefinition.
func Table(ctx context.Context, edge *Cluster) (*metav1.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	config := rest.CopyConfig(edge.config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = clientscheme.Codecs.WithoutConversion()
	requests, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, edge.failed("list MemberClusters", err)
	}
	data, err := requests.Get().Resource("memberclusters").SetHeader("Accept", tableAccept).Do(ctx).Raw()
	if err != nil {
		return nil, edge.failed("list MemberClusters", noCRDs(err))
	}
	table := &metav1.Table{}
	if err := json.Unmarshal(data, table); err != nil {
		return nil, edge.failed("read the table of MemberClusters", err)
	}
	return table, decodeRows(table)
}

// decodeRows decodes the metadata of each row, from which the printer takes labels.
func decodeRows(table *metav1.Table) error {
	for i := range table.Rows {
		row := &table.Rows[i]
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(row.Object.Raw, &object); err != nil {
			return fmt.Errorf("read row %d of the table of MemberClusters: %w", i+1, err)
		}
		row.Object = runtime.RawExtension{Object: &object}
	}
	return nil
}

// noCRDs explains the error of a cluster without usher's CRDs.
func noCRDs(err error) error {
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return errors.New("the cluster lacks the CRDs of usher; install usher first, or choose the context of the edge cluster")
	}
	return err
}
