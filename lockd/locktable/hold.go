package locktable

import (
	"slices"
	"time"

	"github.com/lockd/lockd/session"
)

// lockNamed returns the lock of this name, a new one if there is none.
func (t *Table) lockNamed(name string, limit uint32) *lock {
	l := t.locks[name]
	if l != nil {
		return l
	}
	l = &lock{name: name, limit: limit}
	t.locks[name] = l
	t.catalog.add(l)
	if last := t.recall(name); last.How != NotEnded {
		t.gather(l).last = last
	}
	return l
}

func (t *Table) gather(l *lock) *crowd {
	if l.crowd == nil {
		l.gather(t.counter)
		t.touch(l.crowd)
	}
	return l.crowd
}

// newExtra returns what a hold has beyond the plain, nil if it has nothing. It keeps value and metadata.
func newExtra(locks []*lock, delay time.Duration, lease session.ID, ttl time.Duration, value, metadata []byte) *extra {
	if len(locks) == 1 && delay == 0 && ttl == 0 && len(value)+len(metadata) == 0 {
		return nil
	}
	return &extra{rest: slices.Clone(locks[1:]), delay: delay, lease: lease, ttl: ttl, value: value, metadata: metadata}
}

// grant makes a hold of locks that all admit it.
func (t *Table) grant(c *client, owner uint64, mode Mode, locks []*lock, x *extra) Reply {
	t.counter++
	t.holds++
	h := &hold{token: t.counter, index: t.index, client: c, owner: owner, lock: locks[0], extra: x, since: t.clock, levels: 1, mode: mode}
	r := Reply{Code: Granted, Index: t.index, Token: h.token}
	if x != nil && x.ttl > 0 {
		h.client = nil
		r.Deadline = addUntil(t.clock, x.ttl)
		t.alarmHold(h, r.Deadline)
	} else {
		c.Held.chain(h)
	}
	for _, l := range locks {
		if mode != Exclusive || l.sole != nil {
			t.gather(l)
		}
		if c := l.crowd; c != nil {
			if last := t.lastEnding(c); worse(last.How, r.Previous.How) {
				r.Previous = last
			}
			if mode == Exclusive {
				c.floor = h.token
			}
			c.newest = h.token
			r.Behind = max(r.Behind, t.queued(l))
			t.touch(c)
		}
		l.add(h)
	}
	r.Floor = locks[0].floor()
	t.touch(h)
	t.changed(h)
	return r
}

// lastEnding returns how the lock's last hold ended, one of a dead session that is not collected yet included.
func (t *Table) lastEnding(c *crowd) Ending {
	last := c.last
	if t.sessions.Dead() == nil {
		return last
	}
	for h := range c.holders.all {
		if h.client == nil || h.client.Alive() {
			continue
		}
		if how, _ := t.endOf(h); !worse(last.How, how) {
			last = Ending{How: how, Token: h.token}
		}
	}
	return last
}

// floor returns the token of the last exclusive grant of the lock, as far as it can matter: what was granted before the lock came
// to be is below it.
func (l *lock) floor() uint64 {
	if l.crowd != nil {
		return l.crowd.floor
	}
	return l.sole.token
}

// worse reports whether a next holder has more to fear from a than from b.
func worse(a, b How) bool {
	order := [...]uint8{NotEnded: 0, Released: 1, HandedOn: 2, Closed: 3, Broken: 4, Expired: 5, Forgotten: 6}
	return order[a] > order[b]
}

// queued returns how many wait in the lock's queue.
func (t *Table) queued(l *lock) (n int) {
	if l.crowd == nil {
		return 0
	}
	if !t.unsettled() {
		return l.crowd.queue.len()
	}
	for w := range l.crowd.queue.all {
		if t.waiting(w) {
			n++
		}
	}
	return n
}

// end ends a hold as of the cluster time at. If it ended badly and has a lock-delay that is not over, it stays as nobody's hold,
// in the same mode, in all its locks.
func (t *Table) end(h *hold, how How, at time.Duration) {
	x := h.more()
	t.unalarm(&x.alarm)
	ofNobody := x.nobody != NotEnded
	if h.client == nil && !ofNobody {
		t.revoked(h, how)
	}
	if until := addUntil(at, x.delay); !ofNobody && how.badly() && x.delay > 0 && t.now < until {
		t.leaveToNobody(h, how, until)
	} else {
		t.drop(h, Ending{How: how, Token: h.token})
	}
	if !ofNobody {
		t.held(h, at, how)
		t.changed(h)
	}
}

func (t *Table) leaveToNobody(h *hold, how How, until time.Duration) {
	for l := range h.locks {
		if c := l.crowd; c != nil {
			c.leave(h)
			c.last = Ending{How: how, Token: h.token}
			t.touch(c)
		}
	}
	if h.client != nil {
		h.client.Held.unchain(h)
	}
	x := h.extra
	h.client, x.nobody, x.ttl, x.value, x.metadata = nil, how, 0, nil, nil
	t.alarmHold(h, until)
	t.touch(h)
}

// drop takes a hold out of its locks.
func (t *Table) drop(h *hold, ending Ending) {
	h.gone = true
	t.holds--
	t.touch(h)
	for l := range h.locks {
		l.remove(h)
		if c := l.crowd; c != nil {
			c.last = ending
			t.touch(c)
			t.free(l)
		} else {
			t.vanish(l, ending)
		}
	}
	if h.client != nil {
		h.client.Held.unchain(h)
	}
}

func (t *Table) revoked(h *hold, how How) {
	for l := range h.locks {
		t.effect(Effect{Kind: Revoked, Name: l.name, Token: h.token, How: how})
	}
}

// alarmHold sets the end of a hold's lease or lock-delay.
func (t *Table) alarmHold(h *hold, at time.Duration) {
	x := h.extra
	x.until = at
	x.alarm = &alarm{at: at, index: h.index, token: h.token, hold: h}
	t.alarms.add(x.alarm)
}

func (t *Table) unalarm(a **alarm) {
	if *a != nil {
		t.alarms.remove(*a)
		*a = nil
	}
}

func (s *holdings) chain(h *hold) {
	h.prev = s.lastHold
	if h.prev == nil {
		s.firstHold = h
	} else {
		h.prev.next = h
	}
	s.lastHold = h
	s.holds++
}

func (s *holdings) unchain(h *hold) {
	if h.prev == nil {
		s.firstHold = h.next
	} else {
		h.prev.next = h.next
	}
	if h.next == nil {
		s.lastHold = h.prev
	} else {
		h.next.prev = h.prev
	}
	h.prev, h.next = nil, nil
	s.holds--
}
