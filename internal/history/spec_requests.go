package history

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// request judges a request before it runs: it takes effect once.
func (s *spec) request(q *locktable.Request) (m *member, reply locktable.Reply, run bool) {
	if m = s.living(q.Session); m == nil {
		return nil, locktable.Reply{Code: locktable.SessionUnknown}, false
	}
	if q.Acked > m.acked {
		if q.Acked-m.acked < uint64(len(m.results)) {
			for seq := m.acked + 1; seq <= q.Acked; seq++ {
				delete(m.results, seq)
			}
		} else {
			for seq := range m.results {
				if seq <= q.Acked {
					delete(m.results, seq)
				}
			}
		}
		m.acked = q.Acked
	}
	for _, seq := range q.Seen {
		if w := m.waits[seq]; w != nil && w.outcome.Code != 0 {
			s.forget(w)
		}
	}
	reply, run = s.judge(m, q.Seq)
	return m, reply, run
}

func (s *spec) judge(m *member, seq uint64) (reply locktable.Reply, run bool) {
	if w := m.waits[seq]; w != nil {
		return s.progress(w), false
	}
	result, repeat := m.results[seq]
	switch {
	case seq <= m.acked, repeat && result.Code == locktable.Queued:
		return locktable.Reply{Code: locktable.Stale}, false
	case seq-m.acked > session.WindowMax:
		return locktable.Reply{Code: locktable.WindowFull}, false
	}
	return result, !repeat
}

func (s *spec) progress(w *wait) locktable.Reply {
	if w.outcome.Code != 0 {
		return w.outcome
	}
	r := locktable.Reply{Code: locktable.Queued, Index: w.index}
	for _, l := range w.locks {
		n := 0
		for _, o := range l.queue {
			if o.index < w.index && s.waiting(o) {
				n++
			}
		}
		r.Ahead = max(r.Ahead, n)
	}
	return r
}

// keep stores the answer to a request, but for how many wait: that is read anew for a repeat.
func (s *spec) keep(m *member, seq uint64, r locktable.Reply) locktable.Reply {
	r.Index = s.index
	stored := r
	stored.Ahead, stored.Behind = 0, 0
	m.results[seq] = stored
	return r
}

func (s *spec) acquire(a *locktable.Acquire) locktable.Reply {
	if !wellFormed(a) {
		return locktable.Reply{Code: locktable.Invalid}
	}
	m, reply, run := s.request(&a.Request)
	if !run {
		return reply
	}
	if reply, refused := s.refused(m, a); refused {
		return s.keep(m, a.Seq, reply)
	}
	admitted := true
	for _, name := range a.Names {
		if l := s.locks[name]; l != nil {
			r := s.before(l, ^uint64(0))
			admitted = admitted && r.admits(a.Mode, l.limit)
		}
	}
	if !admitted && a.Wait == 0 {
		r := locktable.Reply{Code: locktable.Held}
		if l := s.locks[a.Names[0]]; l != nil {
			r.Ahead = s.queued(l)
		}
		return s.keep(m, a.Seq, r)
	}
	locks := make([]*lock, 0, len(a.Names))
	for _, name := range a.Names {
		locks = append(locks, s.create(name, a.Limit))
	}
	if admitted {
		h := &hold{of: m, owner: a.Owner, locks: locks, mode: a.Mode, delay: a.Delay, lease: a.LeaseID}
		return s.keep(m, a.Seq, s.grant(h, a.LeaseTTL))
	}
	return s.keep(m, a.Seq, s.enqueue(m, a, locks))
}

func (s *spec) enqueue(m *member, a *locktable.Acquire, locks []*lock) locktable.Reply {
	w := &wait{index: s.index, seq: a.Seq, of: m, ask: a, locks: locks, until: later(s.clock, a.Wait)}
	r := locktable.Reply{Code: locktable.Queued, Index: s.index}
	for _, l := range locks {
		r.Ahead = max(r.Ahead, s.queued(l))
		s.setFloor(l)
		l.queue = append(l.queue, w)
	}
	m.waits[a.Seq] = w
	s.schedule(deadline{at: w.until, index: w.index, wait: w})
	return r
}

