package simproto

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// process is a program with a client: the real machine, the connections it asks for, and workers that use it.
type process struct {
	w       *world
	id      int
	boot    int // programs that ran under this id before
	alive   bool
	clock   clock
	paused  time.Duration // until when it does nothing
	inbox   []func(now time.Duration)
	planned time.Duration

	machine *machine.Machine
	wanted  [2]bool
	conns   [2]*conn

	workers []*worker
	calls   map[machine.CallID]*worker
	holds   []*belief
	beats   map[machine.Life]map[uint64]time.Duration // true time at which each KeepAlive was sent
	opens   map[machine.SessionID]time.Duration       // true time of the first Open
}

// belief is a hold as its holder knows it.
type belief struct {
	call  machine.CallID
	life  machine.Life
	job   job
	token uint64
}

func newProcess(w *world, id int) *process {
	p := &process{w: w, id: id, planned: never}
	p.clock = clock{base: w.between(0, time.Hour), drift: w.drift()}
	p.start()
	return p
}

// start starts the program.
func (p *process) start() {
	cfg := machine.Config{TTL: p.w.opts.TTL}
	binary.BigEndian.PutUint64(cfg.ID[:], p.w.rng.Uint64())
	cfg.ID[8], cfg.ID[9] = byte(p.id), byte(p.boot)
	if p.w.chance(p.w.opts.Grace) {
		cfg.Grace = max(machine.MinTTL, p.w.opts.TTL/2)
	}
	m, err := machine.New(cfg)
	if err != nil {
		p.w.fail("%v", err)
		return
	}
	p.machine, p.alive, p.paused, p.planned = m, true, 0, never
	p.wanted, p.conns, p.inbox = [2]bool{}, [2]*conn{}, nil
	p.calls = map[machine.CallID]*worker{}
	p.holds = nil
	p.beats = map[machine.Life]map[uint64]time.Duration{}
	p.opens = map[machine.SessionID]time.Duration{}
	p.workers = nil
	for i := range p.w.opts.Workers {
		p.workers = append(p.workers, newWorker(p, i))
	}
	p.input(func(now time.Duration) { p.machine.Wake(now) })
}

// kill ends the program without a word. Its connections close.
func (p *process) kill() {
	p.w.tracef("process %d dies", p.id)
	p.alive = false
	if p.clock.still {
		p.clock.start(p.w.now)
	}
	p.boot++
	p.holds = nil
	for _, c := range p.conns {
		if c != nil {
			c.breakOff()
		}
	}
}

// input lets something happen to the program, now or when it goes on.
func (p *process) input(do func(now time.Duration)) {
	if !p.alive {
		return
	}
	if p.paused > p.w.now || len(p.inbox) > 0 {
		p.inbox = append(p.inbox, do)
		return
	}
	do(p.clock.at(p.w.now))
	p.carryOut()
}

// pause stops the program for a while; with its clock, the host is suspended.
func (p *process) pause(d time.Duration, clockToo bool) {
	if !p.alive || p.paused > p.w.now {
		return
	}
	p.paused = p.w.now + d
	if clockToo {
		p.clock.stop(p.w.now)
	}
	p.w.tracef("process %d stops for %v, clock too: %t", p.id, d, clockToo)
	boot := p.boot
	p.w.after(d, func() {
		if p.boot != boot || !p.alive {
			return
		}
		var missed time.Duration
		if p.clock.still {
			missed = p.clock.start(p.w.now)
		}
		waiting := p.inbox
		p.inbox = nil
		if missed > 0 {
			p.input(func(now time.Duration) { p.machine.Suspended(now, missed) })
		}
		for _, do := range waiting {
			p.input(do)
		}
		p.input(func(now time.Duration) { p.machine.Wake(now) })
	})
}

// receive takes a message from a connection.
func (p *process) receive(c *conn, msg machine.Message) {
	p.input(func(now time.Duration) {
		if p.conns[c.slot] == c {
			p.machine.Receive(now, c.slot, msg)
		}
	})
}

// disconnected tells the program that a connection broke.
func (p *process) disconnected(c *conn) {
	p.input(func(now time.Duration) {
		if p.conns[c.slot] != c {
			return
		}
		p.conns[c.slot] = nil
		p.machine.Disconnected(now, c.slot)
		p.dial(c.slot)
	})
}

// dial tries to connect a slot, to another node than the other slot is connected to, until it succeeds.
func (p *process) dial(s machine.Slot) {
	w, boot := p.w, p.boot
	w.after(w.between(time.Millisecond, 50*time.Millisecond), func() {
		if p.boot != boot || !p.wanted[s] || p.conns[s] != nil {
			return
		}
		n := w.nodes[w.rng.IntN(len(w.nodes))]
		if other := p.conns[1-s]; !n.up || other != nil && other.node == n {
			p.dial(s)
			return
		}
		p.input(func(now time.Duration) {
			if !n.up || !p.wanted[s] || p.conns[s] != nil {
				p.dial(s)
				return
			}
			c := &conn{w: w, process: p, slot: s, node: n, boot: n.boot, lives: map[machine.Life]struct{}{}}
			n.conns = append(n.conns, c)
			p.conns[s] = c
			if s == 1 {
				w.stats.Faults["second node"]++
			}
			p.machine.Connected(now, s)
		})
	})
}

