package rafttest

import "time"

// fault is something that breaks. It mends itself after a while where it can.
type fault struct {
	name   string
	strike func(s *Sim, lasts time.Duration) bool // whether it could
}

// faults are all that a Swarm may draw.
var faults = []fault{
	{"crash", (*Sim).crash},
}

// nemesis lets faults happen.
func (s *Sim) nemesis() {
	w := s.World
	var enabled []fault
	for _, f := range faults {
		if s.Swarm.Faults[f.name] {
			enabled = append(enabled, f)
		}
	}
	if len(enabled) == 0 {
		return
	}
	var next func()
	next = func() {
		if s.calm {
			return
		}
		f := enabled[w.rand.IntN(len(enabled))]
		if f.strike(s, w.exp(s.Swarm.FaultLasts)) {
			w.cover.hit(f.name)
		}
		w.After(w.exp(s.Swarm.FaultEvery), "nemesis", next)
	}
	w.After(w.exp(s.Swarm.FaultEvery), "nemesis", next)
}

func (s *Sim) crash(lasts time.Duration) bool {
	n := s.anyone()
	if !n.Running() {
		return false
	}
	n.Crash(s.World.chance(0.5))
	s.World.After(lasts, "restart", func() { s.start(n) })
	return true
}

func (s *Sim) anyone() *Node { return s.places[s.World.rand.IntN(len(s.places))] }

func (s *Sim) start(n *Node) {
	if n.Running() || n.retired {
		return
	}
	_ = n.Start()
}

func (s *Sim) administrate() {}

func (n *Node) setFull(full bool) { n.store.full = full }
