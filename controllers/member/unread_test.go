package member

import (
	"fmt"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
)

// However many objects a member annotates, a status lists few, the newest of them, and
// those of sources stay visible beside them.
func TestRefusalsOfUnreadKindsAreBounded(t *testing.T) {
	refusals := func(kind string, count int) (list []v1alpha1.SourceRefusal) {
		for i := range count {
			list = append(list, v1alpha1.SourceRefusal{Kind: kind, Name: fmt.Sprint(i)})
		}
		return list
	}
	unread := func(count int) (list []unreadObject) {
		for i, refusal := range refusals("Service", count) {
			list = append(list, unreadObject{time.Unix(int64(i), 0), refusal})
		}
		return newestUnread(append(list, list...)) // Traefik's kinds may be in both of its API groups
	}
	for _, test := range []struct{ sources, unread, wantSources, wantUnread int }{
		{0, 0, 0, 0},
		{10, 0, 10, 0},
		{10, 2, 8, 2},
		{10, 5000, 7, 3},
		{2, 5000, 2, 8},
		{0, 5000, 0, 10},
		{5, 5, 5, 5},
	} {
		var sources, others int
		for _, refusal := range refusalsWith(refusals("Ingress", test.sources), unread(test.unread)) {
			if refusal.Kind == "Ingress" {
				sources++
				continue
			}
			if want := fmt.Sprint(test.unread - 1 - others); refusal.Name != want {
				t.Errorf("with %+v, object %d is %s, want %s", test, others, refusal.Name, want)
			}
			others++
		}
		if sources != test.wantSources || others != test.wantUnread {
			t.Errorf("with %+v there are %d and %d", test, sources, others)
		}
	}
}
