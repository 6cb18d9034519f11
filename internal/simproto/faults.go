package simproto

import (
	"time"

	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/session"
)

// faults plans everything that goes wrong.
func (w *world) faults() {
	o := &w.opts
	long := 2 * o.Programs.TTL
	some := func() *node { return w.nodes[w.Rand.IntN(len(w.nodes))] }
	w.Again(o.Election, func() { w.elect(some().id) })
	w.Again(o.Depose, func() { w.depose(w.Between(0, long)) })
	w.Again(o.Crash, func() { w.crash(some(), w.Between(0, long)) })
	w.Again(o.NodePause, func() { w.pause(some(), w.Between(0, long)) })
	w.Again(o.Lag, func() {
		w.Hit("apply lag")
		some().lagging = w.Now() + w.Between(0, long)
	})
	w.Again(o.Cut, func() { w.cutOff(some(), w.Between(0, long)) })
	w.Faults()
	w.failOver()
}

// failOver elects a leader when there is none that works, as timeouts would.
func (w *world) failOver() {
	w.After(w.Between(100*time.Millisecond, time.Second), func() {
		if w.Healed {
			return
		}
		if w.leader() == nil {
			w.elect(w.Rand.IntN(len(w.nodes)))
		}
		w.failOver()
	})
}

// leader returns the leader of the newest term if it is running, nil if it is not.
func (w *world) leader() *node {
	var newest *node
	for _, n := range w.nodes {
		if newest == nil || n.raft.term > newest.raft.term || n.raft.term == newest.raft.term && n.raft.leading {
			newest = n
		}
	}
	if newest.raft.leading && newest.running() {
		return newest
	}
	return nil
}

// deposed reports whether a node believes to lead and a majority has heard of a newer term.
func (w *world) deposed(n *node) bool {
	newer := 0
	for _, o := range w.nodes {
		if o.raft.term > n.raft.term {
			newer++
		}
	}
	return newer > len(w.nodes)/2
}

func (w *world) crash(n *node, d time.Duration) {
	if !n.up {
		return
	}
	w.Hit("crash")
	n.crash()
	w.After(d, func() {
		if !n.up {
			n.restart()
		}
	})
}

// pause stops a node's process. Of such a stop the leader may count no more than session.StallMax.
func (w *world) pause(n *node, d time.Duration) {
	if !n.running() {
		return
	}
	w.Hit("node pause")
	w.Tracef("node %d stops for %v", n.id, d)
	n.paused = w.Now() + d
	n.skipped += max(0, d-session.StallMax)
	n.planned = simworld.Never
	n.plan(n.paused)
}

// cutOff drops the messages of a node, or those to it, or both, to some or all of the others.
func (w *world) cutOff(n *node, d time.Duration) {
	w.Hit("cut")
	from, to := w.Rand.IntN(3) > 0, w.Rand.IntN(3) > 0
	for _, o := range w.nodes {
		if o == n || w.Rand.IntN(4) == 0 {
			continue
		}
		if from {
			w.sever(n, o, d)
		}
		if to {
			w.sever(o, n, d)
		}
	}
}

// depose cuts the leader off from all other nodes, but not from its clients, and lets the others elect another.
func (w *world) depose(d time.Duration) {
	old := w.leader()
	if old == nil {
		return
	}
	w.Hit("deposed leader")
	for _, o := range w.nodes {
		if o != old {
			w.sever(old, o, d)
			w.sever(o, old, d)
		}
	}
	w.After(w.Between(0, d), func() {
		if !w.Healed {
			w.elect((old.id + 1 + w.Rand.IntN(len(w.nodes)-1)) % len(w.nodes))
		}
	})
}

func (w *world) sever(from, to *node, d time.Duration) {
	from.cut[to.id] = true
	w.Tracef("node %d does not reach node %d for %v", from.id, to.id, d)
	w.After(d, func() { from.cut[to.id] = false })
}

// heal ends all faults and lets one node lead.
func (w *world) heal() {
	w.Healed = true
	w.Tracef("the faults end")
	for _, n := range w.nodes {
		clear(n.cut)
		if !n.up {
			n.restart()
		}
		if n.paused > w.Now() {
			n.skipped -= min(n.paused-w.Now(), max(0, n.skipped))
			n.paused = w.Now()
		}
		n.lagging = w.Now()
		n.planned = simworld.Never
		n.plan(w.Now())
	}
	w.Revive()
	for _, n := range w.nodes {
		if w.elect(n.id) {
			return
		}
	}
	w.Fail("no node can be elected")
}
