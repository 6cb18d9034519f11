package naive

import (
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// request judges a request before it runs: exactly once, whatever arrives how often.
func (m *Model) request(q locktable.Request) (s *client, reply locktable.Reply, run bool) {
	s = m.alive(q.Session)
	if s == nil {
		return nil, locktable.Reply{Code: locktable.SessionUnknown}, false
	}
	s.acked = max(s.acked, q.Acked)
	for seq := range s.results {
		if seq <= s.acked {
			delete(s.results, seq)
		}
	}
	for _, seq := range q.Seen {
		if w := m.wait(s, seq); w != nil && w.outcome.Code != 0 {
			m.drop(w)
		}
	}
	reply, run = m.judge(s, q.Seq)
	return s, reply, run
}

func (m *Model) wait(s *client, seq uint64) *wait {
	for _, w := range m.waits {
		if w.client == s && w.seq == seq {
			return w
		}
	}
	return nil
}

func (m *Model) judge(s *client, seq uint64) (reply locktable.Reply, run bool) {
	if w := m.wait(s, seq); w != nil {
		return m.progress(w), false
	}
	result, repeat := s.results[seq]
	switch {
	case seq <= s.acked:
		return locktable.Reply{Code: locktable.Stale}, false
	case seq-s.acked > session.WindowMax:
		return locktable.Reply{Code: locktable.WindowFull}, false
	case repeat && result.Code == locktable.Queued: // and the wait was seen
		return locktable.Reply{Code: locktable.Stale}, false
	case repeat:
		return result, false
	}
	return locktable.Reply{}, true
}

func (m *Model) progress(w *wait) locktable.Reply {
	for _, name := range w.ask.Names {
		if w.outcome.Code == 0 {
			m.named(name)
		}
	}
	if w.outcome.Code != 0 {
		return w.outcome
	}
	ahead := 0
	for _, name := range w.ask.Names {
		n := 0
		for _, o := range m.queue(m.lock(name)) {
			if o.index < w.index && m.waiting(o) {
				n++
			}
		}
		ahead = max(ahead, n)
	}
	return locktable.Reply{Code: locktable.Queued, Index: w.index, Ahead: ahead}
}

// keep stores the answer to a request. How many wait is read from the state when it is asked for, and so not kept.
func (m *Model) keep(s *client, seq uint64, r locktable.Reply) locktable.Reply {
	r.Index = m.index
	stored := r
	stored.Ahead, stored.Behind = 0, 0
	s.results[seq] = stored
	return r
}

func (m *Model) acquire(a *locktable.Acquire) locktable.Reply {
	if !wellFormed(a) {
		return locktable.Reply{Code: locktable.Invalid}
	}
	s, reply, run := m.request(a.Request)
	if !run {
		return reply
	}
	for _, name := range a.Names {
		m.named(name)
	}
	if reply, refused := m.refused(s, a); refused {
		return m.keep(s, a.Seq, reply)
	}
	admitted := m.clock >= m.embargo
	for _, name := range a.Names {
		l := m.lock(name)
		admitted = admitted && (l == nil || m.grants(l, a.Mode, locktable.SeedMax))
	}
	if !admitted && a.Wait == 0 {
		r := locktable.Reply{Code: locktable.Held}
		if l := m.lock(a.Names[0]); m.clock < m.embargo {
			r.Code = locktable.Embargo
		} else if l != nil {
			r.Ahead = m.queued(l)
		}
		return m.keep(s, a.Seq, r)
	}
	for _, name := range a.Names {
		m.create(name, a.Limit)
	}
	if !admitted {
		return m.keep(s, a.Seq, m.enqueue(s, a))
	}
	return m.keep(s, a.Seq, m.grant(&hold{
		client: s, owner: a.Owner, names: a.Names, mode: a.Mode, delay: a.Delay, lease: a.LeaseID, value: a.Value,
	}, a.LeaseTTL))
}

func wellFormed(a *locktable.Acquire) bool {
	for i, name := range a.Names {
		if len(name) == 0 || len(name) > locktable.NameMax || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) ||
			slices.Contains(a.Names[:i], name) {
			return false
		}
	}
	switch {
	case len(a.Names) == 0, a.Seq == 0, a.Wait > locktable.WaitMax && a.Wait != locktable.Forever, a.Delay > locktable.DelayMax:
		return false
	case a.Mode < locktable.Exclusive || a.Mode > locktable.Slot, (a.Mode == locktable.Slot) != (a.Limit > 0), a.Limit > locktable.SlotsMax:
		return false
	case a.LeaseTTL != 0 && (a.LeaseTTL < locktable.LeaseMin || a.LeaseTTL > locktable.LeaseMax || a.LeaseID == session.ID{}):
		return false
	case a.Reentrant && (len(a.Names) > 1 || a.LeaseTTL != 0 || a.Mode == locktable.Slot):
		return false
	}
	return len(a.Value) <= locktable.ValueMax && len(a.Metadata) <= session.MetadataMax
}

