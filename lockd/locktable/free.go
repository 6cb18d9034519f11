package locktable

// This file decides what counts: who is alive, what is due, and who may be granted.
//
// What belongs to a dead session, and what is due by t.now, counts as gone in every check, though its record may still be there.

// valid reports whether the hold has a living holder.
func (t *Table) valid(h *hold) bool {
	if h.client != nil {
		return h.client.Alive()
	}
	x := h.more()
	return x.nobody == NotEnded && t.now < x.until
}

// blocks reports whether the hold keeps others out: it is valid, or its lock-delay runs.
func (t *Table) blocks(h *hold) bool {
	if t.valid(h) {
		return true
	}
	x := h.more()
	if h.client == nil && x.nobody != NotEnded {
		return t.now < x.until
	}
	how, at := t.endOf(h)
	return how.badly() && t.now < addUntil(at, x.delay)
}

// badly reports whether a holder may have left something undone.
func (how How) badly() bool { return how == Expired || how == Forgotten }

// waiting reports whether the wait is undecided, its session alive and its limit ahead.
func (t *Table) waiting(w *wait) bool {
	return w.outcome.Code == 0 && w.client.Alive() && t.now < w.until
}

// unsettled reports whether any record may count as gone.
func (t *Table) unsettled() bool {
	first := t.alarms.first()
	return t.sessions.Dead() != nil || first != nil && first.at <= t.now
}

// tally is what stands before a request in one lock.
type tally struct {
	holders   int
	exclusive bool // one of them is exclusive
	ahead     int  // waiters before it
	writers   bool // one of them is exclusive
	dead      bool // records of the dead, whose end will let waiters come forward
}

// admits reports whether a lock with nothing more in it than the tally grants a request.
func (n tally) admits(mode Mode, limit uint32) bool {
	switch mode {
	case Exclusive:
		return n.holders == 0 && n.ahead == 0
	case Shared:
		return !n.exclusive && !n.writers
	default:
		return n.holders+n.ahead < int(limit)
	}
}

// holders tallies who keeps others out of the lock.
func (t *Table) holders(l *lock) (n tally) {
	if l.crowd == nil {
		if l.sole != nil && t.blocks(l.sole) {
			n.holders, n.exclusive = 1, true
		}
		return n
	}
	if !t.unsettled() {
		if n.holders = l.crowd.holders.len(); n.holders > 0 {
			n.exclusive = l.crowd.holders.first().mode == Exclusive
		}
		return n
	}
	// From the newest: an exclusive one among the dead makes the rest plain.
	for h := l.crowd.holders.last(); h != nil && !n.exclusive; h = l.crowd.holders.previous(h.token) {
		if t.blocks(h) {
			n.holders++
			n.exclusive = h.mode == Exclusive
		} else if h.client != nil {
			n.dead = true
		}
	}
	return n
}

// standing tallies everything that stands before the wait in the lock; before a request that comes now, if it is nil.
func (t *Table) standing(l *lock, w *wait) tally {
	n := t.holders(l)
	if l.crowd == nil {
		return n
	}
	q := &l.crowd.queue
	if w == nil && !t.unsettled() {
		n.ahead, n.writers = q.len(), l.crowd.writers > 0
		return n
	}
	for x := range q.all {
		if w != nil && x.place >= w.place {
			break
		}
		if t.waiting(x) {
			n.ahead++
			n.writers = n.writers || x.mode == Exclusive
		} else if !x.client.Alive() {
			n.dead = true
		}
	}
	return n
}

// admits reports whether the lock would grant a wait, or a request that comes now if it is nil. While earlier waiters may be granted
// but are not yet, it grants nobody: they come forward by a tick, or when the records of the dead are collected.
func (t *Table) admits(l *lock, w *wait, mode Mode, limit uint32) bool {
	if l.crowd != nil && l.crowd.left != 0 {
		return false
	}
	n := t.standing(l, w)
	return n.admits(mode, limit) && (!n.dead || n.ahead <= 0)
}

// admitted reports whether every lock of the wait but one would grant it.
func (t *Table) admitted(w *wait, but *lock) bool {
	for _, l := range w.locks {
		if l != but && !t.admits(l, w, w.mode, l.limit) {
			return false
		}
	}
	return true
}

// free notes that something left the lock.
func (t *Table) free(l *lock) {
	if !l.freed {
		l.freed = true
		t.freed = append(t.freed, l)
	}
}

// promoteFreed grants what the freed locks have to grant, and ends the locks that have nothing in them.
func (t *Table) promoteFreed() {
	for i := 0; i < len(t.freed); i++ {
		l := t.freed[i]
		t.freed[i], l.freed = nil, false
		t.promote(l)
		if l.empty() && !l.gone {
			t.vanish(l, l.crowd.last)
		}
	}
	t.freed = t.freed[:0]
}

// promoteMany does so when there are many: a wait for many names is one record that is gone, but frees them all, and every lock with
// nothing in it is gone too.
func (t *Table) promoteMany() {
	if len(t.freed) >= freedMax {
		t.promoteFreed()
	}
}

// promote grants to the waiters of a lock, in their order, until one has to wait. A request for several names that waits for
// another of them keeps out those behind it that it is in conflict with.
func (t *Table) promote(l *lock) {
	c := l.crowd
	if c == nil || c.queue.len() == 0 {
		return
	}
	n := t.holders(l)
	if n.exclusive || l.limit > 0 && n.holders >= int(l.limit) {
		return
	}
	for w := c.queue.first(); w != nil && !n.writers; w = c.queue.after(w.place) {
		if !t.waiting(w) {
			continue
		}
		if !n.admits(w.mode, l.limit) {
			return
		}
		if t.clock < t.embargo || !t.hasRoom(roomForGrants) {
			t.leave(l)
			return
		}
		if t.admitted(w, l) {
			t.grantWait(w)
			n.holders++
			n.exclusive = w.mode == Exclusive
		} else {
			n.ahead++
			n.writers = w.mode == Exclusive
		}
	}
}

// leave notes that waiters of the lock may be granted, which this entry may not do.
func (t *Table) leave(l *lock) {
	if c := l.crowd; c.left == 0 {
		c.left = t.ordinal()
		t.left.push(c.left, c)
		t.touch(c)
	}
}

func (t *Table) notLeft(l *lock) {
	if c := l.crowd; c != nil && c.left != 0 {
		t.left.remove(c.left)
		c.left = 0
		t.touch(c)
	}
}

// vanish ends a lock that has nothing in it, whose last hold to end ended so.
func (t *Table) vanish(l *lock, last Ending) {
	l.gone = true
	delete(t.locks, l.name)
	t.catalog.remove(l)
	if l.crowd != nil {
		t.notLeft(l)
		t.touch(l.crowd)
	}
	if last.How.badly() {
		t.remember(l.name, last)
	}
}
