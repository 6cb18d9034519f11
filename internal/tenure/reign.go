package tenure

import (
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// Reign is one leadership, without its clock and its goroutines: what a [Tenure] decides, and what it has on its way. Everything in
// it dies with it. Every method that takes a time takes the node's monotonic one. It reads no clock and does no I/O, so that a
// simulator drives it as Tenure does. It is not safe for concurrent use.
type Reign struct {
	term   raft.Term
	keeper *session.Keeper
	served bool // its own first entry is applied
	over   bool

	turned  time.Duration             // when the last turn was taken
	rounds  int                       // quorum rounds on their way
	ticking bool                      // a tick is on its way
	ending  bool                      // somebody proposes what is in due
	due     []session.Life            // to be expired
	asked   map[session.Life]struct{} // in due, or on their way
}

// NewReign begins a leadership of a term.
func NewReign(term raft.Term, now time.Duration) *Reign {
	return &Reign{
		term: term, keeper: session.NewKeeper(uint64(term), now), turned: now,
		asked: make(map[session.Life]struct{}),
	}
}

// Term returns the term. Whatever the Reign stamps or decides may be proposed in it and in no other.
func (r *Reign) Term() raft.Term { return r.term }

// Serving reports whether its own first entry is applied, and it is not over.
func (r *Reign) Serving() bool { return r.served && !r.over }

// Stamp returns the cluster time.
func (r *Reign) Stamp(now time.Duration) time.Duration { return r.keeper.Stamp(now) }

// End ends it.
func (r *Reign) End() {
	r.over = true
}

// serve starts the Keeper with the state at an entry of its own term.
func (r *Reign) serve(now time.Duration, table *locktable.Table) {
	r.keeper.Start(now, table.Clock(), table.Lives())
	r.served = true
}

// Applied passes on to the Keeper what an entry did to the sessions.
func (r *Reign) Applied(now time.Duration, a replica.Applied) {
	if !r.Serving() {
		return
	}
	for _, e := range a.Effects {
		switch e.Kind { //nolint:exhaustive // the others are not about sessions
		case locktable.Opened:
			if terms, _, ok := a.Table.Session(e.Session); ok {
				r.keeper.Opened(now, terms)
			}
		case locktable.Ended:
			r.keeper.Ended(e.Session)
		}
	}
}

// KeepAlive takes in signs of life. They count from when they are taken in.
func (r *Reign) KeepAlive(now time.Duration, kas []session.KeepAlive) {
	for _, ka := range kas {
		r.keeper.KeepAlive(now, ka)
	}
}

// Disconnected takes in that the connections of sessions have closed.
func (r *Reign) Disconnected(now time.Duration, lives []session.Life) {
	for _, life := range lives {
		r.keeper.Disconnected(now, life)
	}
}

// Decision is what a turn has come to.
type Decision struct {
	session.Output
	Over     bool          // the leadership is over: nothing else is set
	Clock    time.Duration // cluster time
	Wait     time.Duration // until the next turn
	Late     time.Duration // since the last turn, if it was late
	Began    bool          // the Keeper has just started
	Sessions int           // with so many
	Expiring bool          // somebody must propose what is due: see Due
}

// Decide takes a turn: applied is the last entry that is applied here, and table as it is then. What it says is under way from here
// on, until RoundOver, Due and Settle, or TickOver tell.
func (r *Reign) Decide(now time.Duration, applied raft.Position, table *locktable.Table) (d Decision) {
	if r.over {
		d.Over = true
		return d
	}
	if by := now - r.turned; by > session.StallMax {
		d.Late = by
	}
	r.keeper.Turn(now)
	r.turned = now
	if !r.served && applied.Term == r.term {
		r.serve(now, table)
		d.Began = true
		_, d.Sessions, _ = table.Len()
	}
	d.Output = r.keeper.Output(now, uint64(applied.Index), table.Work())
	d.Clock, d.Wait = r.keeper.Stamp(now), d.Wake-now
	r.book(&d)
	return d
}

// book notes what is about to begin, and takes out what is on its way already: the Keeper asks again.
func (r *Reign) book(d *Decision) {
	if d.Round != 0 && r.rounds >= roundsMax {
		d.Round = 0
	}
	if d.Round != 0 {
		r.rounds++
	}
	d.Tick = d.Tick && !r.ticking
	r.ticking = r.ticking || d.Tick
	r.expire(d.Expire)
	d.Expiring = len(r.due) > 0 && !r.ending
	r.ending = r.ending || d.Expiring
}

// RoundOver tells that the quorum round is over, and what the read index was if a quorum acknowledged it in this term.
func (r *Reign) RoundOver(number uint64, index raft.Index, err error) {
	r.rounds--
	if err == nil && !r.over {
		r.keeper.RoundDone(number, uint64(index))
	}
}

// TickOver tells that the tick is applied or refused.
func (r *Reign) TickOver() { r.ticking = false }

// expire puts lives in line to be expired, but for those that are there already.
func (r *Reign) expire(lives []session.Life) {
	for _, life := range lives {
		if _, asked := r.asked[life]; !asked {
			r.asked[life] = struct{}{}
			r.due = append(r.due, life)
		}
	}
}

// Due returns the lives of the next Expire, to be proposed now and settled afterwards. When it returns none, nobody proposes any more,
// until a Decision says so again.
func (r *Reign) Due() []session.Life {
	n := min(len(r.due), locktable.ExpireMax)
	some := r.due[:n:n]
	r.due = r.due[n:]
	r.ending = len(some) > 0
	return some
}

// Settle forgets lives whose Expire is applied or refused: the Keeper knows whether they are to come again.
func (r *Reign) Settle(lives []session.Life) {
	for _, life := range lives {
		delete(r.asked, life)
	}
}
