package simworld

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/session"
)

// Conn is a connection of a program to a server: a stream in each direction, in order and without loss until it breaks. Each end
// learns of the break on its own.
type Conn struct {
	w       *World
	program *Program
	slot    machine.Slot
	server  Server
	broken  bool
	closed  bool             // the server has seen the end of it
	arrival [2]time.Duration // of the last message to the server, to the program
	named   []session.Life   // that the server has seen over it
}

// The two directions of a connection.
const (
	toServer  = 0
	toProgram = 1
)

// carry delivers something in the order of the stream.
func (c *Conn) carry(direction int, deliver func()) {
	at := c.w.now + c.w.Between(20*time.Microsecond, c.w.Opts.StreamMost)
	if !c.w.Healed && c.w.Chance(c.w.Opts.Stall) {
		c.w.Hit("stream stall")
		at += c.w.Between(0, c.w.Opts.LateMost)
	}
	c.arrival[direction] = max(c.arrival[direction], at)
	c.w.At(c.arrival[direction], func() {
		if !c.broken {
			deliver()
		}
	})
}

// toServer sends a message of the program.
func (c *Conn) toServer(msg any) {
	c.carry(toServer, func() { c.server.Receive(c, msg) })
}

// Tell sends a message of the server.
func (c *Conn) Tell(msg any) {
	if c.closed {
		return
	}
	c.carry(toProgram, func() { c.program.receive(c, msg) })
}

// Break breaks the connection. What is under way is lost; each end sees it after a while of its own.
func (c *Conn) Break() {
	if c.broken {
		return
	}
	c.broken = true
	w := c.w
	w.Tracef("slot %d of program %d breaks", c.slot, c.program.id)
	w.After(w.Between(0, w.Opts.NoticeMost), func() { c.program.disconnected(c) })
	w.After(w.Between(0, w.Opts.NoticeMost), func() { c.server.Receive(c, nil) })
}

// HangUp closes the connection on the server's side: the program hears of it behind what it was told before.
func (c *Conn) HangUp() {
	if c.broken || c.closed {
		return
	}
	c.closed = true
	c.w.Tracef("program %d is hung up on slot %d", c.program.id, c.slot)
	c.carry(toProgram, func() {
		c.broken = true
		c.program.disconnected(c)
	})
}

// Close notes that the server has seen the end of the connection.
func (c *Conn) Close() { c.closed = true }

// Closed reports whether it has.
func (c *Conn) Closed() bool { return c.closed }

// Name notes for the server that the connection serves a life, and reports whether that is new.
func (c *Conn) Name(l session.Life) bool {
	if slices.Contains(c.named, l) {
		return false
	}
	c.named = append(c.named, l)
	return true
}

// Named returns the lives that the connection serves, in the order in which they were named.
func (c *Conn) Named() []session.Life { return c.named }
