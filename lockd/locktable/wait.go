package locktable

import "slices"

// enqueue puts a request into the queues of all its locks.
func (t *Table) enqueue(c *client, a *Acquire, locks []*lock) Reply {
	w := &wait{
		place: t.index, client: c, seq: a.Seq, owner: a.Owner, locks: slices.Clone(locks), since: t.clock,
		until: addUntil(t.clock, a.Wait), mode: a.Mode, delay: a.Delay, lease: a.LeaseID, ttl: a.LeaseTTL,
		value: slices.Clone(a.Value), meta: slices.Clone(a.Metadata),
	}
	r := Reply{Code: Queued, Index: t.index}
	for _, l := range locks {
		r.Ahead = max(r.Ahead, t.queued(l))
		t.gather(l).enqueue(w)
		if t.clock < t.embargo {
			t.free(l)
		}
	}
	c.Held.chainWait(w)
	t.waits++
	t.alarmWait(w)
	t.touch(w)
	t.promoteFreed()
	return r
}

func (t *Table) alarmWait(w *wait) {
	if w.until != Forever {
		w.alarm = &alarm{at: w.until, index: w.place, wait: w}
		t.alarms.add(w.alarm)
	}
}

// grantWait grants a wait whose locks all admit it.
func (t *Table) grantWait(w *wait) {
	locks := w.locks
	x := newExtra(locks, w.delay, w.lease, w.ttl, w.value, w.meta)
	t.leaveQueues(w)
	t.decide(w, t.grant(w.client, w.owner, w.mode, locks, x))
}

// giveUp ends a wait without a grant, and lets those behind it come forward.
func (t *Table) giveUp(w *wait, code Code) {
	for _, l := range w.locks {
		t.free(l)
	}
	t.leaveQueues(w)
	t.decide(w, Reply{Code: code, Index: t.index})
}

func (t *Table) leaveQueues(w *wait) {
	t.unalarm(&w.alarm)
	t.waits--
	for _, l := range w.locks {
		l.crowd.dequeue(w)
	}
}

// decide stores the outcome of a wait in its record, where it stays until a request names it as seen.
func (t *Table) decide(w *wait, r Reply) {
	t.effect(Effect{Kind: WaitOver, Session: w.client.Life(), Seq: w.seq, Reply: r})
	t.waited(w.locks[0].name, t.now-w.since, r.Code)
	r.Behind = 0 // not stored
	w.outcome, w.locks, w.value, w.meta = r, nil, nil, nil
	t.touch(w)
}

// dropWait forgets a wait: its outcome was seen, or its session is dead.
func (t *Table) dropWait(w *wait) {
	if w.outcome.Code == 0 {
		for _, l := range w.locks {
			t.free(l)
		}
		t.leaveQueues(w)
	}
	w.gone = true
	w.client.Held.unchainWait(w)
	t.touch(w)
}

// position returns how many waiters stand before the wait, in the longest of its queues.
func (t *Table) position(w *wait) (n int) {
	for _, l := range w.locks {
		n = max(n, t.standing(l, w).ahead)
	}
	return n
}

func (s *holdings) chainWait(w *wait) {
	w.prev = s.lastWait
	if w.prev == nil {
		s.firstWait = w
	} else {
		w.prev.next = w
	}
	s.lastWait = w
	s.waits++
	if s.bySeq == nil {
		s.bySeq = make(map[uint64]*wait)
	}
	s.bySeq[w.seq] = w
}

func (s *holdings) unchainWait(w *wait) {
	if w.prev == nil {
		s.firstWait = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		s.lastWait = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	s.waits--
	delete(s.bySeq, w.seq)
}
