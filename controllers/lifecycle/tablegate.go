package lifecycle

import (
	"errors"
	"sync"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// tableGate is the routing table of a feed with a gate for its users. The gate opens
// when the table is filled for the first time, and stays open.
type tableGate struct {
	table *routing.Live
	log   logr.Logger

	filled chan struct{} // closed when the gate opens
	once   sync.Once
}

func newTableGate(table *routing.Live, log logr.Logger) *tableGate {
	return &tableGate{table: table, log: log, filled: make(chan struct{})}
}

// Filled implements Feed.
func (g *tableGate) Filled() <-chan struct{} { return g.filled }

// Ready returns an error until the gate is open.
func (g *tableGate) Ready() error {
	select {
	case <-g.filled:
		return nil
	default:
		return errors.New("the routing table has not been filled yet")
	}
}

// fill builds a table from the objects, stores it, and opens the gate.
func (g *tableGate) fill(all routetable.Objects) {
	for _, problem := range routetable.Replace(g.table, all) {
		g.log.Error(problem, "Left a host out of the routing table")
	}
	g.open()
}

// open opens the gate. The table must have been filled.
func (g *tableGate) open() { g.once.Do(func() { close(g.filled) }) }
