package manifest

import (
	"context"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/routetable"
)

// A Report is what a directory of manifests comes to.
type Report struct {
	Files    int // that were read
	Refused  int // of them
	Hosts    int // ExposedHosts in the others
	Clusters int // MemberClusters in the others
	Routes   int // hosts that would be served
	Problems []Problem
}

// Check reads a directory of manifests as a Watcher does that starts with no last
// good state, and reports every problem. An error says that the directory could not
// be read, or that ctx has ended.
func Check(ctx context.Context, dir string) (Report, error) {
	d := directory{path: dir, log: logr.Discard()}
	if _, err := d.scan(ctx); err != nil {
		return Report{}, err
	}
	all := d.objects()
	table, _ := routetable.Build(all.hosts, all.clusters) // what is wrong with a host is a problem of its file
	report := Report{Files: len(d.files), Hosts: len(all.hosts), Clusters: len(all.clusters), Routes: table.Len()}
	for _, f := range d.byName() {
		if wrong := f.problems(); len(wrong) > 0 {
			report.Refused++
			report.Problems = append(report.Problems, wrong...)
		}
	}
	return report, nil
}
