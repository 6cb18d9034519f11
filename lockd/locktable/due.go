package locktable

import "slices"

// fireDue ends what is due by the clock, in the order of (deadline, index), as far as there is room. Each one is decided at its
// own time, so that a waiter whose lock came free before its limit is granted, though both are found due in one entry.
func (t *Table) fireDue() {
	for a := t.alarms.first(); a != nil && a.at <= t.clock && t.hasRoom(roomForDue); a = t.alarms.first() {
		t.fire(a)
	}
	t.now = t.clock
}

func (t *Table) fire(a *alarm) {
	t.now = max(t.now, a.at)
	switch h := a.hold; {
	case h == nil && !a.wait.client.Alive():
		t.dropWait(a.wait) // it ended with its session
	case h == nil:
		t.giveUp(a.wait, TimedOut)
	case h.extra.nobody != NotEnded:
		t.end(h, h.extra.nobody, a.at)
	default:
		t.end(h, Expired, a.at)
	}
	t.promoteFreed()
}

// settle removes from a lock what counts as gone, before a command looks at it: first what is due, then what the dead have there.
// What the entry has no room for stays, and still counts as gone.
func (t *Table) settle(l *lock) {
	if first := t.alarms.first(); first != nil && first.at <= t.clock {
		t.settleDue(l)
	}
	if t.sessions.Dead() != nil && !l.gone {
		t.settleDead(l)
	}
	if c := l.crowd; c != nil && c.left != 0 && t.clock >= t.embargo && t.hasRoom(roomForName) {
		t.notLeft(l)
		t.free(l)
		t.promoteFreed()
	}
}

func (t *Table) settleDue(l *lock) {
	for t.hasRoom(roomForName) {
		var due []*alarm
		add := func(a *alarm) {
			if a != nil && a.at <= t.clock {
				due = append(due, a)
			}
		}
		if l.sole != nil {
			add(l.sole.more().alarm)
		}
		if l.crowd != nil {
			for h := range l.crowd.holders.all {
				add(h.more().alarm)
			}
			for w := range l.crowd.queue.all {
				add(w.alarm)
			}
		}
		if len(due) == 0 {
			return
		}
		slices.SortFunc(due, (*alarm).compare)
		for _, a := range due {
			if a.set && t.hasRoom(roomForName) {
				t.fire(a)
			}
		}
	}
}

func (t *Table) settleDead(l *lock) {
	if h := l.sole; h != nil && t.hasRoom(roomForName) {
		t.bury(h)
	} else if c := l.crowd; c != nil {
		for h := c.holders.first(); h != nil && t.hasRoom(roomForName); h = c.holders.after(h.token) {
			t.bury(h)
			t.promoteMany()
		}
		for w := c.queue.first(); w != nil && t.hasRoom(roomForName); w = c.queue.after(w.place) {
			if !w.client.Alive() {
				t.dropWait(w)
				t.promoteMany()
			}
		}
	}
	t.promoteFreed()
}

// bury ends a hold whose session is dead.
func (t *Table) bury(h *hold) {
	if h.client != nil && !h.client.Alive() {
		how, at := t.endOf(h)
		t.end(h, how, at)
	}
}
