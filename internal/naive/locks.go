package naive

import (
	"cmp"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
)

// What counts.

// valid reports whether the hold has a living holder.
func (m *Model) valid(h *hold) bool {
	if h.client != nil {
		return h.client.how == locktable.NotEnded
	}
	return h.nobody == locktable.NotEnded && m.now < h.until
}

// blocks reports whether the hold keeps others out: it is valid, or in its lock-delay.
func (m *Model) blocks(h *hold) bool {
	switch {
	case m.valid(h):
		return true
	case h.client == nil && h.nobody != locktable.NotEnded:
		return m.now < h.until
	case h.client == nil:
		return m.now < sum(h.until, h.delay)
	default:
		return bad(h.client.how) && m.now < sum(h.client.at, h.delay)
	}
}

func bad(how locktable.How) bool { return how == locktable.Expired || how == locktable.Forgotten }

func (m *Model) waiting(w *wait) bool {
	return w.outcome.Code == 0 && w.client.how == locktable.NotEnded && m.now < w.until
}

func (m *Model) lock(name string) *lock {
	for _, l := range m.locks {
		if l.name == name {
			return l
		}
	}
	return nil
}

func (m *Model) holders(l *lock) []*hold {
	var list []*hold
	for _, h := range m.holds {
		if slices.Contains(h.names, l.name) {
			list = append(list, h)
		}
	}
	return list
}

func (m *Model) queue(l *lock) []*wait {
	var list []*wait
	for _, w := range m.waits {
		if w.outcome.Code == 0 && slices.Contains(w.ask.Names, l.name) {
			list = append(list, w)
		}
	}
	return list
}

func (m *Model) queued(l *lock) int {
	n := 0
	for _, w := range m.queue(l) {
		if m.waiting(w) {
			n++
		}
	}
	return n
}

func (m *Model) hold(name string, token uint64) *hold {
	for _, h := range m.holds {
		if h.token == token && slices.Contains(h.names, name) {
			return h
		}
	}
	return nil
}

// admits reports whether the lock would grant a request in this mode, that stands behind the waiters before index.
func (m *Model) admits(l *lock, mode locktable.Mode, before uint64) bool {
	holders, ahead, exclusive, writers := 0, 0, false, false
	for _, h := range m.holders(l) {
		if m.blocks(h) {
			holders++
			exclusive = exclusive || h.mode == locktable.Exclusive
		}
	}
	for _, w := range m.queue(l) {
		if w.index < before && m.waiting(w) {
			ahead++
			writers = writers || w.ask.Mode == locktable.Exclusive
		}
	}
	switch mode {
	case locktable.Exclusive:
		return holders+ahead == 0
	case locktable.Shared:
		return !exclusive && !writers
	default:
		return holders+ahead < int(l.limit)
	}
}

// Grants.

func (m *Model) free(l *lock) {
	if l != nil && !slices.Contains(m.freed, l) {
		m.freed = append(m.freed, l)
	}
}

// promoteFreed grants, lock after lock and waiter after waiter, what can be granted; and ends the locks with nothing in them.
func (m *Model) promoteFreed() {
	for len(m.freed) > 0 {
		l := m.freed[0]
		m.freed = m.freed[1:]
		for _, w := range m.queue(l) {
			if !m.waiting(w) || !m.admits(l, w.ask.Mode, w.index) {
				continue
			}
			if m.clock < m.embargo {
				if !slices.Contains(m.left, l) {
					m.left = append(m.left, l)
				}
				break
			}
			if m.everywhere(w, l) {
				m.grantWait(w)
			}
		}
		m.vanish(l)
	}
}

// everywhere reports whether every lock of the wait but one would grant it.
func (m *Model) everywhere(w *wait, but *lock) bool {
	for _, name := range w.ask.Names {
		if l := m.lock(name); l != but && !m.grants(l, w.ask.Mode, w.index) {
			return false
		}
	}
	return true
}

// grants reports whether the lock grants a request now: while it has earlier ones to grant to that were left, it does not.
func (m *Model) grants(l *lock, mode locktable.Mode, before uint64) bool {
	return !slices.Contains(m.left, l) && m.admits(l, mode, before)
}

// vanish ends a lock with nothing in it. If its last hold ended badly, that is remembered for the next holder.
func (m *Model) vanish(l *lock) {
	if !slices.Contains(m.locks, l) || len(m.holders(l))+len(m.queue(l)) > 0 {
		return
	}
	m.locks, m.left = without(m.locks, l), without(m.left, l)
	if bad(l.last.How) {
		m.endings[l.name] = l.last
	}
}

// named returns the lock of this name, without what the dead have there, or nil.
func (m *Model) named(name string) *lock {
	l := m.lock(name)
	if l == nil {
		return nil
	}
	m.settle(l)
	return m.lock(name)
}

func (m *Model) settle(l *lock) {
	for _, h := range m.holders(l) {
		if h.client != nil && h.client.how != locktable.NotEnded {
			m.end(h, h.client.how, h.client.at)
		}
	}
	for _, w := range m.queue(l) {
		if w.client.how != locktable.NotEnded {
			m.drop(w)
		}
	}
	m.promoteFreed()
	if slices.Contains(m.left, l) && m.clock >= m.embargo {
		m.left = without(m.left, l)
		m.free(l)
		m.promoteFreed()
	}
}

// create returns the lock of this name, a new one if there is none.
func (m *Model) create(name string, limit uint32) *lock {
	l := m.lock(name)
	if l == nil {
		l = &lock{name: name, limit: limit}
		m.locks = append(m.locks, l)
		if last, ok := m.endings[name]; ok {
			l.last = last
			delete(m.endings, name)
			m.setFloor(l)
		}
	}
	return l
}

