package rafttest

import (
	"time"

	"github.com/lockd/lockd/raft"
)

// fault is something that breaks. It mends itself after a while where it can.
type fault struct {
	name string
	// strike reports whether the fault could strike whom it has chosen.
	strike func(s *Sim, lasts time.Duration) bool
}

// faults are all that a Swarm may draw.
var faults = []fault{
	{FaultCrash, (*Sim).crash},
	{FaultBlackout, (*Sim).blackout},
	{FaultPause, (*Sim).pause},
	{FaultOneWay, (*Sim).cutOneWay},
	{FaultIsolation, (*Sim).isolate},
	{FaultPartition, (*Sim).partition},
	{FaultPartial, (*Sim).cutSome},
	{FaultSlowLink, (*Sim).slowLink},
	{FaultBurst, (*Sim).loseMuch},
	{FaultStall, (*Sim).stall},
	{FaultSync, (*Sim).failSync},
	{FaultFull, (*Sim).fillDisk},
	{FaultRot, (*Sim).rot},
	{FaultWipe, (*Sim).wipe},
	{FaultStateLost, (*Sim).loseState},
	{FaultTransfer, (*Sim).transfer},
}

// The faults that a Swarm may draw, and those that are there all the time.
const (
	FaultCrash     = "fault: crash and restart"
	FaultBlackout  = "fault: power cut of all nodes"
	FaultPause     = "fault: node stopped for a while"
	FaultOneWay    = "fault: one direction cut"
	FaultIsolation = "fault: node cut off"
	FaultPartition = "fault: network in two parts"
	FaultPartial   = "fault: some links cut"
	FaultSlowLink  = "fault: slow link"
	FaultBurst     = "fault: heavy loss for a while"
	FaultStall     = "fault: disk stalls"
	FaultSync      = "fault: sync fails"
	FaultFull      = "fault: disk full, and room again"
	FaultRot       = "fault: bit rot in the log"
	FaultWipe      = "fault: directory wiped"
	FaultStateLost = "fault: state thrown away"
	FaultTransfer  = "fault: transfer of leadership"
	FaultHint      = "fault: groundless hint"
)

// nemesis lets faults happen.
func (s *Sim) nemesis() {
	w := s.World
	var drawn []fault
	for _, f := range faults {
		if s.Swarm.Faults[f.name] {
			drawn = append(drawn, f)
		}
	}
	if len(drawn) > 0 {
		s.every(s.Swarm.FaultEvery, "nemesis", func() {
			f := drawn[w.rand.IntN(len(drawn))]
			if l := w.Leader(); l != nil && w.chance(0.5) {
				s.question(l, 10)
			}
			if f.strike(s, w.exp(s.Swarm.FaultLasts)) {
				w.cover.hit(f.name)
				w.trace.note(w.now, nil, f.name, nil)
			}
		})
	}
	if s.Swarm.HintsEvery > 0 {
		s.every(s.Swarm.HintsEvery, "hint", func() {
			if n, l := s.anyone(), w.Leader(); n.Running() && l != nil && l != n {
				n.Suspect(l.id)
				w.cover.hit(FaultHint)
			}
		})
	}
}

// question reads from a node that leads now, a few times in the time in which it may lose its leadership without
// knowing.
func (s *Sim) question(n *Node, times int) {
	if times == 0 || s.Swarm.Reads == 0 {
		return
	}
	s.World.After(s.World.about(s.Swarm.Heartbeat), "question", func() {
		if n.Running() {
			n.Read(func(*raft.Request) {})
			s.question(n, times-1)
		}
	})
}

// every does something again and again, as long as there are faults.
func (s *Sim) every(mean time.Duration, label string, f func()) {
	w := s.World
	w.After(w.exp(mean), label, func() {
		if !s.calm {
			f()
			s.every(mean, label, f)
		}
	})
}

// anyone draws a node; the leader more often than others, as it has most to lose.
func (s *Sim) anyone() *Node {
	w := s.World
	if l := w.Leader(); l != nil && w.chance(0.3) && s.places[l.id.Node-1] == l {
		return l
	}
	return s.places[w.rand.IntN(len(s.places))]
}

// running draws a node whose process runs, or nil.
func (s *Sim) running() *Node {
	if n := s.anyone(); n.Running() && !n.paused {
		return n
	}
	return nil
}

func (s *Sim) crash(lasts time.Duration) bool {
	n := s.running()
	if n == nil {
		return false
	}
	s.crashNode(n, lasts)
	return true
}

func (s *Sim) crashNode(n *Node, lasts time.Duration) {
	s.kill(n, s.World.chance(0.5))
	s.World.After(lasts, "restart", func() { s.start(n) })
}

// CrashNode ends a process without loss of power or with it, and starts it again after a while.
func (s *Sim) CrashNode(n *Node, lasts time.Duration) { s.crashNode(n, lasts) }

