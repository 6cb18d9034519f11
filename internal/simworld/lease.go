package simworld

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/lockd/locktable"
)

// Ask is a request outside of any session: a command about a lease, or tokens to be checked.
type Ask struct {
	Number  uint64            // of the attempt
	Command locktable.Command // nil: Tokens are to be checked
	Tokens  []Token
}

// Told is the answer to an Ask.
type Told struct {
	Number uint64
	Retry  bool // nobody knows what became of it
	Reply  locktable.Reply
	Checks []locktable.Check
	Index  uint64 // of the state in which the tokens were checked
}

// Token is a token of a name.
type Token struct {
	Name  string
	Token uint64
}

// ask is a request outside of any session, in all its attempts.
type ask struct {
	msg    Ask
	sent   time.Duration // true time of the present attempt
	real   time.Duration // the same by the program's clock
	at     uint64        // the last entry that was committed when it was made
	then   func(*Told)
	number uint64 // of the present attempt; 0: there is no connection
}

// askAgain is how long an attempt may take.
const askAgain = 700 * time.Millisecond

// request asks for something, over any connection, until it is answered.
func (p *Program) request(msg Ask, then func(*Told)) { p.attempt(&ask{msg: msg, then: then}) }

func (p *Program) attempt(a *ask) {
	w := p.w
	slot := w.Rand.IntN(2)
	if p.conns[slot] == nil {
		slot = 1 - slot
	}
	a.number = 0
	if c := p.conns[slot]; c != nil {
		p.asked++
		a.number = p.asked
		msg := a.msg
		msg.Number = a.number
		a.sent, a.real, a.at = w.now, p.real(), w.Judge.Index()
		p.asks[a.number] = a
		p.transmit(c, &msg)
	}
	number := a.number
	p.later(askAgain, func(time.Duration) {
		if number == 0 || p.asks[number] == a {
			delete(p.asks, number)
			p.attempt(a)
		}
	})
}

// told takes an answer. One to an earlier attempt counts no more.
func (p *Program) told(t *Told) {
	a := p.asks[t.Number]
	if a == nil || t.Retry {
		return // the next attempt comes
	}
	delete(p.asks, t.Number)
	a.then(t)
}

// lease is a lease as its owner knows it.
type lease struct {
	name  string
	job   job
	token uint64
	ttl   time.Duration
	until time.Duration // by the program's clock, as CLOCK_BOOTTIME reads it; 0: nobody has said
}

// extend moves the validity to what a confirmation carries, only ever forwards.
func (l *lease) extend(sent time.Duration) {
	margin := min(l.ttl/10, time.Second)
	l.until = max(l.until, sent+l.ttl/100*99-margin)
}

// holds reports whether the program believes that it has the lease.
func (p *Program) has(l *lease) bool { return p.alive && p.real() < l.until }

// leased takes over a lease that was granted to a call. How long ago that was nobody knows: a renewal tells.
func (wk *worker) leased(e machine.Acquired) {
	p, w := wk.p, wk.p.w
	w.Stats.Grants++
	l := &lease{name: wk.job.names[0], job: wk.job, token: e.Token, ttl: wk.job.lease}
	w.Tracef("program %d leases %v by token %d", p.id, wk.job.names, e.Token)
	delete(p.calls, e.Call)
	if w.Healed {
		wk.rounds++
	}
	if wk.given {
		p.giveBack(l)
	} else {
		p.own(l)
	}
	wk.over(e.Call)
}

// own renews a lease now and then, until it is given back, handed on or lost.
func (p *Program) own(l *lease) {
	p.leases = append(p.leases, l)
	p.renew(l)
}

func (p *Program) disown(l *lease) {
	p.leases = slices.DeleteFunc(p.leases, func(o *lease) bool { return o == l })
}

func (p *Program) renew(l *lease) {
	w := p.w
	cluster := w.Judge.clusters
	asked := &ask{msg: Ask{Command: &locktable.RenewLease{Name: l.name, ID: l.job.leaseID, Token: l.token, TTL: l.ttl}}}
	asked.then = func(t *Told) {
		if t.Reply.Code != locktable.OK {
			w.Hit("lease lost")
			p.disown(l)
			return
		}
		w.Hit("lease renewed")
		l.job.cluster = cluster
		l.extend(asked.real)
		w.Judge.renewedLease(l.token, asked.sent, l.ttl)
		p.later(w.Between(0, l.ttl), func(time.Duration) { p.decide(l) })
	}
	p.attempt(asked)
}

// decide goes on with a lease, or ends it.
func (p *Program) decide(l *lease) {
	w := p.w
	if !slices.Contains(p.leases, l) {
		return
	}
	switch n := w.Rand.IntN(6); {
	case w.Judge.Resting || n == 0:
		p.disown(l)
		p.giveBack(l)
	case n == 1:
		w.Hit("lease forgotten")
		p.disown(l) // a job that ended without a word
	case n == 2:
		p.disown(l) // whoever is given the reference may take it over at once
		w.Programs[w.Rand.IntN(len(w.Programs))].takeOver(l)
	default:
		// Sometimes shorter than before, which must not move the deadline back.
		if n == 3 {
			l.ttl = max(locktable.LeaseMin, l.ttl/2)
		}
		p.renew(l)
	}
}

func (p *Program) giveBack(l *lease) {
	p.request(Ask{Command: &locktable.ReleaseLease{Name: l.name, ID: l.job.leaseID, Token: l.token}}, func(t *Told) {
		if t.Reply.Code == locktable.OK {
			p.w.Hit("lease released")
		}
	})
}

// takeOver takes a lease over from another program.
func (p *Program) takeOver(l *lease) {
	w := p.w
	if !p.alive || p.leaving {
		return
	}
	next := *l
	next.job.leaseID, next.until = w.drawID(), 0
	cmd := &locktable.TakeLease{Name: l.name, ID: l.job.leaseID, Token: l.token, NewID: next.job.leaseID, TTL: l.ttl}
	p.input(func(time.Duration) {
		p.request(Ask{Command: cmd}, func(t *Told) {
			if t.Reply.Code != locktable.Granted {
				w.Hit("lease not taken over")
				return
			}
			w.Hit("lease taken over")
			next.token = t.Reply.Token
			p.own(&next)
		})
	})
}

// checkTokens asks what the tokens that the program knows are worth, as a resource would.
func (p *Program) checkTokens() {
	w := p.w
	if len(p.holds) == 0 {
		return
	}
	b := p.holds[w.Rand.IntN(len(p.holds))]
	asked := &ask{msg: Ask{Tokens: []Token{{b.job.names[0], b.token}, {b.job.names[0], b.token - 1}}}}
	asked.then = func(t *Told) {
		w.Hit("tokens checked")
		if t.Index < asked.at {
			w.Fail("program %d: tokens are checked at %d, and %d was applied when that was asked", p.id, t.Index, asked.at)
		}
		if slices.Contains(p.holds, b) && p.valid() && t.Checks[0].Validity != locktable.Valid {
			w.Fail("program %d holds %s by token %d, which is said to be %v", p.id, b.job.names[0], b.token, t.Checks[0].Validity)
		}
	}
	p.attempt(asked)
}