// refused answers what neither a grant nor a wait can help.
func (m *Model) refused(s *client, a *locktable.Acquire) (locktable.Reply, bool) {
	for _, name := range a.Names {
		l := m.lock(name)
		if l == nil {
			continue
		}
		if l.limit != a.Limit {
			return locktable.Reply{Code: locktable.WrongKind}, true
		}
		n := 0
		for _, h := range m.holders(l) {
			if h.client != s {
				continue
			}
			if n++; h.owner != a.Owner || a.Mode == locktable.Slot {
				continue
			}
			if a.Reentrant && h.mode == a.Mode && len(h.names) == 1 {
				h.levels++
				return locktable.Reply{Code: locktable.Reentered, Token: h.token, Floor: l.floor}, true
			}
			return locktable.Reply{Code: locktable.AlreadyHeld, Token: h.token}, true
		}
		for _, w := range m.queue(l) {
			if w.client != s {
				continue
			}
			if n++; w.ask.Owner == a.Owner && a.Mode != locktable.Slot {
				return locktable.Reply{Code: locktable.AlreadyHeld}, true
			}
		}
		if n >= locktable.RecordsPerNameMax {
			return locktable.Reply{Code: locktable.TooManyHere}, true
		}
	}
	return locktable.Reply{}, false
}

func (m *Model) enqueue(s *client, a *locktable.Acquire) locktable.Reply {
	w := &wait{index: m.index, seq: a.Seq, client: s, ask: a, until: sum(m.clock, a.Wait)}
	r := locktable.Reply{Code: locktable.Queued, Index: m.index}
	for _, name := range a.Names {
		l := m.lock(name)
		r.Ahead = max(r.Ahead, m.queued(l))
		m.setFloor(l)
		if m.clock < m.embargo {
			m.free(l)
		}
	}
	m.waits = append(m.waits, w)
	m.promoteFreed()
	return r
}

// holdOf returns the session's hold of this name and token, or nil.
func (m *Model) holdOf(s *client, name string, token uint64) *hold {
	if m.named(name) == nil {
		return nil
	}
	if h := m.hold(name, token); h != nil && h.client == s {
		return h
	}
	return nil
}

func (m *Model) release(q *locktable.Release) locktable.Reply {
	s, reply, run := m.request(q.Request)
	if !run {
		return reply
	}
	h := m.holdOf(s, q.Name, q.Token)
	if h == nil {
		return m.keep(s, q.Seq, locktable.Reply{Code: locktable.NotHeld})
	}
	m.leave(h)
	return m.keep(s, q.Seq, locktable.Reply{Code: locktable.OK, Token: q.Token})
}

// leave leaves a hold that was entered several times, or ends it.
func (m *Model) leave(h *hold) {
	if h.levels--; h.levels == 0 {
		m.end(h, locktable.Released, m.clock)
		m.promoteFreed()
	}
}