// carryOut carries out the effects of the machine, checks what the program believes, and plans its next wake-up.
func (p *process) carryOut() {
	for out := p.machine.Output(); len(out) > 0; out = p.machine.Output() {
		for _, e := range slices.Clone(out) {
			p.effect(e)
		}
	}
	p.check()
	if at, ok := p.machine.Deadline(); ok {
		p.plan(p.clock.when(at))
	}
}

func (p *process) plan(at time.Duration) {
	at = max(at, p.w.now)
	if at >= p.planned {
		return
	}
	p.planned = at
	boot := p.boot
	p.w.at(at, func() {
		if p.boot != boot || p.planned != at {
			return
		}
		p.planned = never
		p.input(func(now time.Duration) { p.machine.Wake(now) })
	})
}

func (p *process) effect(e machine.Effect) {
	w := p.w
	switch e := e.(type) {
	case machine.Send:
		p.send(e.Slot, e.Message)
	case machine.Dial:
		p.wanted[e.Slot] = true
		p.dial(e.Slot)
	case machine.Hang:
		p.wanted[e.Slot] = false
		if c := p.conns[e.Slot]; c != nil {
			p.conns[e.Slot] = nil
			c.breakOff()
		}
	case machine.Opened:
		w.tracef("process %d opened %x@%d", p.id, e.Life.ID[8:], e.Life.Index)
	case machine.Lost:
		w.tracef("process %d lost %x@%d by %v", p.id, e.Life.ID[8:], e.Life.Index, e.Cause)
		w.stats.Faults["session lost"]++
		if w.healed && w.now > w.truth.settledAt {
			w.fail("process %d loses %x@%d by %v, and nothing was wrong", p.id, e.Life.ID[8:], e.Life.Index, e.Cause)
		}
		for _, id := range e.Holds {
			p.forget(id)
			p.done(id)
		}
	case machine.Acquired:
		p.acquired(e)
	case machine.Finished:
		p.done(e.Call)
	case machine.Ended:
		w.fail("process %d: the hold of token %d was ended by nobody", p.id, e.Token)
	case machine.Jeopardy, machine.Safe, machine.Closed:
	}
}

// send hands a message to a connection. The program may stop just before that, after it read its clock.
func (p *process) send(s machine.Slot, msg machine.Message) {
	c := p.conns[s]
	if c == nil {
		return
	}
	switch msg := msg.(type) {
	case machine.OpenRequest:
		if _, ok := p.opens[msg.ID]; !ok {
			p.opens[msg.ID] = p.w.now
		}
	case machine.KeepAlive:
		if p.beats[msg.Life] == nil {
			p.beats[msg.Life] = map[uint64]time.Duration{}
		}
		p.beats[msg.Life][msg.Number] = p.w.now
		if !p.w.healed && p.w.opts.ClientPause > 0 && p.w.chance(2) {
			p.w.stats.Faults["client pause"]++
			p.pause(p.w.between(0, 2*p.w.opts.TTL), false)
		}
	}
	boot := p.boot
	p.w.at(max(p.paused, p.w.now), func() {
		if p.boot == boot && !c.broken {
			c.toNode(msg)
		}
	})
}

// valid reports whether the program, would it look at its clocks now, would believe its session to be valid.
func (p *process) valid() bool {
	until, ok := p.machine.ValidUntil()
	now := p.clock.at(p.w.now)
	if p.clock.still { // CLOCK_BOOTTIME goes on
		now += p.w.now - p.clock.stood
	}
	return p.alive && ok && now < until
}

func (p *process) acquired(e machine.Acquired) {
	wk := p.calls[e.Call]
	if wk == nil {
		p.w.fail("process %d: nobody asked for call %d", p.id, e.Call)
		return
	}
	life, _ := p.machine.Life()
	b := &belief{call: e.Call, life: life, job: wk.job, token: e.Token}
	p.holds = append(p.holds, b)
	p.w.tracef("process %d holds %v by token %d", p.id, b.job.names, b.token)
	wk.acquired(b)
}

func (p *process) forget(id machine.CallID) {
	p.holds = slices.DeleteFunc(p.holds, func(b *belief) bool { return b.call == id })
}

// done tells a worker that its call is over.
func (p *process) done(id machine.CallID) {
	wk := p.calls[id]
	if wk == nil {
		return
	}
	delete(p.calls, id)
	wk.over(id)
}