// kill ends a process. Its connections end with it, which the others may notice.
func (s *Sim) kill(n *Node, power bool) {
	w := s.World
	if !n.Running() {
		return
	}
	n.Crash(power)
	for _, other := range s.places {
		if other != n && other.Running() && w.chance(0.5) {
			other.after(w.about(3*time.Millisecond), "connection reset", func() { other.Suspect(n.id) })
		}
	}
}

// crashAt crashes a node at one of the places where it is worst. Those that are rare get more than their share.
func (s *Sim) crashAt(n *Node, place string) bool {
	p := s.Swarm.CrashAt
	if place == PlaceInstalled || place == PlaceReceived {
		p *= 20
	}
	if s.calm || !s.World.chance(p) {
		return false
	}
	s.crashNode(n, s.World.exp(s.Swarm.FaultLasts))
	return true
}

func (s *Sim) blackout(lasts time.Duration) bool {
	for _, n := range s.places {
		if n.Running() {
			n.Crash(true)
			s.World.After(s.World.about(lasts), "restart", func() { s.start(n) })
		}
	}
	return true
}

func (s *Sim) pause(lasts time.Duration) bool {
	n := s.running()
	if n == nil {
		return false
	}
	n.Pause()
	life := n.life
	s.World.After(lasts, "goes on", func() {
		if n.life == life {
			n.Resume()
		}
	})
	return true
}

func (s *Sim) cutOneWay(lasts time.Duration) bool {
	a, b := s.anyone(), s.anyone()
	if a == b {
		return false
	}
	s.cut(lasts, func(from, to *Node) bool { return from == a && to == b })
	return true
}

func (s *Sim) isolate(lasts time.Duration) bool {
	n := s.anyone()
	in, out := true, true
	switch s.World.rand.IntN(4) {
	case 0:
		in = false
	case 1:
		out = false
	}
	s.cut(lasts, func(from, to *Node) bool { return from == n && out || to == n && in })
	return true
}

func (s *Sim) partition(lasts time.Duration) bool {
	side := s.World.rand.IntN(1 << len(s.places))
	s.cut(lasts, func(from, to *Node) bool { return side>>from.id.Node&1 != side>>to.id.Node&1 })
	return true
}

func (s *Sim) cutSome(lasts time.Duration) bool {
	some := s.World.rand.Uint64()
	s.cut(lasts, func(from, to *Node) bool {
		low, high := min(from.id.Node, to.id.Node), max(from.id.Node, to.id.Node)
		return mix(some, uint64(low)<<8|uint64(high))%3 == 0
	})
	return true
}

// cut ends the links for which which is true, and restores them later.
func (s *Sim) cut(lasts time.Duration, which func(from, to *Node) bool) {
	set := func(cut bool) {
		for _, from := range s.places {
			for _, to := range s.places {
				if from != to && which(from, to) {
					s.World.net.Cut(from.id.Node, to.id.Node, cut)
				}
			}
		}
	}
	set(true)
	places := s.places
	s.World.After(lasts, "links restored", func() {
		now := s.places
		s.places = places
		set(false)
		s.places = now
	})
}

func (s *Sim) slowLink(lasts time.Duration) bool {
	a, b := s.anyone(), s.anyone()
	s.World.net.Slow(a.id.Node, b.id.Node, s.World.exp(2*s.Swarm.Heartbeat))
	s.World.After(lasts, "link is fast again", func() { s.World.net.Slow(a.id.Node, b.id.Node, 0) })
	return a != b
}

func (s *Sim) loseMuch(lasts time.Duration) bool {
	bad := s.Swarm.Network
	bad.Loss = 0.3
	s.World.net.SetOptions(bad)
	s.World.After(lasts, "loss ends", func() {
		if !s.calm {
			s.World.net.SetOptions(s.Swarm.Network)
		}
	})
	return true
}

func (s *Sim) stall(lasts time.Duration) bool {
	n := s.running()
	if n == nil {
		return false
	}
	n.store.stalledTill = s.World.now + lasts + s.World.exp(s.Swarm.Election)
	return true
}

func (s *Sim) failSync(lasts time.Duration) bool {
	n := s.running()
	if n == nil {
		return false
	}
	n.store.failSync, n.doomed = true, true
	s.World.After(lasts, "restart", func() { s.start(n) })
	return true
}

func (s *Sim) fillDisk(lasts time.Duration) bool {
	n := s.running()
	if n == nil || n.store.full {
		return false
	}
	n.store.setFull(true)
	s.World.After(lasts, "room again", func() { n.store.setFull(false) })
	return true
}

// transfer asks for a hand-over. Now and then the leader hears nothing more from then on, the election of its successor
// included.
func (s *Sim) transfer(lasts time.Duration) bool {
	l := s.World.Leader()
	if l == nil || l.paused {
		return false
	}
	to := raft.PeerID{}
	if s.World.chance(0.7) {
		to = s.anyone().id
	}
	l.Transfer(to)
	if s.World.chance(0.3) {
		s.cut(lasts, func(_, to *Node) bool { return to == l })
	}
	return true
}
