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
// its last good state and does not affect other files.
type directory struct {
	path  string
	log   logr.Logger
	kept  *lastGood        // nil: last good states are not stored on disk
	files map[string]*file // name → file; nil before the first scan

	refusedHosts []string // the hosts of refused files that are not served, as of the last scan
}

// scan reads new and changed files of the directory, and reports whether they change
// what is served. A directory that cannot be listed is an error and changes nothing: it
// is no evidence that a host was withdrawn.
func (d *directory) scan(ctx context.Context) (changed bool, err error) {
	names, err := manifestNames(d.path)
	if err != nil {
		return false, err
	}
	first := d.files == nil
	present := make(map[string]*file, len(names))
	unchecked := first // a file has changed since the last check
	for _, name := range names {
		f := d.files[name]
		if f == nil {
			f = &file{name: name, path: filepath.Join(d.path, name)}
		}
		updated, err := f.load(ctx)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err == nil { // otherwise it was deleted after it was listed
			present[name] = f
		}
		unchecked = unchecked || updated
	}
	for name := range d.files {
		changed = changed || present[name] == nil
	}
	d.files = present
	if first {
		if err := d.restore(ctx); err != nil {
			return false, err
		}
	}
	changed = (unchecked || changed) && d.acceptNew() || changed
	refused := d.unserved()
	changed = changed || !slices.Equal(refused, d.refusedHosts)
	d.refusedHosts = refused
	return changed, nil
}

// restore loads the last good states of files from the disk, so that a restart changes
// nothing of what is served. The state of an unchanged file is restored first. Another
// state is not restored if it conflicts with the ones before it.
func (d *directory) restore(ctx context.Context) error {
	if d.kept == nil {
		return nil
	}
	owned := map[key]bool{} // the objects of restored states
	var changedFiles []func() error
	for _, f := range d.byName() {
		text, modified, ok := d.kept.load(f.name)
		switch {
		case !ok:
		case f.hasNew() && sha256.Sum256(text) == f.sum:
			if _, duplicate := f.next.addTo(owned); !duplicate { // otherwise acceptNew refuses it
				f.acceptNext()
			}
		default:
			changedFiles = append(changedFiles, func() error { return f.restore(ctx, text, modified, owned) })
		}
	}
	for _, restore := range changedFiles {
		if err := restore(); err != nil {
			d.log.Error(err, "Could not use the last good state of a manifest file")
		}
	}
	return ctx.Err()
}

// acceptNew accepts the new states of files that do not conflict with other files, and
// reports whether there were any. A state that conflicts is checked again after any
// file has changed.
func (d *directory) acceptNew() (changed bool) {
	for _, f := range d.files {
		f.conflicts, f.withOthers = false, nil
	}
	for {
		found := d.check()
		if len(found) == 0 {
			break
		}
		d.noteProblems(found)
		for f := range found {
			f.conflicts = true
		}
	}
	for _, f := range d.files {
		if f.hasNew() {
			text := f.acceptNext()
			if d.kept != nil {
				f.unsaved = text
			}
			changed = true
		}
	}
	d.noteProblems(d.checkOthers())
	return changed
}

// mistakesByFile has only files with mistakes: file → its mistakes.
type mistakesByFile map[*file][]mistake

// check returns the mistakes of the new states of files. If two files have the same
// object, it belongs to the file without a new state, else to the first by name.
func (d *directory) check() mistakesByFile {
	found := mistakesByFile{}
	files := d.byName()
	sort.SliceStable(files, func(i, j int) bool { return !files[i].hasNew() && files[j].hasNew() })
	owners, all := map[key]place{}, d.referred()
	for _, f := range files {
		mistakes := f.duplicates(f.state(), owners)
		if f.hasNew() {
			found.add(f, append(mistakes, f.unrouted(f.state(), all)...))
		}
	}
	return found
}

// checkOthers returns the mistakes of the files that check does not cover. The good
// objects of a file with mistakes are checked only to report all mistakes at once. A file
// that was accepted, and names a cluster or a list that was deleted since, keeps its
// state, but its hosts are not served: the person who deleted it wanted that.
func (d *directory) checkOthers() mistakesByFile {
	found := mistakesByFile{}
	owners, all := map[key]place{}, d.referred()
	files := d.byName()
	for _, f := range files {
		f.duplicates(f.state(), owners)
	}
	for _, f := range files {
		switch {
		case len(f.own) > 0:
			mistakes := f.duplicates(f.next, owners)
			found.add(f, append(mistakes, f.unrouted(f.next, all.with(f.next))...))
		case f.good && f.sum == f.acceptedSum:
			found.add(f, f.unrouted(&f.accepted, all))
		}
	}
	return found
}

