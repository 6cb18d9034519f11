package simworld

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// Program is a program with a client: the real machine, the connections it asks for, and workers that use it.
type Program struct {
	w       *World
	id      int
	boot    int // programs that ran under this id before
	alive   bool
	leaving bool // it closes its session
	clock   Clock
	paused  time.Duration // until when it does nothing
	inbox   []func(now time.Duration)
	planned time.Duration

	machine *machine.Machine
	wanted  [2]bool
	conns   [2]*Conn

	workers []*worker
	calls   map[machine.CallID]*worker
	holds   []*belief
	beats   map[machine.Life]map[uint64]time.Duration // true time at which each KeepAlive was sent
	asks    map[uint64]*ask                           // without a session, by the number of the attempt
	asked   uint64
	leases  []*lease
}

// belief is a hold as its holder knows it.
type belief struct {
	call  machine.CallID
	life  machine.Life
	job   job
	token uint64
}

func newProgram(w *World, id int) *Program {
	p := &Program{w: w, id: id, planned: Never}
	p.clock = Clock{Base: w.Between(0, time.Hour), Drift: w.Drift()}
	p.start()
	return p
}

// start starts the program.
func (p *Program) start() {
	cfg := machine.Config{TTL: p.w.Opts.TTL}
	binary.BigEndian.PutUint64(cfg.ID[:], p.w.Rand.Uint64())
	cfg.ID[8], cfg.ID[9] = byte(p.id), byte(p.boot)
	if p.w.Chance(p.w.Opts.Grace) {
		cfg.Grace = max(machine.MinTTL, p.w.Opts.TTL/2)
	}
	m, err := machine.New(cfg)
	if err != nil {
		p.w.Fail("%v", err)
		return
	}
	p.machine, p.alive, p.leaving, p.paused, p.planned = m, true, false, 0, Never
	p.wanted, p.conns, p.inbox = [2]bool{}, [2]*Conn{}, nil
	p.calls = map[machine.CallID]*worker{}
	p.holds = nil
	p.beats = map[machine.Life]map[uint64]time.Duration{}
	p.asks, p.leases = map[uint64]*ask{}, nil
	p.workers = nil
	for i := range p.w.Opts.Workers {
		p.workers = append(p.workers, newWorker(p, i))
	}
	p.input(func(now time.Duration) { p.machine.Wake(now) })
}

// kill ends the program without a word. Its connections close.
func (p *Program) kill() {
	p.w.Tracef("program %d dies", p.id)
	p.alive = false
	if p.clock.still {
		p.clock.start(p.w.now)
	}
	p.boot++
	p.holds, p.leases = nil, nil
	for _, c := range p.conns {
		if c != nil {
			c.Break()
		}
	}
}

// leave closes the session in peace, and ends the program when that is confirmed.
func (p *Program) leave() {
	if !p.alive || p.leaving {
		return
	}
	p.w.Hit("leave")
	p.leaving = true
	p.input(func(now time.Duration) { p.machine.Close(now) })
}

// left ends a program whose session is closed, and starts another.
func (p *Program) left() {
	p.kill()
	p.w.After(p.w.Between(0, p.w.Opts.TTL), func() {
		if !p.alive && !p.w.Judge.Resting {
			p.start()
		}
	})
}

// input lets something happen to the program, now or when it goes on.
func (p *Program) input(do func(now time.Duration)) {
	if !p.alive {
		return
	}
	if p.paused > p.w.now || len(p.inbox) > 0 {
		p.inbox = append(p.inbox, do)
		return
	}
	do(p.clock.At(p.w.now))
	p.carryOut()
}

