package source_test

import (
	"testing"

	"k8s.io/utils/ptr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// The options of a shared host are read, and a change of each makes another claim.
func TestShareOptions(t *testing.T) {
	claimOf := func(annotations ...string) source.Claim {
		claims := translate(t, source.KindIngress, meta(annotations...)+"spec: {rules: ["+rule("a.techn.is")+"]}", hades).Claims
		if len(claims) != 1 {
			t.Fatalf("%q makes the claims %+v", annotations, claims)
		}
		return claims[0]
	}
	without := claimOf()
	if o := without.Options; o.Share || o.Strategy != "" || o.Weight != nil {
		t.Errorf("without annotations the options are %+v", o)
	}
	all := claimOf(`usher.techn.is/share: "true"`, `usher.techn.is/strategy: clienthash`, `usher.techn.is/weight: "7"`)
	if o := all.Options; !o.Share || o.Strategy != v1alpha1.StrategyClientHash || ptr.Deref(o.Weight, -1) != 7 {
		t.Errorf("the options are %+v", o)
	}
	for _, annotation := range []string{`usher.techn.is/share: "true"`, `usher.techn.is/strategy: Failover`, `usher.techn.is/weight: "100"`} {
		if claimOf(annotation).Equal(without) {
			t.Errorf("%s makes no difference", annotation)
		}
		if !claimOf(annotation).Equal(claimOf(annotation)) {
			t.Errorf("%s makes a difference to itself", annotation)
		}
	}
}
