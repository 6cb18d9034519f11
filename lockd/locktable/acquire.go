package locktable

import (
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lockd/lockd/session"
)

// request judges a request of a session before it runs. If it does not run, the reply says why, or repeats what was answered.
func (t *Table) request(q *Request) (c *client, reply Reply, run bool) {
	c = t.sessions.Find(q.Session)
	if c == nil {
		return nil, Reply{Code: SessionUnknown}, false
	}
	acknowledged := c.Acknowledge(q.Acked)
	for _, seq := range q.Seen {
		if w := c.Held.bySeq[seq]; w != nil && w.outcome.Code != 0 {
			t.dropWait(w)
		}
	}
	reply, run = t.judge(c, q.Seq)
	if acknowledged && !run {
		t.touch(&c.Held)
	}
	return c, reply, run
}

// judge says whether a request runs. A repeat of a wait attaches to the wait: it is told the outcome, or where it stands.
func (t *Table) judge(c *client, seq uint64) (reply Reply, run bool) {
	if w := c.Held.bySeq[seq]; w != nil {
		return t.progress(w), false
	}
	stored, verdict := c.Judge(seq)
	switch verdict {
	case session.Fresh:
		return Reply{}, true
	case session.Repeat:
		// A wait that is gone was seen: nobody asks for its outcome any more.
		if reply = loadReply(stored); reply.Code != Queued {
			return reply, false
		}
	case session.TooFar:
		return Reply{Code: WindowFull}, false
	case session.Stale:
	}
	return Reply{Code: Stale}, false
}

// progress returns the outcome of a wait, or its place.
func (t *Table) progress(w *wait) Reply {
	for i := 0; i < len(w.locks); i++ {
		t.settle(w.locks[i])
	}
	if w.outcome.Code != 0 {
		return w.outcome
	}
	return Reply{Code: Queued, Index: w.place, Ahead: t.position(w)}
}

// keep stores the result of a request that ran.
func (t *Table) keep(c *client, seq uint64, r Reply) Reply {
	r.Index = t.index
	c.Keep(seq, storeReply(&r))
	t.grown(session.ResultMax + 4)
	t.touch(&c.Held)
	return r
}

func (t *Table) acquire(a *Acquire) Reply {
	if !a.wellFormed() {
		return Reply{Code: Invalid}
	}
	c, reply, run := t.request(&a.Request)
	if !run {
		return reply
	}
	t.find(a.Names)
	if reply, refused := t.refuse(c, a); refused {
		return t.keep(c, a.Seq, reply)
	}
	admitted := t.clock >= t.embargo && t.admitsAll(a)
	if !admitted {
		if reply, refused := t.cannotWait(c, a); refused {
			return t.keep(c, a.Seq, reply)
		}
	}
	for i, name := range a.Names {
		t.found[i] = t.lockNamed(name, a.Limit)
	}
	if !admitted {
		return t.keep(c, a.Seq, t.enqueue(c, a, t.found))
	}
	x := newExtra(t.found, a.Delay, a.LeaseID, a.LeaseTTL, slices.Clone(a.Value), slices.Clone(a.Metadata))
	t.waited(t.found[0].name, 0, Granted)
	return t.keep(c, a.Seq, t.grant(c, a.Owner, a.Mode, t.found, x))
}

// find settles the names and puts their locks into t.found, nil for those that do not exist.
func (t *Table) find(names []string) {
	if t.unsettled() || t.left.len() > 0 {
		for _, name := range names {
			if l := t.locks[name]; l != nil {
				t.settle(l)
			}
		}
	}
	t.found = t.found[:0]
	for _, name := range names {
		t.found = append(t.found, t.locks[name])
	}
}

// refuse answers what neither a grant nor a wait can help: another kind of lock, an owner that is here already, a limit.
func (t *Table) refuse(c *client, a *Acquire) (Reply, bool) {
	for _, l := range t.found {
		if l == nil {
			continue
		}
		if l.limit != a.Limit {
			if t.exists(l) {
				return Reply{Code: WrongKind}, true
			}
			t.gather(l)
			l.limit = a.Limit
			t.touch(l.crowd)
		}
		n, h, w := l.partOf(c, a.Owner)
		if a.Mode != Slot && h != nil {
			if a.Reentrant && h.mode == a.Mode && len(h.more().rest) == 0 {
				h.levels++
				t.touch(h)
				return Reply{Code: Reentered, Token: h.token, Floor: l.floor()}, true
			}
			return Reply{Code: AlreadyHeld, Token: h.token}, true
		}
		if a.Mode != Slot && w != nil {
			return Reply{Code: AlreadyHeld}, true
		}
		if n >= RecordsPerNameMax {
			return Reply{Code: TooManyHere}, true
		}
	}
	if c.Held.holds+c.Held.waits >= HoldsMax {
		return Reply{Code: TooManyHolds}, true
	}
	return Reply{}, false
}

// exists reports whether anything in the lock counts. If not, only the records of the dead are left, and the lock is begun anew.
func (t *Table) exists(l *lock) bool { return t.holders(l).holders > 0 || t.queued(l) > 0 }

// cannotWait answers a request that is not granted now and cannot be queued.
func (t *Table) cannotWait(c *client, a *Acquire) (Reply, bool) {
	if a.Wait == 0 {
		r := Reply{Code: Held}
		if t.clock < t.embargo {
			r.Code = Embargo
		} else if l := t.found[0]; l != nil {
			r.Ahead = t.queued(l)
		}
		return r, true
	}
	if c.Held.waits >= WaitsMax {
		return Reply{Code: TooManyWaits}, true
	}
	for _, l := range t.found {
		if l != nil && l.crowd != nil && l.crowd.queue.len() >= WaitersMax {
			return Reply{Code: TooManyWaiters}, true
		}
	}
	return Reply{}, false
}

// admitsAll reports whether all of t.found would grant a request that comes now.
func (t *Table) admitsAll(a *Acquire) bool {
	for _, l := range t.found {
		if l != nil && !t.admits(l, nil, a.Mode, a.Limit) {
			return false
		}
	}
	return true
}

func (c *Acquire) wellFormed() bool {
	for i, name := range c.Names {
		if !validName(name) || slices.Contains(c.Names[:i], name) {
			return false
		}
	}
	switch c.Mode {
	case Exclusive, Shared:
		if c.Limit != 0 {
			return false
		}
	case Slot:
		if c.Limit == 0 || c.Limit > SlotsMax {
			return false
		}
	default:
		return false
	}
	lease := c.LeaseTTL != 0
	return len(c.Names) > 0 && c.Seq > 0 && (c.Wait <= WaitMax || c.Wait == Forever) && c.Delay <= DelayMax &&
		(!c.Reentrant || len(c.Names) == 1 && !lease && c.Mode != Slot) &&
		(!lease || leaseLong(c.LeaseTTL) && c.LeaseID != session.ID{}) &&
		len(c.Value) <= ValueMax && len(c.Metadata) <= session.MetadataMax
}

func leaseLong(ttl time.Duration) bool { return LeaseMin <= ttl && ttl <= LeaseMax }

// validName reports whether a name is UTF-8 of 1 to NameMax bytes without control characters.
func validName(name string) bool {
	if len(name) == 0 || len(name) > NameMax {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' {
			return utf8.ValidString(name) && !hasControl(name)
		}
	}
	return true
}

func hasControl(name string) bool {
	for _, r := range name {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}