func wellFormed(a *locktable.Acquire) bool {
	for i, name := range a.Names {
		if name == "" || len(name) > locktable.NameMax || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) ||
			slices.Contains(a.Names[:i], name) {
			return false
		}
	}
	slots, lease := a.Mode == locktable.Slot, a.LeaseTTL != 0
	switch {
	case len(a.Names) == 0, a.Seq == 0, a.Wait > locktable.WaitMax && a.Wait != locktable.Forever, a.Delay > locktable.DelayMax:
		return false
	case a.Mode < locktable.Exclusive || a.Mode > locktable.Slot, slots != (a.Limit > 0), a.Limit > locktable.SlotsMax:
		return false
	case lease && (!leaseTTL(a.LeaseTTL) || a.LeaseID == session.ID{}), a.Reentrant && (len(a.Names) > 1 || lease || slots):
		return false
	}
	return len(a.Value) <= locktable.ValueMax && len(a.Metadata) <= session.MetadataMax
}

// refused answers what neither a grant nor a wait can help.
func (s *spec) refused(m *member, a *locktable.Acquire) (locktable.Reply, bool) {
	for _, name := range a.Names {
		l := s.locks[name]
		if l == nil {
			continue
		}
		if l.limit != a.Limit {
			return locktable.Reply{Code: locktable.WrongKind}, true
		}
		here := 0
		for _, h := range l.holders {
			if h.of != m {
				continue
			}
			if here++; h.owner != a.Owner || a.Mode == locktable.Slot {
				continue
			}
			if a.Reentrant && h.mode == a.Mode && len(h.locks) == 1 {
				h.levels++
				return locktable.Reply{Code: locktable.Reentered, Token: h.token, Floor: l.floor}, true
			}
			return locktable.Reply{Code: locktable.AlreadyHeld, Token: h.token}, true
		}
		for _, w := range l.queue {
			if w.of != m {
				continue
			}
			if here++; w.ask.Owner == a.Owner && a.Mode != locktable.Slot {
				return locktable.Reply{Code: locktable.AlreadyHeld}, true
			}
		}
		if here >= locktable.RecordsPerNameMax {
			return locktable.Reply{Code: locktable.TooManyHere}, true
		}
	}
	return locktable.Reply{}, false
}

// held returns the hold of this token if it is of this name.
func (s *spec) held(name string, token uint64) *hold {
	h := s.holds[token]
	if h == nil || !slices.ContainsFunc(h.locks, func(l *lock) bool { return l.name == name }) {
		return nil
	}
	return h
}

func (s *spec) release(q *locktable.Release) locktable.Reply {
	m, reply, run := s.request(&q.Request)
	if !run {
		return reply
	}
	h := s.held(q.Name, q.Token)
	if h == nil || h.of != m {
		return s.keep(m, q.Seq, locktable.Reply{Code: locktable.NotHeld})
	}
	s.leave(h)
	return s.keep(m, q.Seq, locktable.Reply{Code: locktable.OK, Token: q.Token})
}

// leave leaves a hold that was entered several times, or ends it.
func (s *spec) leave(h *hold) {
	if h.levels--; h.levels == 0 {
		s.endHold(h, locktable.Released, s.clock)
		s.promote()
	}
}

func (s *spec) cancel(q *locktable.Cancel) locktable.Reply {
	if q.Target == 0 || q.Target == q.Seq {
		return locktable.Reply{Code: locktable.Invalid}
	}
	m, reply, run := s.request(&q.Request)
	if !run {
		return reply
	}
	if w := m.waits[q.Target]; w != nil {
		if w.outcome.Code == 0 {
			s.giveUp(w, locktable.Cancelled)
			s.promote()
		}
		reply = w.outcome
	} else if reply, run = s.judge(m, q.Target); run {
		reply = s.keep(m, q.Target, locktable.Reply{Code: locktable.Cancelled})
	}
	h := s.held(q.Name, reply.Token)
	switch {
	case reply.Code == locktable.Granted && h != nil && s.valid(h) && (h.of == m || h.of == nil):
		s.endHold(h, locktable.Released, s.clock)
		s.promote()
	case reply.Code == locktable.Reentered:
		if h != nil && h.of == m {
			s.leave(h)
		}
		reply = locktable.Reply{Code: locktable.Cancelled, Index: s.index, Token: reply.Token}
		m.results[q.Target] = reply
	}
	return s.keep(m, q.Seq, reply)
}