func (m mistakesByFile) add(f *file, mistakes []mistake) {
	if len(mistakes) > 0 {
		m[f] = mistakes
	}
}

// duplicates returns a mistake for each object of the state that another file owns. It
// makes the file the owner of the other objects.
func (f *file) duplicates(state *objects, owners map[key]place) (mistakes []mistake) {
	for k, at := range state.keys {
		switch owner, owned := owners[k]; {
		case !owned:
			owners[k] = place{f, state, at}
		case owner.in != f:
			mistakes = append(mistakes, duplicateOf(at, k, owner))
		}
	}
	return mistakes
}

// referred are the objects that hosts refer to, of several files.
type referred struct {
	clusters []v1alpha1.MemberCluster
	networks []v1alpha1.NetworkList
}

// with returns the objects of r and those of a state.
func (r referred) with(state *objects) referred {
	return referred{slices.Concat(r.clusters, state.clusters), slices.Concat(r.networks, state.networks)}
}

// unrouted returns the mistakes that prevent hosts of the state from being served.
func (f *file) unrouted(state *objects, all referred) (mistakes []mistake) {
	routetable.Check(routetable.Objects{Hosts: state.hosts, Clusters: all.clusters, Networks: all.networks}, func(host int, e *field.Error) {
		mistakes = append(mistakes, mistakeOf(state.hostAt[host], e))
	})
	return mistakes
}

// noteProblems stores the mistakes in their files, with their lines.
func (d *directory) noteProblems(found mistakesByFile) {
	for f, mistakes := range found {
		state := &f.accepted
		if f.next != nil {
			state = f.next
		}
		f.withOthers = f.locate(state).problems(mistakes)
	}
}

// referred returns the MemberClusters and NetworkLists of all files' states.
func (d *directory) referred() (all referred) {
	for _, f := range d.files {
		all.clusters = append(all.clusters, f.state().clusters...)
		all.networks = append(all.networks, f.state().networks...)
	}
	return all
}

// objects returns the accepted objects of all files.
func (d *directory) objects() objects {
	var all objects
	for _, f := range d.byName() {
		all.hosts = append(all.hosts, f.accepted.hosts...)
		all.clusters = append(all.clusters, f.accepted.clusters...)
		all.networks = append(all.networks, f.accepted.networks...)
	}
	return all
}

// logProblems logs the problems of each file, once.
func (d *directory) logProblems() {
	for _, f := range d.byName() {
		found := f.problems()
		text := found.Error()
		if text == f.logged {
			continue
		}
		f.logged = text
		switch {
		case len(found) == 0:
			d.log.Info("A manifest file is good again", "file", f.name)
		case f.good:
			d.log.Error(found, "Refused a manifest file; its last good state is still served", "file", f.name, "lastGood", f.modified)
		default:
			d.log.Error(found, "Refused a manifest file; there is no last good state, and none of its hosts is served", "file", f.name)
		}
	}
}

// refused counts the files that have a problem: those with a last good state, which is
// served, and those without one. It returns the problems of the latter.
func (d *directory) refused() (served, unserved int, without problems) {
	for _, f := range d.byName() {
		switch found := f.problems(); {
		case len(found) == 0:
		case f.good:
			served++
		default:
			unserved++
			without = append(without, found...)
		}
	}
	return served, unserved, without
}

// save writes new last good states to the disk. A failure is logged, and retried at the
// next scan.
func (d *directory) save() {
	if d.kept == nil {
		return
	}
	for _, f := range d.byName() {
		if f.unsaved == nil {
			continue
		}
		if err := d.kept.store(f.name, f.unsaved, f.modified); err != nil {
			d.log.Error(err, "Could not store the last good state of a manifest file; will retry", "file", f.name)
			continue
		}
		f.unsaved = nil
	}
	if err := d.kept.prune(d.files); err != nil {
		d.log.Error(err, "Could not remove the last good states of deleted manifest files; will retry")
	}
}

func (d *directory) byName() []*file {
	return slices.SortedFunc(maps.Values(d.files), func(a, b *file) int { return strings.Compare(a.name, b.name) })
}