func (m *Model) cancel(q *locktable.Cancel) locktable.Reply {
	if q.Target == 0 || q.Target == q.Seq {
		return locktable.Reply{Code: locktable.Invalid}
	}
	s, reply, run := m.request(q.Request)
	if !run {
		return reply
	}
	if w := m.wait(s, q.Target); w != nil {
		if reply = m.progress(w); reply.Code == locktable.Queued {
			m.giveUp(w, locktable.Cancelled)
			m.promoteFreed()
			reply = w.outcome
		}
	} else if reply, run = m.judge(s, q.Target); run {
		reply = m.keep(s, q.Target, locktable.Reply{Code: locktable.Cancelled})
	}
	switch reply.Code { //nolint:exhaustive // every other outcome left nothing to end
	case locktable.Granted:
		if m.named(q.Name) != nil {
			if h := m.hold(q.Name, reply.Token); h != nil && m.valid(h) && (h.client == s || h.client == nil) {
				m.end(h, locktable.Released, m.clock)
				m.promoteFreed()
			}
		}
	case locktable.Reentered:
		if h := m.holdOf(s, q.Name, reply.Token); h != nil {
			m.leave(h)
		}
		reply = locktable.Reply{Code: locktable.Cancelled, Index: m.index, Token: reply.Token}
		s.results[q.Target] = reply
	}
	return m.keep(s, q.Seq, reply)
}

func (m *Model) setValue(q *locktable.SetValue) locktable.Reply {
	if len(q.Value) > locktable.ValueMax {
		return locktable.Reply{Code: locktable.Invalid}
	}
	s, reply, run := m.request(q.Request)
	if !run {
		return reply
	}
	h := m.holdOf(s, q.Name, q.Token)
	if h == nil && q.LeaseID != (session.ID{}) {
		h = m.lease(q.Name, q.LeaseID, q.Token)
	}
	if h == nil {
		return m.keep(s, q.Seq, locktable.Reply{Code: locktable.NotHeld})
	}
	h.value = q.Value
	m.changed(h.names)
	return m.keep(s, q.Seq, locktable.Reply{Code: locktable.OK, Token: h.token})
}

// Leases.

func (m *Model) lease(name string, id session.ID, token uint64) *hold {
	if m.named(name) == nil {
		return nil
	}
	if h := m.hold(name, token); h != nil && h.client == nil && h.lease == id && m.valid(h) {
		return h
	}
	return nil
}

func leaseTTL(ttl time.Duration) bool { return ttl >= locktable.LeaseMin && ttl <= locktable.LeaseMax }

func (m *Model) renewLease(q *locktable.RenewLease) locktable.Reply {
	if !leaseTTL(q.TTL) {
		return locktable.Reply{Code: locktable.Invalid}
	}
	h := m.lease(q.Name, q.ID, q.Token)
	if h == nil {
		return locktable.Reply{Code: locktable.Gone}
	}
	h.until = max(h.until, sum(m.clock, q.TTL))
	return locktable.Reply{Code: locktable.OK, Token: h.token, Deadline: h.until}
}

func (m *Model) releaseLease(q *locktable.ReleaseLease) locktable.Reply {
	h := m.lease(q.Name, q.ID, q.Token)
	if h == nil {
		return locktable.Reply{Code: locktable.Gone}
	}
	m.end(h, locktable.Released, m.clock)
	m.promoteFreed()
	return locktable.Reply{Code: locktable.OK, Token: q.Token}
}

func (m *Model) takeLease(q *locktable.TakeLease) locktable.Reply {
	if !leaseTTL(q.TTL) || len(q.Metadata) > session.MetadataMax || q.NewID == q.ID || q.NewID == (session.ID{}) || q.Token == 0 {
		return locktable.Reply{Code: locktable.Invalid}
	}
	previous := locktable.Ending{How: locktable.HandedOn, Token: q.Token}
	old := m.lease(q.Name, q.ID, q.Token)
	if old == nil {
		for _, h := range m.holds {
			if slices.Contains(h.names, q.Name) && h.takenFrom == q.Token && h.lease == q.NewID && m.valid(h) {
				return locktable.Reply{
					Code: locktable.Granted, Index: h.index, Token: h.token, Floor: m.lock(q.Name).floor, Deadline: h.until, Previous: previous,
				}
			}
		}
		return locktable.Reply{Code: locktable.Gone}
	}
	if m.clock < m.embargo {
		return locktable.Reply{Code: locktable.Embargo}
	}
	m.revoked(old, locktable.HandedOn)
	m.holds = without(m.holds, old)
	for _, name := range old.names {
		m.lock(name).last = previous
	}
	r := m.grant(&hold{
		owner: old.owner, names: old.names, mode: old.mode, delay: old.delay, lease: q.NewID, takenFrom: old.token, value: old.value,
	}, q.TTL)
	r.Previous = previous
	return r
}