// pause stops the program for a while; with its clock, the host is suspended.
func (p *Program) pause(d time.Duration, clockToo bool) {
	if !p.alive || p.paused > p.w.now {
		return
	}
	p.paused = p.w.now + d
	if clockToo {
		p.clock.stop(p.w.now)
	}
	p.w.Tracef("program %d stops for %v, clock too: %t", p.id, d, clockToo)
	boot := p.boot
	p.w.After(d, func() {
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
func (p *Program) receive(c *Conn, msg any) {
	p.input(func(now time.Duration) {
		if p.conns[c.slot] != c {
			return
		}
		switch msg := msg.(type) {
		case *Told:
			p.told(msg)
		case machine.Message:
			p.machine.Receive(now, c.slot, msg)
		}
	})
}

// disconnected tells the program that a connection broke.
func (p *Program) disconnected(c *Conn) {
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
func (p *Program) dial(s machine.Slot) {
	w, boot := p.w, p.boot
	w.After(w.Between(time.Millisecond, 50*time.Millisecond), func() {
		if p.boot != boot || !p.wanted[s] || p.conns[s] != nil {
			return
		}
		n := w.Servers[w.Rand.IntN(len(w.Servers))]
		if other := p.conns[1-s]; !n.Up() || other != nil && other.server == n {
			p.dial(s)
			return
		}
		p.input(func(now time.Duration) {
			if !n.Up() || !p.wanted[s] || p.conns[s] != nil {
				p.dial(s)
				return
			}
			c := &Conn{w: w, program: p, slot: s, server: n}
			n.Connected(c)
			w.Tracef("program %d connects slot %d to %v", p.id, s, n)
			p.conns[s] = c
			if s == 1 {
				w.Hit("second node")
			}
			p.machine.Connected(now, s)
		})
	})
}

// carryOut carries out the effects of the machine, checks what the program believes, and plans its next wake-up.
func (p *Program) carryOut() {
	for out := p.machine.Output(); len(out) > 0; out = p.machine.Output() {
		for _, e := range slices.Clone(out) {
			p.effect(e)
		}
	}
	p.check()
	if at, ok := p.machine.Deadline(); ok {
		p.plan(p.clock.When(at))
	}
}

func (p *Program) plan(at time.Duration) {
	at = max(at, p.w.now)
	if at >= p.planned {
		return
	}
	p.planned = at
	boot := p.boot
	p.w.At(at, func() {
		if p.boot != boot || p.planned != at {
			return
		}
		p.planned = Never
		p.input(func(now time.Duration) { p.machine.Wake(now) })
	})
}

func (p *Program) effect(e machine.Effect) {
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
			c.Break()
		}
	case machine.Opened:
		w.Tracef("program %d opened %x@%d", p.id, e.Life.ID[8:], e.Life.Index)
	case machine.Lost:
		w.Tracef("program %d lost %x@%d by %v", p.id, e.Life.ID[8:], e.Life.Index, e.Cause)
		w.Hit("session lost")
		if w.Healed && w.now > w.Judge.SettledAt {
			w.Fail("program %d loses %x@%d by %v, and nothing was wrong", p.id, e.Life.ID[8:], e.Life.Index, e.Cause)
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
		w.Fail("program %d: the hold of token %d was ended by nobody", p.id, e.Token)
	case machine.Jeopardy:
		w.Hit("jeopardy")
	case machine.Closed:
		if !p.leaving {
			w.Fail("program %d: the machine is closed: %v", p.id, e.Reason)
			return
		}
		p.left()
	case machine.Safe:
	}
}

// send hands a message to a connection. The program may stop just before that, after it read its clock.
func (p *Program) send(s machine.Slot, msg machine.Message) {
	c := p.conns[s]
	if c == nil {
		return
	}
	if msg, ok := msg.(machine.KeepAlive); ok {
		if p.beats[msg.Life] == nil {
			p.beats[msg.Life] = map[uint64]time.Duration{}
		}
		p.beats[msg.Life][msg.Number] = p.w.now
		if !p.w.Healed && p.w.Opts.ClientPause > 0 && p.w.Chance(2) {
			p.w.Hit("client pause")
			p.pause(p.w.Between(0, 2*p.w.Opts.TTL), false)
		}
	}
	p.transmit(c, msg)
}

// transmit sends something when the program runs.
func (p *Program) transmit(c *Conn, msg any) {
	boot := p.boot
	p.w.At(max(p.paused, p.w.now), func() {
		if p.boot == boot && !c.broken {
			c.toServer(msg)
		}
	})
}

// real reads the clock as CLOCK_BOOTTIME does, which never stands still.
func (p *Program) real() time.Duration {
	c := Clock{Base: p.clock.Base, Drift: p.clock.Drift}
	return c.At(p.w.now)
}

// valid reports whether the program, would it look at its clocks now, would believe its session to be valid.
func (p *Program) valid() bool {
	until, ok := p.machine.ValidUntil()
	now := p.clock.At(p.w.now)
	if p.clock.still { // CLOCK_BOOTTIME goes on
		now += p.w.now - p.clock.stood
	}
	return p.alive && ok && now < until
}

func (p *Program) acquired(e machine.Acquired) {
	wk := p.calls[e.Call]
	if wk == nil {
		p.w.Fail("program %d: nobody asked for call %d", p.id, e.Call)
		return
	}
	if wk.job.lease > 0 {
		wk.leased(e)
		return
	}
	life, _ := p.machine.Life()
	b := &belief{call: e.Call, life: life, job: wk.job, token: e.Token}
	p.holds = append(p.holds, b)
	p.w.Tracef("program %d holds %v by token %d", p.id, b.job.names, b.token)
	wk.acquired(b)
}

func (p *Program) forget(id machine.CallID) {
	p.holds = slices.DeleteFunc(p.holds, func(b *belief) bool { return b.call == id })
}

// done tells a worker that its call is over.
func (p *Program) done(id machine.CallID) {
	wk := p.calls[id]
	if wk == nil {
		return
	}
	delete(p.calls, id)
	wk.over(id)
}
