package member

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/source"
)

// Bounds of the shared annotations of a session.
const (
	maxShared    = 64  // sets
	maxSharedLen = 512 // bytes of a set
)

// sharedAnnotations lets cached objects with the same annotations share one map: most
// objects of a cluster have the same few annotations of Traefik, and a map for each
// takes more memory than the rest of the object. Cached objects are read only.
type sharedAnnotations struct {
	mu   sync.Mutex
	sets map[string]map[string]string // keys and values → set
}

// share replaces the annotations of an object that is not exposed.
func (s *sharedAnnotations) share(o client.Object) {
	annotations := o.GetAnnotations()
	if len(annotations) == 0 || source.Exposed(annotations) {
		return
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		key.WriteString(name + "\x00" + annotations[name] + "\x00")
		if key.Len() > maxSharedLen {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	set, found := s.sets[key.String()]
	if !found {
		if len(s.sets) == maxShared {
			return
		}
		if s.sets == nil {
			s.sets = map[string]map[string]string{}
		}
		set = annotations
		s.sets[key.String()] = set
	}
	o.SetAnnotations(set)
}
