package manifest

import (
	"context"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
)

// A Report is the result of Check.
type Report struct {
	Files    int       `json:"files"`          // files that were read
	Refused  int       `json:"refusedFiles"`   // files that have a problem
	Hosts    int       `json:"exposedHosts"`   // in the other files
	Clusters int       `json:"memberClusters"` // in the other files
	Networks int       `json:"networkLists"`   // in the other files
	Routes   int       `json:"servedHosts"`    // hosts that would be served
	Problems []Problem `json:"problems"`
}

// Check reads a directory of manifests as a Watcher without a last good state does, and
// reports every problem. It returns an error if the directory cannot be read, or if ctx
// has ended.
func Check(ctx context.Context, dir string) (Report, error) {
	d := directory{path: dir, log: logr.Discard()}
	if _, err := d.scan(ctx); err != nil {
		return Report{}, err
	}
	all := d.objects()
	table, _ := routetable.Build(all.served()) // a problem of a host is already a problem of its file
	report := Report{
		Files: len(d.files), Hosts: len(all.hosts), Clusters: len(all.clusters), Networks: len(all.networks), Routes: table.Len(),
		Problems: []Problem{}, // not null in JSON
	}
	for _, f := range d.byName() {
		if wrong := f.problems(); len(wrong) > 0 {
			report.Refused++
			report.Problems = append(report.Problems, wrong...)
		}
	}
	return report, nil
}

// Hosts returns the ExposedHosts of a directory of manifests, in the order of its files. It
// returns an error if the directory cannot be read, a file of it has a problem, or ctx has
// ended.
func Hosts(ctx context.Context, dir string) ([]v1alpha1.ExposedHost, error) {
	d := directory{path: dir, log: logr.Discard()}
	if _, err := d.scan(ctx); err != nil {
		return nil, err
	}
	for _, f := range d.byName() {
		if wrong := f.problems(); len(wrong) > 0 {
			return nil, wrong
		}
	}
	return d.objects().hosts, nil
}
