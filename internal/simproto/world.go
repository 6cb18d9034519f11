package simproto

import (
	"math/rand/v2"

	"github.com/lockd/lockd/internal/simworld"
)

// world is one simulated run: the programs and the judge of internal/simworld, and nodes over an abstract log.
type world struct {
	*simworld.World
	opts  Options
	nodes []*node
	log   []*entry // what is committed
}

func newWorld(o Options, r *rand.Rand) *world {
	w := &world{World: simworld.New(o.Programs, r), opts: o}
	for i := range o.Nodes {
		n := newNode(w, i)
		w.nodes = append(w.nodes, n)
		w.Servers = append(w.Servers, n)
	}
	return w
}

// commit takes the log that a leader has found committed.
func (w *world) commit(log []*entry) {
	if k := commonPrefix(w.log, log); k < min(len(w.log), len(log)) {
		w.Fail("entry %d is committed twice, with different contents", k+1)
		return
	}
	for i := len(w.log); i < len(log) && w.Err == nil; i++ {
		e := log[i]
		if e.term < log[len(log)-1].term {
			w.Hit("old tail committed")
		}
		w.log = append(w.log, e)
		w.Judge.Commit(e.term, e.data)
	}
}
