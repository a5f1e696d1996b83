package manifest

import (
	"context"
	"crypto/sha256"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
)

// A directory is the state of a --manifests directory. A file with a problem keeps
// its last good state and harms no other.
type directory struct {
	path  string
	log   logr.Logger
	kept  *lastGood        // nil: last good states are not kept on disk
	files map[string]*file // name → file; nil before the first scan

	refusing []string // the hosts that refused files name and that are not served, as of the last scan
}

// scan reads what is new in the directory and reports whether that changes what
// is served. A directory that cannot be listed is an error, and changes nothing:
// it is no evidence that anything was withdrawn.
func (d *directory) scan(ctx context.Context) (changed bool, err error) {
	names, err := manifestNames(d.path)
	if err != nil {
		return false, err
	}
	first := d.files == nil
	present := make(map[string]*file, len(names))
	stale := first // what was checked last
	for _, name := range names {
		f := d.files[name]
		if f == nil {
			f = &file{name: name, path: filepath.Join(d.path, name)}
		}
		fresh, err := f.load(ctx)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err == nil { // else it went after it was listed
			present[name] = f
		}
		stale = stale || fresh
	}
	for name := range d.files {
		changed = changed || present[name] == nil
	}
	d.files = present
	if first {
		if err := d.recall(ctx); err != nil {
			return false, err
		}
	}
	changed = (stale || changed) && d.settle() || changed
	refusing := d.unserved()
	changed = changed || !slices.Equal(refusing, d.refusing)
	d.refusing = refusing
	return changed, nil
}

// recall gives files their last good states from the disk, which are then checked as
// if usher had never ended: a file that has not changed keeps what it had, and a
// state that does not go together with the other ones is not taken over.
func (d *directory) recall(ctx context.Context) error {
	if d.kept == nil {
		return nil
	}
	taken := map[key]bool{}
	var others []func() error
	for _, f := range d.byName() {
		text, modified, ok := d.kept.load(f.name)
		switch {
		case !ok:
		case f.proposes() && sha256.Sum256(text) == f.sum:
			if _, twice := f.next.claim(taken); !twice { // else it is turned down
				f.adopt()
			}
		default:
			others = append(others, func() error { return f.recall(ctx, text, modified, taken) })
		}
	}
	for _, recall := range others {
		if err := recall(); err != nil {
			d.log.Error(err, "Could not use the last good state of a manifest file")
		}
	}
	return ctx.Err()
}

// settle accepts the new states of files that go together with the other files,
// and reports whether there were any. One that is turned down is looked at again
// when any file has changed.
func (d *directory) settle() (changed bool) {
	for _, f := range d.files {
		f.turnedDown, f.together = false, nil
	}
	for {
		found := d.check()
		if len(found) == 0 {
			break
		}
		d.blame(found)
		for f := range found {
			f.turnedDown = true
		}
	}
	for _, f := range d.files {
		if f.proposes() {
			text := f.adopt()
			if d.kept != nil {
				f.unkept = text
			}
			changed = true
		}
	}
	d.blame(d.checkOthers())
	return changed
}

// A verdict is what is wrong with files: file → its mistakes.
type verdict map[*file][]mistake

// check returns what is wrong with the new states of files. Files that propose
// nothing keep what they have; of the others the first by name does.
func (d *directory) check() verdict {
	found := verdict{}
	files := d.byName()
	sort.SliceStable(files, func(i, j int) bool { return !files[i].proposes() && files[j].proposes() })
	owners, clusters := map[key]place{}, d.clusters()
	for _, f := range files {
		mistakes := f.twice(f.state(), owners)
		if f.proposes() {
			found.add(f, append(mistakes, f.unrouted(f.state(), clusters)...))
		}
	}
	return found
}

