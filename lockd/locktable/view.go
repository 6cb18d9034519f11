package locktable

import (
	"iter"
	"strings"
	"time"

	"github.com/lockd/lockd/session"
)

// Validity says what a token is worth.
type Validity uint8

// What CheckToken answers.
const (
	Valid Validity = 1 // a living holder has it
	Past  Validity = 2 // others hold the lock: Newest is the token to compare with
	Free  Validity = 3 // nobody holds the lock
)

// Check is the answer of CheckToken.
type Check struct {
	Validity Validity
	Newest   uint64 // newest token granted of the name, as far as it is known; 0 if the lock does not exist
	Floor    uint64 // token of the last exclusive grant
}

// Holder is a hold as readers see it.
type Holder struct {
	Token    uint64
	Session  session.Life // zero for a lease and for nobody
	Owner    uint64
	Mode     Mode
	Since    time.Duration // cluster time
	Levels   int
	Names    []string
	Lease    session.ID
	Until    time.Duration // end of the lease, or of the lock-delay of a hold that has ended; 0 = the session's
	Ended    How           // not NotEnded: nobody's, only its lock-delay runs
	Value    []byte
	Metadata []byte // its own, or else its session's
}

// Waiter is a wait as readers see it.
type Waiter struct {
	Session  session.Life
	Seq      uint64
	Owner    uint64
	Mode     Mode
	Since    time.Duration // cluster time
	Until    time.Duration // cluster time, or Forever
	Names    []string
	Value    []byte
	Metadata []byte // the same
}

// View is one lock at the last applied entry. Nothing in it changes afterwards.
type View struct {
	Name    string
	Limit   uint32   // of slots; 0 = read-write
	Holders []Holder // in the order of their tokens, at most as many as were asked for
	Waiters []Waiter // in their order, likewise
	Held    int      // how many hold it, nobody's holds counted
	Queue   int      // how many wait
	Floor   uint64
	Newest  uint64
	Last    Ending
}

// Index returns the index and the term of the last applied entry.
func (t *Table) Index() (index, term uint64) { return t.index, t.term }

// Clock returns the cluster time.
func (t *Table) Clock() time.Duration { return t.clock }

// Counter returns the last token that was granted.
func (t *Table) Counter() uint64 { return t.counter }

// Incarnation returns the cluster's incarnation, and until when it grants nothing.
func (t *Table) Incarnation() (incarnation [16]byte, embargo time.Duration) {
	return t.incarnation, t.embargo
}

// Lives iterates over the living sessions in the order in which they were opened, for [session.Keeper.Start].
func (t *Table) Lives() iter.Seq[session.Terms] { return t.sessions.Lives() }

// Session returns the terms and the metadata of a life; ok is false if it is unknown or dead.
func (t *Table) Session(life session.Life) (terms session.Terms, metadata []byte, ok bool) {
	c := t.sessions.Find(life)
	if c == nil {
		return session.Terms{}, nil, false
	}
	return c.Terms(), c.Metadata(), true
}

// Len returns how many locks, alive sessions and dead sessions with records there are.
func (t *Table) Len() (locks, living, dead int) {
	living, dead = t.sessions.Len()
	return len(t.locks), living, dead
}

// Totals returns how many holds and how many waits there are; those of the dead count until their records are collected, and those of
// nobody until their lock-delay is over.
func (t *Table) Totals() (holds, waits int) { return t.holds, t.waits }

// CheckToken says what a token of a name is worth.
func (t *Table) CheckToken(name string, token uint64) Check {
	l := t.locks[name]
	if l == nil {
		return Check{Validity: Free}
	}
	check := Check{Validity: Free, Floor: l.floor()}
	if l.crowd != nil {
		check.Newest = l.crowd.newest
	} else {
		check.Newest = l.sole.token
	}
	if h := l.holder(token); h != nil && t.valid(h) {
		check.Validity = Valid
	} else if t.newestHolder(l) != 0 {
		check.Validity = Past
	}
	return check
}

