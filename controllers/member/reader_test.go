package member

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/controllers/source"
)

// onHosts is a listener that acts when hosts have changed.
type onHosts func()

func (onHosts) rules() Rules                            { return Rules{} }
func (act onHosts) hostsChanged(_ *session, _ []string) { act() }
func (onHosts) stateChanged(*session)                   {}
func (onHosts) allChanged(*session)                     {}

// The cluster stops serving a kind while an object of its first list is being read.
// When the kind is served again, it counts as read: the reader does not wait for the
// objects of the first list.
func TestKindThatGoesWhileItIsReadIsReadAgain(t *testing.T) {
	k := kindNamed(t, source.KindIngress)
	kind := kindIndex(k.gvk)
	s := &session{names: newNames(), marks: newMarks(), readings: newReadings(Limits{}), running: map[schema.GroupVersionKind]watched{k.gvk: {}}}
	s.holdings = newHoldings(func(error) {})
	s.reader = newReader(s)
	gone := false
	s.listener = onHosts(func() {
		if !gone {
			gone = true
			s.reader.forget(kind)
		}
	})
	list := func() {
		for _, name := range []string{"a", "b"} {
			o := read[networkingv1.Ingress]("metadata: {namespace: default, name: " + name + ", annotations: {usher.techn.is/expose: 'true'}}\nspec: {rules: [{host: " + name + ".x.io, http: {paths: [{path: /}]}}]}")
			s.reader.changed(sourceID{kind, types.NamespacedName{Namespace: "default", Name: name}}, nil, o, true)
		}
	}
	readAll := func() {
		for s.reader.step() {
		}
		if !s.reader.hasRead(kind) {
			t.Errorf("there are %d objects to read", s.reader.unread[kind])
		}
	}
	list()
	readAll()
	if hosts := s.readings.claimedHosts(all); len(hosts) > 0 {
		t.Errorf("of a kind that is gone there are %q", hosts)
	}
	list()
	readAll()
	if hosts := s.readings.claimedHosts(all); len(hosts) != 2 {
		t.Errorf("there are %q", hosts)
	}
	if s.names.size() != 2*perName {
		t.Errorf("the names take %d bytes", s.names.size())
	}
}