// checkOthers returns what is wrong with the files that check does not cover. The good
// objects of a file with mistakes are checked only to report all mistakes at once. A file
// that was accepted, and names a cluster that has been taken away since, keeps its
// state: its hosts are not served, as the person asked who took the cluster away.
func (d *directory) checkOthers() verdict {
	found := verdict{}
	owners, clusters := map[key]place{}, d.clusters()
	files := d.byName()
	for _, f := range files {
		f.twice(f.state(), owners)
	}
	for _, f := range files {
		switch {
		case len(f.own) > 0:
			mistakes := f.twice(f.next, owners)
			found.add(f, append(mistakes, f.unrouted(f.next, slices.Concat(clusters, f.next.clusters))...))
		case f.good && f.sum == f.acceptedSum:
			found.add(f, f.unrouted(&f.accepted, clusters))
		}
	}
	return found
}

func (v verdict) add(f *file, mistakes []mistake) {
	if len(mistakes) > 0 {
		v[f] = mistakes
	}
}

// twice returns which objects of a file's state another file owns, and makes it the
// owner of the others.
func (f *file) twice(state *objects, owners map[key]place) (mistakes []mistake) {
	for k, at := range state.keys {
		switch owner, taken := owners[k]; {
		case !taken:
			owners[k] = place{f, state, at}
		case owner.in != f:
			mistakes = append(mistakes, inTwoPlaces(at, k, owner))
		}
	}
	return mistakes
}

// unrouted returns what keeps hosts of a file's state from being served.
func (f *file) unrouted(state *objects, clusters []v1alpha1.MemberCluster) (mistakes []mistake) {
	routetable.Check(state.hosts, clusters, func(host int, e *field.Error) {
		mistakes = append(mistakes, mistakeOf(state.hostAt[host], e))
	})
	return mistakes
}

// blame notes the problems of files.
func (d *directory) blame(found verdict) {
	for f, mistakes := range found {
		state := &f.accepted
		if f.next != nil {
			state = f.next
		}
		f.together = f.locate(state).problems(mistakes)
	}
}

// clusters are those of all files' states.
func (d *directory) clusters() (all []v1alpha1.MemberCluster) {
	for _, f := range d.files {
		all = append(all, f.state().clusters...)
	}
	return all
}

// objects returns all that is served.
func (d *directory) objects() objects {
	var all objects
	for _, f := range d.byName() {
		all.hosts = append(all.hosts, f.accepted.hosts...)
		all.clusters = append(all.clusters, f.accepted.clusters...)
	}
	return all
}

// tellProblems logs what is wrong with each file, once.
func (d *directory) tellProblems() {
	for _, f := range d.byName() {
		wrong := f.problems()
		said := wrong.Error()
		if said == f.logged {
			continue
		}
		f.logged = said
		switch {
		case len(wrong) == 0:
			d.log.Info("A manifest file is good again", "file", f.name)
		case f.good:
			d.log.Error(wrong, "Refused a manifest file; its last good state is served on", "file", f.name, "lastGood", f.modified)
		default:
			d.log.Error(wrong, "Refused a manifest file; no good state of it is known, and none of its hosts is served", "file", f.name)
		}
	}
}

// refused counts the files that have a problem, by whether a good state of each is
// served, and returns the problems of those that have none.
func (d *directory) refused() (served, unserved int, without problems) {
	for _, f := range d.byName() {
		switch wrong := f.problems(); {
		case len(wrong) == 0:
		case f.good:
			served++
		default:
			unserved++
			without = append(without, wrong...)
		}
	}
	return served, unserved, without
}

// keep writes the last good states to the disk that are not there yet. What fails is
// logged, and tried again at the next scan.
func (d *directory) keep() {
	if d.kept == nil {
		return
	}
	for _, f := range d.byName() {
		if f.unkept == nil {
			continue
		}
		if err := d.kept.store(f.name, f.unkept, f.modified); err != nil {
			d.log.Error(err, "Could not keep the last good state of a manifest file; it is tried again", "file", f.name)
			continue
		}
		f.unkept = nil
	}
	if err := d.kept.prune(d.files); err != nil {
		d.log.Error(err, "Could not remove the last good states of deleted manifest files; it is tried again")
	}
}

func (d *directory) byName() []*file {
	return slices.SortedFunc(maps.Values(d.files), func(a, b *file) int { return strings.Compare(a.name, b.name) })
}
