package results

import (
	"math"
	"slices"

	"github.com/jovalle/usher/hack/bench/workload"
)

// direct is the series without a proxy.
const direct = "direct"

// A figure is what became of one column of a series.
type figure struct {
	median float64
	spread float64 // half the distance between the quartiles
	ratio  float64 // median over the rounds of the ratio to the reference; 0: none
}

// figure returns a column's figure for a series; ok is false where nothing was
// measured. What other work on the machine does to one round it does to all of
// its runs: so differences and ratios are taken within rounds.
func (t *Table) figure(s *Series, c Column) (f figure, ok bool) {
	values := t.values(s, c)
	measured := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(measured) == 0 {
		return figure{}, false
	}
	f.median = quantile(measured, 0.5)
	f.spread = (quantile(measured, 0.75) - quantile(measured, 0.25)) / 2
	if reference := t.series(t.Reference); c.Ratio && reference != nil {
		f.ratio = medianRatio(values, t.values(reference, c))
	}
	return f, true
}

// values returns a column's value for each round; NaN where there is none.
func (t *Table) values(s *Series, c Column) []float64 {
	values := make([]float64, len(s.Samples))
	for round, sample := range s.Samples {
		values[round] = value(sample, c)
		if c.Added {
			values[round] -= t.base(round, c)
		}
	}
	return values
}

// base returns what the run without a proxy took in a round.
func (t *Table) base(round int, c Column) float64 {
	s := t.series(direct)
	if s == nil || round >= len(s.Samples) {
		return math.NaN()
	}
	return value(s.Samples[round], c)
}

func value(sample workload.Sample, c Column) float64 {
	if v, ok := sample[c.Key]; ok {
		return v * c.Scale
	}
	return math.NaN()
}

// medianRatio returns the median ratio of two lists of values, round by round;
// 0 where there is none.
func medianRatio(values, reference []float64) float64 {
	var ratios []float64
	for round := range min(len(values), len(reference)) {
		ratio := values[round] / reference[round]
		if !math.IsNaN(ratio) && !math.IsInf(ratio, 0) {
			ratios = append(ratios, ratio)
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return quantile(ratios, 0.5)
}

// quantile returns a quantile of values, which it sorts, between the two nearest
// where none is at the place.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	at := q * float64(len(values)-1)
	below := int(at)
	if below+1 == len(values) {
		return values[below]
	}
	part := at - float64(below)
	return values[below]*(1-part) + values[below+1]*part
}