func (s *spec) setValue(q *locktable.SetValue) locktable.Reply {
	if len(q.Value) > locktable.ValueMax {
		return locktable.Reply{Code: locktable.Invalid}
	}
	m, reply, run := s.request(&q.Request)
	if !run {
		return reply
	}
	h := s.held(q.Name, q.Token)
	if h == nil || h.of != m {
		h = s.leased(q.Name, q.LeaseID, q.Token)
	}
	if h == nil {
		return s.keep(m, q.Seq, locktable.Reply{Code: locktable.NotHeld})
	}
	return s.keep(m, q.Seq, locktable.Reply{Code: locktable.OK, Token: h.token})
}

// Leases.

func leaseTTL(ttl time.Duration) bool { return ttl >= locktable.LeaseMin && ttl <= locktable.LeaseMax }

// leased returns the valid lease of this name, id and token.
func (s *spec) leased(name string, id session.ID, token uint64) *hold {
	if h := s.held(name, token); h != nil && h.of == nil && h.lease == id && id != (session.ID{}) && s.valid(h) {
		return h
	}
	return nil
}

func (s *spec) renewLease(q *locktable.RenewLease) locktable.Reply {
	if !leaseTTL(q.TTL) {
		return locktable.Reply{Code: locktable.Invalid}
	}
	h := s.leased(q.Name, q.ID, q.Token)
	if h == nil {
		return locktable.Reply{Code: locktable.Gone}
	}
	if until := later(s.clock, q.TTL); until > h.until {
		h.until = until
		s.schedule(deadline{at: until, index: h.index, token: h.token, hold: h})
	}
	return locktable.Reply{Code: locktable.OK, Token: h.token, Deadline: h.until}
}

func (s *spec) releaseLease(q *locktable.ReleaseLease) locktable.Reply {
	h := s.leased(q.Name, q.ID, q.Token)
	if h == nil {
		return locktable.Reply{Code: locktable.Gone}
	}
	s.endHold(h, locktable.Released, s.clock)
	s.promote()
	return locktable.Reply{Code: locktable.OK, Token: q.Token}
}

func (s *spec) takeLease(q *locktable.TakeLease) locktable.Reply {
	if !leaseTTL(q.TTL) || len(q.Metadata) > session.MetadataMax || q.NewID == q.ID || q.NewID == (session.ID{}) || q.Token == 0 {
		return locktable.Reply{Code: locktable.Invalid}
	}
	previous := locktable.Ending{How: locktable.HandedOn, Token: q.Token}
	old := s.leased(q.Name, q.ID, q.Token)
	if old == nil {
		return s.taken(q, previous)
	}
	s.drop(old)
	for _, l := range old.locks {
		l.last = previous
	}
	h := &hold{owner: old.owner, locks: old.locks, mode: old.mode, delay: old.delay, lease: q.NewID, takenFrom: old.token}
	r := s.grant(h, q.TTL)
	r.Previous = previous
	return r
}

// taken answers a repeat of what took a lease over.
func (s *spec) taken(q *locktable.TakeLease, previous locktable.Ending) locktable.Reply {
	if l := s.locks[q.Name]; l != nil {
		for _, h := range l.holders {
			if h.takenFrom == q.Token && h.lease == q.NewID && s.valid(h) {
				return locktable.Reply{
					Code: locktable.Granted, Index: h.index, Token: h.token, Floor: l.floor, Deadline: h.until, Previous: previous,
				}
			}
		}
	}
	return locktable.Reply{Code: locktable.Gone}
}
