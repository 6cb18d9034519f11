package simproto

import (
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// delay draws how long a message between nodes is on its way.
func (w *world) delay() time.Duration {
	if !w.healed && w.chance(w.opts.Late) {
		w.stats.Faults["late"]++
		return w.between(0, w.opts.LateMost)
	}
	return w.between(50*time.Microsecond, w.opts.DelayMost)
}

// send carries a message from one node to another: it may be lost, doubled, late, and so out of order.
func (w *world) send(from, to int, msg any) {
	copies := 1
	if !w.healed {
		switch {
		case w.chance(w.opts.Loss):
			w.stats.Faults["loss"]++
			return
		case w.chance(w.opts.Double):
			w.stats.Faults["double"]++
			copies = 2
		}
	}
	for range copies {
		w.after(w.delay(), func() {
			// A cut drops what arrives while it lasts. What is late may outlive it.
			if w.reaches(from, to) {
				w.nodes[to].receive(msg)
			}
		})
	}
}

// reaches reports whether messages of a node arrive at another: cuts may be of one direction.
func (w *world) reaches(from, to int) bool { return !w.nodes[from].cut[to] }

// conn is a connection of a client to a node: a stream in each direction, in order and without loss until it breaks. Each end
// learns of the break on its own.
type conn struct {
	w       *world
	process *process
	slot    machine.Slot
	node    *node
	boot    int
	broken  bool
	closed  bool                      // the node has seen the end of it
	arrival [2]time.Duration          // of the last message to the node, to the client
	lives   map[machine.Life]struct{} // that the node has seen over it
	order   []machine.Life            // the same, in order
}

// The two directions of a connection.
const (
	toNode   = 0
	toClient = 1
)

// carry delivers something in the order of the stream.
func (c *conn) carry(direction int, deliver func()) {
	at := c.w.now + c.w.between(20*time.Microsecond, c.w.opts.StreamMost)
	if !c.w.healed && c.w.chance(c.w.opts.Stall) {
		c.w.stats.Faults["stream stall"]++
		at += c.w.between(0, c.w.opts.LateMost)
	}
	c.arrival[direction] = max(c.arrival[direction], at)
	c.w.at(c.arrival[direction], func() {
		if !c.broken {
			deliver()
		}
	})
}

// toNode sends a message of the client.
func (c *conn) toNode(msg machine.Message) {
	c.carry(toNode, func() { c.node.receive(fromClient{conn: c, msg: msg}) })
}

// toClient sends a message of the node.
func (c *conn) toClient(msg machine.Message) {
	if c.closed {
		return
	}
	c.carry(toClient, func() { c.process.receive(c, msg) })
}

// breakOff breaks a connection. What is under way is lost; each end sees it after a while of its own.
func (c *conn) breakOff() {
	if c.broken {
		return
	}
	c.broken = true
	w := c.w
	w.after(w.between(0, w.opts.NoticeMost), func() { c.process.disconnected(c) })
	w.after(w.between(0, w.opts.NoticeMost), func() { c.node.receive(fromClient{conn: c}) })
}

// fromClient is a message of a client, or, without one, the end of its connection.
type fromClient struct {
	conn *conn
	msg  machine.Message
}
