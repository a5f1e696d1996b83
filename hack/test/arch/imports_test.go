package arch

import (
	"slices"
	"testing"
)

// A rule forbids the packages of a folder to import others, directly or indirectly.
type rule struct {
	of     string   // folder of the module
	never  []string // import paths, and all below them
	except []string // exceptions
	why    string
}

var rules = []rule{
	{
		of:    "api",
		never: []string{module},
		why:   "the API is data, under everything else",
	},
	{
		of:     "controllers",
		never:  []string{module + "/cmd", module + "/proxy"},
		except: []string{module + "/proxy/routing"},
		why:    "the control plane knows the data plane's table and nothing else of it",
	},
	{
		of:    "proxy",
		never: []string{module + "/cmd", module + "/controllers", module + "/api", "k8s.io", "sigs.k8s.io"},
		why:   "the data plane can be read, tested and run without Kubernetes",
	},
	{
		of:    "proxy/routing",
		never: []string{module},
		why:   "the seam between the halves knows neither",
	},
	{
		of:    "proxy/clienthello",
		never: []string{module},
		why:   "the parser of hostile bytes depends on nothing that can change its mind",
	},
	{
		of:    "cmd",
		never: []string{module + "/hack"},
		why:   "the binary carries no test bed",
	},
	{
		of:    "hack/testbed",
		never: []string{module + "/cmd", module + "/controllers", module + "/proxy", module + "/api"},
		why:   "the test bed would be in the tests of what it knows",
	},
	{
		of:    "hack/test/testkit",
		never: []string{module, "k8s.io", "sigs.k8s.io"},
		why:   "the tests of every package use it, and those of the data plane know no Kubernetes",
	},
}

func TestImportsRunOneWay(t *testing.T) {
	all := packages(t)
	for _, rule := range rules {
		t.Run(rule.of, func(t *testing.T) {
			for _, p := range all {
				if p.in(rule.of) {
					rule.check(t, p)
				}
			}
		})
	}
}

func (r rule) check(t *testing.T, p goPackage) {
	t.Helper()
	forbidden := slices.DeleteFunc(slices.Clone(p.Deps), func(dep string) bool { return !r.forbids(dep) })
	if len(forbidden) > 0 {
		t.Errorf("%s depends on %s, the first of %d: %s", p.ImportPath, forbidden[0], len(forbidden), r.why)
	}
}

func (r rule) forbids(path string) bool {
	under := func(root string) bool { return within(path, root) }
	own := within(path, module+"/"+r.of)
	return !own && slices.ContainsFunc(r.never, under) && !slices.ContainsFunc(r.except, under)
}
