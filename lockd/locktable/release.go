package locktable

import (
	"slices"

	"github.com/lockd/lockd/session"
)

// named returns the lock of this name, settled, or nil.
func (t *Table) named(name string) *lock {
	l := t.locks[name]
	if l == nil || !t.unsettled() && t.left.len() == 0 {
		return l
	}
	t.settle(l)
	return t.locks[name]
}

// holdOf returns the session's hold of this name and token, or nil. The token alone is not enough: it may be another's.
func (t *Table) holdOf(c *client, name string, token uint64) *hold {
	l := t.named(name)
	if l == nil {
		return nil
	}
	if h := l.holder(token); h != nil && h.client == c {
		return h
	}
	return nil
}

func (t *Table) release(q *Release) Reply {
	c, reply, run := t.request(&q.Request)
	if !run {
		return reply
	}
	h := t.holdOf(c, q.Name, q.Token)
	if h == nil {
		return t.keep(c, q.Seq, Reply{Code: NotHeld})
	}
	t.leaveLevel(h)
	return t.keep(c, q.Seq, Reply{Code: OK, Token: q.Token})
}

// leaveLevel leaves a hold that was entered several times, or ends it.
func (t *Table) leaveLevel(h *hold) {
	if h.levels > 1 {
		h.levels--
		t.touch(h)
		return
	}
	t.end(h, Released, t.clock)
	t.promoteFreed()
}

// cancel ends what became of another request of the session. Cancel and grant are both entries, so one of them comes first.
func (t *Table) cancel(q *Cancel) Reply {
	if q.Target == 0 || q.Target == q.Seq {
		return Reply{Code: Invalid}
	}
	c, reply, run := t.request(&q.Request)
	if !run {
		return reply
	}
	if w := c.Held.bySeq[q.Target]; w != nil {
		reply = t.progress(w)
		if reply.Code == Queued {
			t.giveUp(w, Cancelled)
			t.promoteFreed()
			reply = w.outcome
		}
	} else if reply, run = t.judge(c, q.Target); run {
		// Not seen yet: it overtook its target, which must not run when it comes.
		reply = t.keep(c, q.Target, Reply{Code: Cancelled})
	}
	if reply.Code == Reentered {
		reply = t.undoEntering(c, q, reply.Token)
	}
	if reply.Code == Granted {
		t.undo(c, q.Name, reply.Token)
	}
	return t.keep(c, q.Seq, reply)
}

// undo ends the hold that a cancelled request made, and no newer one. A lease it made goes by the token alone: nobody else was
// told of it.
func (t *Table) undo(c *client, name string, token uint64) {
	l := t.named(name)
	if l == nil {
		return
	}
	h := l.holder(token)
	if h != nil && t.valid(h) && (h.client == c || h.client == nil) {
		t.end(h, Released, t.clock)
		t.promoteFreed()
	}
}

// undoEntering leaves the level that a cancelled request entered, once: from now on that request counts as cancelled.
func (t *Table) undoEntering(c *client, q *Cancel, token uint64) Reply {
	if h := t.holdOf(c, q.Name, token); h != nil {
		t.leaveLevel(h)
	}
	cancelled := Reply{Code: Cancelled, Index: t.index, Token: token}
	c.Replace(q.Target, storeReply(&cancelled))
	return cancelled
}

func (t *Table) setValue(q *SetValue) Reply {
	if len(q.Value) > ValueMax {
		return Reply{Code: Invalid}
	}
	c, reply, run := t.request(&q.Request)
	if !run {
		return reply
	}
	h := t.holdOf(c, q.Name, q.Token)
	if h == nil && q.LeaseID != (session.ID{}) {
		h = t.lease(q.Name, q.LeaseID, q.Token)
	}
	if h == nil {
		return t.keep(c, q.Seq, Reply{Code: NotHeld})
	}
	if h.extra == nil {
		h.extra = &extra{}
	}
	h.extra.value = slices.Clone(q.Value)
	t.touch(h)
	t.grown(len(q.Value))
	t.changed(h)
	return t.keep(c, q.Seq, Reply{Code: OK, Token: h.token})
}

// lease returns the valid lease of this name, id and token, or nil.
func (t *Table) lease(name string, id session.ID, token uint64) *hold {
	l := t.named(name)
	if l == nil {
		return nil
	}
	h := l.holder(token)
	if h == nil || h.client != nil || h.more().lease != id || !t.valid(h) {
		return nil
	}
	return h
}

func (t *Table) renewLease(q *RenewLease) Reply {
	if !leaseLong(q.TTL) {
		return Reply{Code: Invalid}
	}
	h := t.lease(q.Name, q.ID, q.Token)
	if h == nil {
		return Reply{Code: Gone}
	}
	if until := addUntil(t.clock, q.TTL); until > h.extra.until {
		h.extra.until = until
		t.alarms.move(h.extra.alarm, until)
		t.touch(h)
	}
	return Reply{Code: OK, Token: h.token, Deadline: h.extra.until}
}

func (t *Table) releaseLease(q *ReleaseLease) Reply {
	h := t.lease(q.Name, q.ID, q.Token)
	if h == nil {
		return Reply{Code: Gone}
	}
	t.end(h, Released, t.clock)
	t.promoteFreed()
	return Reply{Code: OK, Token: q.Token}
}

// takeLease hands a lease on. It is a grant that passes the queue, since the locks never come free.
func (t *Table) takeLease(q *TakeLease) Reply {
	if !leaseLong(q.TTL) || len(q.Metadata) > session.MetadataMax || q.NewID == q.ID || q.NewID == (session.ID{}) || q.Token == 0 {
		return Reply{Code: Invalid}
	}
	old := t.lease(q.Name, q.ID, q.Token)
	if old == nil {
		return t.takenBefore(q)
	}
	if t.clock < t.embargo {
		return Reply{Code: Embargo}
	}
	locks := slices.Collect(old.locks)
	x := newExtra(locks, old.extra.delay, q.NewID, q.TTL, old.extra.value, slices.Clone(q.Metadata))
	x.takenFrom = old.token
	t.unalarm(&old.extra.alarm)
	t.revoked(old, HandedOn)
	t.held(old, t.clock, HandedOn)
	old.gone = true
	t.holds--
	t.touch(old)
	for _, l := range locks {
		l.remove(old)
		if l.crowd != nil {
			l.crowd.last = Ending{How: HandedOn, Token: old.token}
		}
	}
	r := t.grant(nil, old.owner, old.mode, locks, x)
	r.Previous = Ending{How: HandedOn, Token: old.token}
	return r
}

// takenBefore answers a repeat of a hand-on that was done.
func (t *Table) takenBefore(q *TakeLease) Reply {
	l := t.locks[q.Name]
	if l == nil {
		return Reply{Code: Gone}
	}
	of := func(h *hold) bool {
		x := h.more()
		return x.takenFrom == q.Token && x.lease == q.NewID && t.valid(h)
	}
	h := l.sole
	if l.crowd != nil {
		for h = l.crowd.holders.after(q.Token); h != nil && !of(h); h = l.crowd.holders.after(h.token) {
		}
	}
	if h == nil || !of(h) {
		return Reply{Code: Gone}
	}
	return Reply{
		Code: Granted, Index: h.index, Token: h.token, Floor: l.floor(), Deadline: h.extra.until,
		Previous: Ending{How: HandedOn, Token: q.Token},
	}
}
