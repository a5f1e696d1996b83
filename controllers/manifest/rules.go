package manifest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/config/crd"
)

// rules validate an object by the schema of a CustomResourceDefinition. They use the
// API server's own code, so that no rule is written twice.
type rules struct {
	structural *schema.Structural
	openAPI    crdvalidation.SchemaValidator
	cel        *cel.Validator // safe for concurrent use, as the API server uses it
}

// rulesOf returns the rules of each kind: kind → rules. They are compiled when first used,
// since most processes read no manifests.
var rulesOf = map[string]func() (*rules, error){
	kindExposedHost:   sync.OnceValues(func() (*rules, error) { return compile(crd.ExposedHosts) }),
	kindMemberCluster: sync.OnceValues(func() (*rules, error) { return compile(crd.MemberClusters) }),
	kindNetworkList:   sync.OnceValues(func() (*rules, error) { return compile(crd.NetworkLists) }),
}

// compile reads a definition in YAML that has one version.
func compile(definition string) (*rules, error) {
	var external apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(definition), &external); err != nil {
		return nil, fmt.Errorf("read a definition: %w", err)
	}
	var internal apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		external.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil)
	if err != nil {
		return nil, fmt.Errorf("convert the schema of %s: %w", external.Name, err)
	}
	structural, err := schema.NewStructural(&internal)
	if err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", external.Name, err)
	}
	openAPI, _, err := crdvalidation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, fmt.Errorf("compile the schema of %s: %w", external.Name, err)
	}
	return &rules{structural, openAPI, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// apply sets the defaults of an object and returns its mistakes. It does the same steps
// as the API server for a strict create, in the same order.
func (r *rules) apply(ctx context.Context, object map[string]any) field.ErrorList {
	unknown := pruning.PruneWithOptions(object, r.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	defaulting.PruneNonNullableNullsWithoutDefaults(object, r.structural)
	defaulting.Default(object, r.structural)

	var errs field.ErrorList
	errs = append(errs, metavalidation.ValidateObjectMetaAccessor(&unstructured.Unstructured{Object: object}, false,
		metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	errs = append(errs, crdvalidation.ValidateCustomResource(nil, object, r.openAPI)...)
	for i, e := range errs {
		if e.Type == field.ErrorTypeTypeInvalid {
			errs[i] = r.wrongType(object, e)
		}
	}
	for _, path := range unknown {
		if !slices.ContainsFunc(errs, func(e *field.Error) bool { return e.Type == field.ErrorTypeTypeInvalid && within(path, e.Field) }) {
			errs = append(errs, r.unknownField(path))
		}
	}
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, r.structural, object)...)
	if slices.ContainsFunc(errs, blocksExpressions) {
		return errs
	}
	violations, _ := r.cel.Validate(ctx, nil, r.structural, object, nil, celconfig.RuntimeCELCostBudget)
	return append(errs, violations...)
}

// within reports whether a path leads to a part of a field.
func within(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

// blocksExpressions reports whether CEL rules cannot be evaluated after this error,
// since a value that they read may be missing or of another type.
func blocksExpressions(e *field.Error) bool {
	switch e.Type {
	case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
		return true
	}
	return false
}
