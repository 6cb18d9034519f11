package simproto

import (
	"time"

	"github.com/lockd/lockd/session"
)

// again does something at random times, until the faults end.
func (w *world) again(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.after(w.between(0, 2*mean), func() {
		if !w.healed {
			do()
			w.again(mean, do)
		}
	})
}

// faults plans everything that goes wrong.
func (w *world) faults() {
	o := &w.opts
	long := 2 * o.TTL
	some := func() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }
	program := func() *process { return w.clients[w.rng.IntN(len(w.clients))] }
	w.again(o.Election, func() { w.elect(some().id) })
	w.again(o.Depose, func() { w.depose(w.between(0, long)) })
	w.again(o.Crash, func() { w.crash(some(), w.between(0, long)) })
	w.again(o.NodePause, func() { w.pause(some(), w.between(0, long)) })
	w.again(o.Lag, func() {
		w.stats.Faults["apply lag"]++
		some().lagging = w.now + w.between(0, long)
	})
	w.again(o.Cut, func() { w.cutOff(some(), w.between(0, long)) })
	w.again(o.Break, func() {
		if c := program().conns[w.rng.IntN(2)]; c != nil {
			w.stats.Faults["break"]++
			c.breakOff()
		}
	})
	w.again(o.ClientPause, func() {
		w.stats.Faults["client pause"]++
		program().pause(w.between(0, long), false)
	})
	w.again(o.Suspend, func() {
		w.stats.Faults["suspend"]++
		program().pause(w.between(0, long), true)
	})
	w.again(o.Kill, func() { w.kill(program(), w.between(0, long)) })
	w.failOver()
}

// failOver elects a leader when there is none that works, as timeouts would.
func (w *world) failOver() {
	w.after(w.between(100*time.Millisecond, time.Second), func() {
		if w.healed {
			return
		}
		if w.leader() == nil {
			w.elect(w.rng.IntN(len(w.nodes)))
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
	w.stats.Faults["crash"]++
	n.crash()
	w.after(d, func() {
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
	w.stats.Faults["node pause"]++
	w.tracef("node %d stops for %v", n.id, d)
	n.paused = w.now + d
	n.skipped += max(0, d-session.StallMax)
	n.planned = never
	n.plan(n.paused)
}

// cutOff drops the messages of a node, or those to it, or both, to some or all of the others.
func (w *world) cutOff(n *node, d time.Duration) {
	w.stats.Faults["cut"]++
	from, to := w.rng.IntN(3) > 0, w.rng.IntN(3) > 0
	for _, o := range w.nodes {
		if o == n || w.rng.IntN(4) == 0 {
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
	w.stats.Faults["deposed leader"]++
	for _, o := range w.nodes {
		if o != old {
			w.sever(old, o, d)
			w.sever(o, old, d)
		}
	}
	w.after(w.between(0, d), func() {
		if !w.healed {
			w.elect((old.id + 1 + w.rng.IntN(len(w.nodes)-1)) % len(w.nodes))
		}
	})
}

func (w *world) sever(from, to *node, d time.Duration) {
	from.cut[to.id] = true
	w.tracef("node %d does not reach node %d for %v", from.id, to.id, d)
	w.after(d, func() { from.cut[to.id] = false })
}

func (w *world) kill(p *process, d time.Duration) {
	if !p.alive {
		return
	}
	w.stats.Faults["kill"]++
	p.kill()
	w.after(d, func() {
		if !p.alive && !w.truth.resting {
			p.start()
		}
	})
}

// heal ends all faults and lets one node lead.
func (w *world) heal() {
	w.healed = true
	w.tracef("the faults end")
	for _, n := range w.nodes {
		clear(n.cut)
		if !n.up {
			n.restart()
		}
		if n.paused > w.now {
			n.skipped -= min(n.paused-w.now, max(0, n.skipped))
			n.paused = w.now
		}
		n.lagging = w.now
		n.planned = never
		n.plan(w.now)
	}
	for _, p := range w.clients {
		if !p.alive {
			p.start()
		}
	}
	for _, n := range w.nodes {
		if w.elect(n.id) {
			return
		}
	}
	w.fail("no node can be elected")
}