// setFloor says that what was granted before the lock came to be is below its floor.
func (m *Model) setFloor(l *lock) {
	if !l.floored {
		l.floor, l.floored = m.counter, true
	}
}

func worse(a, b locktable.How) bool {
	order := []locktable.How{
		locktable.NotEnded, locktable.Released, locktable.HandedOn, locktable.Closed, locktable.Broken, locktable.Expired, locktable.Forgotten,
	}
	return slices.Index(order, a) > slices.Index(order, b)
}

// grant makes a hold.
func (m *Model) grant(h *hold, leaseTTL time.Duration) locktable.Reply {
	m.counter++
	h.token, h.index, h.levels = m.counter, m.index, 1
	r := locktable.Reply{Code: locktable.Granted, Index: m.index, Token: h.token}
	if leaseTTL > 0 {
		h.client, h.until = nil, sum(m.clock, leaseTTL)
		r.Deadline = h.until
	}
	for _, name := range h.names {
		l := m.lock(name)
		if worse(l.last.How, r.Previous.How) {
			r.Previous = l.last
		}
		if h.mode == locktable.Exclusive {
			l.floor, l.floored = h.token, true
		} else {
			m.setFloor(l)
		}
		r.Behind = max(r.Behind, m.queued(l))
	}
	m.holds = append(m.holds, h)
	r.Floor = m.lock(h.names[0]).floor
	m.changed(h.names)
	return r
}

func (m *Model) grantWait(w *wait) {
	a := w.ask
	m.decide(w, m.grantAfter(w, &hold{
		client: w.client, owner: a.Owner, names: a.Names, mode: a.Mode, delay: a.Delay, lease: a.LeaseID, value: a.Value,
	}))
}

// grantAfter grants to a wait that has left its queues.
func (m *Model) grantAfter(w *wait, h *hold) locktable.Reply {
	w.outcome.Code = locktable.Granted
	return m.grant(h, w.ask.LeaseTTL)
}

// decide ends a wait. How many wait behind a hold is told with the grant only, and not kept.
func (m *Model) decide(w *wait, r locktable.Reply) {
	m.effect(locktable.Effect{Kind: locktable.WaitOver, Session: w.client.life, Seq: w.seq, Reply: r})
	r.Behind = 0
	w.outcome = r
}

// changed tells the watchers of the names.
func (m *Model) changed(names []string) {
	for _, name := range names {
		newest := uint64(0)
		for _, h := range m.holds {
			if slices.Contains(h.names, name) && m.valid(h) {
				newest = max(newest, h.token)
			}
		}
		m.effect(locktable.Effect{Kind: locktable.Changed, Name: name, Token: newest})
	}
}

// Ends.

// deadline is something that ends at a cluster time.
type deadline struct {
	at           time.Duration
	index, token uint64
	end          func()
}

// fireDue ends what is due, one after another in the order of (deadline, index, token), each at its own time.
func (m *Model) fireDue() {
	for {
		due := m.deadlines()
		due = slices.DeleteFunc(due, func(d deadline) bool { return d.at > m.clock })
		if len(due) == 0 {
			break
		}
		first := slices.MinFunc(due, func(a, b deadline) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.index, b.index), cmp.Compare(a.token, b.token))
		})
		m.now = max(m.now, first.at)
		first.end()
		m.promoteFreed()
	}
	m.now = m.clock
}

func (m *Model) deadlines() []deadline {
	var list []deadline
	for _, h := range m.holds {
		if h.client == nil {
			how := locktable.Expired
			if h.nobody != locktable.NotEnded {
				how = h.nobody
			}
			list = append(list, deadline{h.until, h.index, h.token, func() { m.end(h, how, h.until) }})
		}
	}
	for _, w := range m.waits {
		if w.outcome.Code == 0 && w.until != locktable.Forever {
			list = append(list, deadline{w.until, w.index, 0, func() { m.timeOut(w) }})
		}
	}
	return list
}

// timeOut ends a wait whose limit has passed. One of a dead session was over before.
func (m *Model) timeOut(w *wait) {
	if w.client.how != locktable.NotEnded {
		m.drop(w)
		return
	}
	m.giveUp(w, locktable.TimedOut)
}

// end ends a hold as of the cluster time at. If it ended badly, it stays as nobody's until its lock-delay is over.
func (m *Model) end(h *hold, how locktable.How, at time.Duration) {
	nobodys := h.nobody != locktable.NotEnded
	if h.client == nil && !nobodys {
		m.revoked(h, how)
	}
	for _, name := range h.names {
		m.lock(name).last = locktable.Ending{How: how, Token: h.token}
	}
	if until := sum(at, h.delay); !nobodys && bad(how) && h.delay > 0 && m.now < until {
		h.client, h.nobody, h.until, h.value = nil, how, until, nil
	} else {
		m.holds = without(m.holds, h)
		for _, name := range h.names {
			m.free(m.lock(name))
		}
	}
	if !nobodys {
		m.changed(h.names)
	}
}

func (m *Model) revoked(h *hold, how locktable.How) {
	for _, name := range h.names {
		m.effect(locktable.Effect{Kind: locktable.Revoked, Name: name, Token: h.token, How: how})
	}
}

func (m *Model) giveUp(w *wait, code locktable.Code) {
	for _, name := range w.ask.Names {
		m.free(m.lock(name))
	}
	m.decide(w, locktable.Reply{Code: code, Index: m.index})
}

// drop forgets a wait: its outcome was seen, or its session is dead.
func (m *Model) drop(w *wait) {
	if w.outcome.Code == 0 {
		for _, name := range w.ask.Names {
			m.free(m.lock(name))
		}
	}
	m.waits = without(m.waits, w)
}
