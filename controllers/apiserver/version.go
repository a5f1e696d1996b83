package apiserver

import (
	"runtime/debug"
	"strings"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
)

// library is the module whose version the API server has.
const library = "k8s.io/apiserver"

// served is the version that kubectl version prints. Kubernetes sets it when it links its
// own programs.
type served struct{ compatibility.EffectiveVersion }

// Info implements compatibility.EffectiveVersion.
func (s served) Info() *version.Info {
	info := *s.EffectiveVersion.Info()
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return &info
	}
	for _, module := range build.Deps {
		if number, found := strings.CutPrefix(module.Version, "v0."); found && module.Path == library {
			info.GitVersion = "v1." + number + "+usher"
		}
	}
	info.GitCommit, info.GitTreeState, info.BuildDate = "", "", ""
	return &info
}
