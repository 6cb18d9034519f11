package simproto

import (
	"time"

	"github.com/lockd/lockd/internal/simworld"
)

// delay draws how long a message between nodes is on its way.
func (w *world) delay() time.Duration {
	if !w.Healed && w.Chance(w.opts.Late) {
		w.Hit("late")
		return w.Between(0, w.opts.LateMost)
	}
	return w.Between(50*time.Microsecond, w.opts.DelayMost)
}

// send carries a message from one node to another: it may be lost, doubled, late, and so out of order.
func (w *world) send(from, to int, msg any) {
	copies := 1
	if !w.Healed {
		switch {
		case w.Chance(w.opts.Loss):
			w.Hit("loss")
			return
		case w.Chance(w.opts.Double):
			w.Hit("double")
			copies = 2
		}
	}
	for range copies {
		w.After(w.delay(), func() {
			// A cut drops what arrives while it lasts. What is late may outlive it.
			if w.reaches(from, to) {
				w.nodes[to].receive(msg)
			}
		})
	}
}

// reaches reports whether messages of a node arrive at another: cuts may be of one direction.
func (w *world) reaches(from, to int) bool { return !w.nodes[from].cut[to] }

// fromClient is a message of a client, or, without one, the end of its connection.
type fromClient struct {
	conn *simworld.Conn
	msg  any
}
