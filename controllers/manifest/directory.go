package manifest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/go-logr/logr"
)

// A directory is the state of a --manifests directory. A file that cannot be
// read as it stands keeps its last good state and harms no other.
type directory struct {
	path  string
	log   logr.Logger
	files map[string]*file // name → file
}

// scan reads what is new in the directory and reports whether that changes what
// is served. A directory that cannot be listed is an error, and changes nothing:
// it is no evidence that anything was withdrawn.
func (d *directory) scan(ctx context.Context) (changed bool, err error) {
	names, err := manifestNames(d.path)
	if err != nil {
		return false, err
	}
	present := make(map[string]*file, len(names))
	for _, name := range names {
		f := d.files[name]
		if f == nil {
			f = &file{name: name}
		}
		err := f.load(ctx, d.path)
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			continue // it went after it was listed
		case err != nil:
			d.refuse(f, err)
		}
		present[name] = f
	}
	for name := range d.files {
		changed = changed || present[name] == nil
	}
	d.files = present
	return d.settle() || changed, nil
}

// settle accepts the new states of files that hold no object of another file,
// and reports whether there were any. One that is turned down is looked at again
// next time, since the other file may have changed.
func (d *directory) settle() (changed bool) {
	for _, f := range d.files {
		f.turnedDown = false
	}
	for {
		f, err := d.clash()
		if f == nil {
			break
		}
		f.turnedDown = true
		d.refuse(f, err)
	}
	for _, f := range d.files {
		if f.proposes() {
			f.accepted, f.next, f.problem = *f.next, nil, ""
			changed = true
		}
	}
	return changed
}

// clash returns a file whose new state holds an object of another file. Files
// that propose nothing keep what they have; of the others the first by name does.
func (d *directory) clash() (*file, error) {
	files := d.byName()
	if !slices.ContainsFunc(files, (*file).proposes) {
		return nil, nil
	}
	sort.SliceStable(files, func(i, j int) bool { return !files[i].proposes() && files[j].proposes() })
	owner := map[key]*file{} // object → file
	for _, f := range files {
		for k := range f.state().keys {
			if other := owner[k]; other != nil {
				return f, fmt.Errorf("%s: %v is in %s too: remove one of them", f.name, k, other.name)
			}
			owner[k] = f
		}
	}
	return nil, nil
}

// refuse logs what is wrong with a file, once.
func (d *directory) refuse(f *file, err error) {
	if err.Error() == f.problem {
		return
	}
	f.problem = err.Error()
	d.log.Error(err, "Refused a manifest file; its last good state, if it had one, is served on", "file", f.name)
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

func (d *directory) byName() []*file {
	return slices.SortedFunc(maps.Values(d.files), func(a, b *file) int { return strings.Compare(a.name, b.name) })
}
