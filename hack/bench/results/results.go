// Package results keeps what a benchmark measured: as JSON, as Markdown tables
// of medians with their spread and their ratio to one proxy, and as a plot. It
// only computes and formats: it starts nothing and measures nothing.
package results

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jovalle/usher/hack/bench/workload"
)

// A Report is one run of the benchmark.
type Report struct {
	Started  time.Time
	Machine  Machine
	Versions map[string]string // proxy → its version
	Rounds   int
	Size     workload.Size
	Tables   []Table
}

// A Machine is the machine of a run.
type Machine struct {
	Kernel, Processor string
	Processors        int
	Load              float64 // the load average over a minute when the run began
}

// A Table is one test of several proxies.
type Table struct {
	Name, Title string
	Reference   string // the proxy that ratios are to
	Columns     []Column
	Series      []Series
}

// A Column shows one measurement.
type Column struct {
	Key   string
	Title string // with the unit
	Scale float64
	Added bool // show what a proxy adds to the run without one, in the same round
	Ratio bool // and its ratio to the reference, which makes it a headline
}

// A Series has the samples of one proxy, one per round.
type Series struct {
	Proxy   string
	Samples []workload.Sample // one per round; nil if it failed
	Errors  []string          `json:",omitempty"`
}

// Read reads a report that Write wrote.
func Read(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	if err := json.Unmarshal(data, report); err != nil {
		return nil, fmt.Errorf("read the report %s: %w", path, err)
	}
	return report, nil
}

// Write writes the report as JSON.
func (r *Report) Write(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// series returns that of a proxy, or nil.
func (t *Table) series(proxy string) *Series {
	i := slices.IndexFunc(t.Series, func(s Series) bool { return s.Proxy == proxy })
	if i < 0 {
		return nil
	}
	return &t.Series[i]
}
