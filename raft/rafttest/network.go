package rafttest

import (
	"bytes"
	"io"
	"time"

	"github.com/lockd/lockd/raft"
)

// NetworkOptions are how a network behaves all the time.
type NetworkOptions struct {
	Loss      float64       // part of the messages that is lost
	Duplicate float64       // part that arrives twice
	Delay     time.Duration // the least
	Jitter    time.Duration // the mean of what is added, exponentially; it lets messages overtake each other
	InOrder   bool          // no message of a link overtakes another
}

// Network carries messages and snapshots between nodes. Links are directed and belong to places, that is to NodeIDs:
// who comes back with another incarnation has the same cable.
type Network struct {
	world *World
	opt   NetworkOptions
	links map[link]*linkState
}

type link struct{ from, to raft.NodeID }

type linkState struct {
	cut  bool
	slow time.Duration // added to every delay
	last time.Duration // when the last message arrives
}

func (t *Network) link(from, to raft.NodeID) *linkState {
	l := t.links[link{from, to}]
	if l == nil {
		l = &linkState{}
		t.links[link{from, to}] = l
	}
	return l
}

// SetOptions changes how the network behaves.
func (t *Network) SetOptions(opt NetworkOptions) { t.opt = opt }

// Cut ends or restores what goes from one place to another, in this direction alone.
func (t *Network) Cut(from, to raft.NodeID, cut bool) { t.link(from, to).cut = cut }

// Reaches reports whether what goes from one place to another is not cut.
func (t *Network) Reaches(from, to raft.NodeID) bool { return !t.link(from, to).cut }

// Slow adds a delay to all that goes from one place to another.
func (t *Network) Slow(from, to raft.NodeID, d time.Duration) { t.link(from, to).slow = d }

// Heal restores all links.
func (t *Network) Heal() {
	for _, l := range t.links {
		l.cut, l.slow = false, 0
	}
}

// delay draws how long something takes over a link.
func (t *Network) delay(l *linkState) time.Duration {
	d := t.opt.Delay + l.slow
	if t.opt.Jitter > 0 {
		d += t.world.exp(t.opt.Jitter)
	}
	return d
}

// send lets messages arrive, or not.
func (t *Network) send(ms []raft.Message) {
	w := t.world
	for _, m := range ms {
		l := t.link(m.From.Node, m.To.Node)
		if l.cut {
			w.cover.hit(FaultCut)
			continue
		}
		if w.chance(t.opt.Loss) {
			w.cover.hit(FaultLoss)
			continue
		}
		t.carry(l, m)
		if w.chance(t.opt.Duplicate) {
			w.cover.hit(FaultDuplicate)
			t.carry(l, m)
		}
	}
}

func (t *Network) carry(l *linkState, m raft.Message) {
	at := t.world.now + t.delay(l)
	switch {
	case at >= l.last:
		l.last = at
	case t.opt.InOrder:
		at = l.last
	default:
		t.world.cover.hit(FaultReorder)
	}
	t.world.schedule(event{at: at, label: "message", run: func() { t.deliver(m) }})
}

func (t *Network) deliver(m raft.Message) {
	w := t.world
	n := w.nodes[m.To]
	if n == nil || n.engine == nil {
		return
	}
	w.trace.mixMessage(m)
	w.trace.note(w.now, n, "gets", m)
	n.inbox.messages = append(n.inbox.messages, m)
	n.poke()
}

// stream carries a snapshot. done is called when the sender knows how it ended.
func (t *Network) stream(head raft.SnapshotHeader, data []byte, done func(error)) {
	w := t.world
	l := t.link(head.From.Node, head.To.Node)
	w.After(t.delay(l)+w.about(w.opt.Times.Snapshot), "snapshot", func() {
		err := t.receive(l, head, data)
		back := t.link(head.To.Node, head.From.Node)
		if back.cut && err == nil {
			err = errStreamCut // it has arrived, but nobody tells the sender
		}
		w.After(t.delay(back), "snapshot answered", func() { done(err) })
	})
}

func (t *Network) receive(l *linkState, head raft.SnapshotHeader, data []byte) error {
	w := t.world
	n := w.nodes[head.To]
	if l.cut || n == nil || n.engine == nil || n.paused || w.chance(2*t.opt.Loss) {
		w.cover.hit(SnapshotFailed)
		return errStreamCut
	}
	made, err := n.machine.Restore(head.Mark, bytes.NewReader(data))
	if err != nil {
		return err
	}
	w.trace.note(w.now, n, "has received a snapshot", head.Mark.Position)
	if n.crashes(PlaceReceived) {
		return errStreamCut
	}
	n.call("offer", func(e *raft.Engine, now time.Duration) { e.Offer(now, head, made) })
	return nil
}

var errStreamCut = io.ErrUnexpectedEOF
