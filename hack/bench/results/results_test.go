package results

import (
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/bench/workload"
)

// samples returns one of "cpu" for each value; a negative one stands for a round
// that failed.
func samples(values ...float64) []workload.Sample {
	all := make([]workload.Sample, len(values))
	for i, v := range values {
		if v >= 0 {
			all[i] = workload.Sample{workload.CPU: v}
		}
	}
	return all
}

var plain = Column{Key: workload.CPU, Title: "CPU, µs", Scale: 1e6, Ratio: true}

func added(c Column) Column {
	c.Added = true
	return c
}

func TestCell(t *testing.T) {
	tests := []struct {
		name             string
		column           Column
		ours, theirs, no []float64 // rounds of usher, HAProxy, and the run without a proxy
		want             string
	}{
		{"the median, its spread and the ratio", plain, []float64{1e-6, 2e-6, 9e-6}, []float64{2e-6, 4e-6, 18e-6}, nil, "2.00 ±100 % **×0.50**"},
		{"a ratio is taken within rounds", plain, []float64{1e-6, 10e-6, 100e-6}, []float64{4e-6, 40e-6, 25e-6}, nil, "10.0 ±248 % **×0.25**"},
		{"what is added is taken within rounds", added(plain), []float64{11e-6, 101e-6}, []float64{12e-6, 102e-6}, []float64{10e-6, 100e-6}, "1.00 **×0.50**"},
		{"a round that failed invalidates no other", plain, []float64{-1, 3e-6, 3e-6}, []float64{5e-6, -1, 6e-6}, nil, "3.00 **×0.50**"},
		{"nothing was measured", plain, []float64{-1, -1}, []float64{1e-6, 1e-6}, nil, "–"},
		{"a column without ratios", Column{Key: workload.CPU, Scale: 1}, []float64{1234}, []float64{1}, nil, "1234"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := Table{Reference: "HAProxy", Series: []Series{
				{Proxy: direct, Samples: samples(test.no...)},
				{Proxy: "usher", Samples: samples(test.ours...)},
				{Proxy: "HAProxy", Samples: samples(test.theirs...)},
			}}
			if got := table.cell(&table.Series[1], test.column); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func report() *Report {
	return &Report{Rounds: 1, Tables: []Table{{
		Name: "hello", Title: "Short connections", Reference: "HAProxy", Columns: []Column{plain},
		Series: []Series{
			{Proxy: direct, Samples: samples(-1)},
			{Proxy: "usher", Samples: samples(1e-6)},
			{Proxy: "HAProxy", Samples: samples(2e-6)},
			{Proxy: "sniproxy", Samples: samples(9e-6)},
		},
	}}}
}

func TestAReportComesBackAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.json")
	if err := report().Write(path); err != nil {
		t.Fatal(err)
	}
	read, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	var wrote, again strings.Builder
	report().Markdown(&wrote)
	read.Markdown(&again)
	if wrote.String() != again.String() {
		t.Errorf("wrote\n%s\nread\n%s", &wrote, &again)
	}
	if !strings.Contains(again.String(), "| usher    | 1.00 **×0.50** |") {
		t.Errorf("usher's row is not in\n%s", &again)
	}
}

func TestPlotIsXMLAndCutsBarsThatAreTooLong(t *testing.T) {
	var drawn strings.Builder
	if err := report().Plot(&drawn); err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(strings.NewReader(drawn.String())); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">×0.50<", ">×4.50 →<", ">CPU a short connection<"} {
		if !strings.Contains(drawn.String(), want) {
			t.Errorf("the plot has no %s:\n%s", want, &drawn)
		}
	}
}
