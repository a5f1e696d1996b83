package workload

import (
	"time"

	"github.com/jovalle/usher/hack/bench/usage"
)

// A meter measures the time that a piece of work takes, by the clock and of
// processors.
type meter struct {
	parties usage.Parties
	before  usage.CPU
	began   time.Time
}

func start(parties usage.Parties) (*meter, error) {
	before, err := usage.ReadCPU(parties)
	return &meter{parties: parties, before: before, began: time.Now()}, err
}

// stop returns what so many units of work have taken.
func (m *meter) stop(units float64) (Sample, error) {
	elapsed := time.Since(m.began)
	after, err := usage.ReadCPU(m.parties)
	if err != nil {
		return nil, err
	}
	sample := Sample{
		Total: after.TotalSince(m.before).Seconds() / units,
		Rate:  units / elapsed.Seconds(),
	}
	if len(m.parties.Proxy) > 0 {
		sample[CPU] = (after.Proxy - m.before.Proxy).Seconds() / units
	}
	return sample, nil
}