// Lock returns the lock of this name with the first most of its holders and of its waiters; ok tells whether it exists.
func (t *Table) Lock(name string, most int) (v View, ok bool) {
	l := t.locks[name]
	if l == nil || !t.exists(l) {
		return View{}, false
	}
	v = View{Name: name, Limit: l.limit, Floor: l.floor(), Held: t.holdersOf(l), Queue: t.queued(l)}
	if l.crowd == nil {
		v.Newest = l.sole.token
		v.Holders = t.viewHold(v.Holders, l.sole)
	} else {
		v.Newest, v.Last = l.crowd.newest, l.crowd.last
		for h := range l.crowd.holders.all {
			if len(v.Holders) >= most {
				break
			}
			v.Holders = t.viewHold(v.Holders, h)
		}
		for w := range l.crowd.queue.all {
			if len(v.Waiters) >= most {
				break
			}
			if t.waiting(w) {
				v.Waiters = append(v.Waiters, viewWait(w))
			}
		}
	}
	return v, true
}

func (t *Table) viewHold(list []Holder, h *hold) []Holder {
	if !t.blocks(h) {
		return list
	}
	x := h.more()
	v := Holder{
		Token: h.token, Owner: h.owner, Mode: h.mode, Since: h.since, Levels: int(h.levels), Lease: x.lease, Until: x.until,
		Ended: x.nobody, Value: x.value, Metadata: x.metadata,
	}
	if h.client != nil {
		v.Session, v.Metadata = h.client.Life(), metadataOf(x.metadata, h.client)
	}
	if !t.valid(h) && x.nobody == NotEnded {
		how, at := t.endOf(h)
		v.Session, v.Ended, v.Until, v.Value, v.Metadata = session.Life{}, how, addUntil(at, x.delay), nil, nil
	}
	for l := range h.locks {
		v.Names = append(v.Names, l.name)
	}
	return append(list, v)
}

// metadataOf is that of a hold or a wait: its session's, if it has none of its own.
func metadataOf(own []byte, c *client) []byte {
	if len(own) > 0 {
		return own
	}
	return c.Metadata()
}

func viewWait(w *wait) Waiter {
	v := Waiter{
		Session: w.client.Life(), Seq: w.seq, Owner: w.owner, Mode: w.mode, Since: w.since, Until: w.until, Value: w.value,
		Metadata: metadataOf(w.meta, w.client),
	}
	for _, l := range w.locks {
		v.Names = append(v.Names, l.name)
	}
	return v
}

// Names returns all names that begin with prefix, in their order.
func (t *Table) Names(prefix string) []string { return t.NamesAfter(prefix, "", len(t.locks)) }

// NamesAfter returns the first names that begin with prefix and come after another one, in their order, at most so many. It looks at
// no more locks than it returns, but for those of dead sessions.
func (t *Table) NamesAfter(prefix, after string, most int) []string {
	var names []string
	for l := range t.catalog.from(max(prefix, after)) {
		if len(names) >= most || !strings.HasPrefix(l.name, prefix) {
			break
		}
		if l.name != after && t.exists(l) {
			names = append(names, l.name)
		}
	}
	return names
}

// holdersOf counts the holds that keep others out.
func (t *Table) holdersOf(l *lock) (n int) {
	if l.crowd == nil || !t.unsettled() {
		return t.holders(l).holders
	}
	for h := range l.crowd.holders.all {
		if t.blocks(h) {
			n++
		}
	}
	return n
}

// Wait returns the outcome of a wait of a living session, Queued while it is undecided; ok tells whether it is known.
func (t *Table) Wait(life session.Life, seq uint64) (r Reply, ok bool) {
	c := t.sessions.Find(life)
	if c == nil {
		return Reply{}, false
	}
	w := c.Held.bySeq[seq]
	switch {
	case w == nil:
		return Reply{}, false
	case w.outcome.Code != 0:
		return w.outcome, true
	}
	return Reply{Code: Queued, Index: w.place, Ahead: t.position(w)}, true
}
