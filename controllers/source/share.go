package source

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
)

// strategies are the values of AnnotationStrategy. A claim has one of these strings, so
// that it takes no memory of its own.
var strategies = []v1alpha1.Strategy{
	v1alpha1.StrategyFailover, v1alpha1.StrategyRoundRobin,
	v1alpha1.StrategyLeastConnections, v1alpha1.StrategyClientHash,
}

// readShare reads the annotations about hosts with several backends. The other options are
// zero.
func readShare(annotations map[string]string) (o Options, bad *malformed) {
	var err error
	if o.Share, err = readBool(annotations, v1alpha1.AnnotationShare); err != nil {
		return Options{}, &malformed{v1alpha1.AnnotationShare, err}
	}
	if o.Strategy, err = readStrategy(annotations); err != nil {
		return Options{}, &malformed{v1alpha1.AnnotationStrategy, err}
	}
	if o.Weight, err = readWeight(annotations); err != nil {
		return Options{}, &malformed{v1alpha1.AnnotationWeight, err}
	}
	return o, nil
}

// readStrategy returns the strategy; empty if the annotation is missing. It ignores upper
// and lower case: the values of other annotations are in lower case, those of the API are not.
func readStrategy(annotations map[string]string) (v1alpha1.Strategy, error) {
	value, given := annotations[v1alpha1.AnnotationStrategy]
	if !given {
		return "", nil
	}
	var names []string
	for _, strategy := range strategies {
		if strings.EqualFold(value, string(strategy)) {
			return strategy, nil
		}
		names = append(names, string(strategy))
	}
	return "", fmt.Errorf("%s is none of %s", message.Quote(value), strings.Join(names, ", "))
}

// readWeight returns the weight; nil if the annotation is missing.
func readWeight(annotations map[string]string) (*int32, error) {
	value, given := annotations[v1alpha1.AnnotationWeight]
	if !given {
		return nil, nil
	}
	weight, err := strconv.ParseUint(value, 10, 8)
	if err != nil || weight > v1alpha1.MaxWeight {
		return nil, fmt.Errorf("%s is not a whole number from 0 to %d", message.Quote(value), v1alpha1.MaxWeight)
	}
	return new(int32(weight)), nil
}
