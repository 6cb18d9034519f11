package naive

import (
	"iter"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Clock returns the cluster time, and Counter the last token.
func (m *Model) Clock() time.Duration { return m.clock }

// Counter returns the last token that was granted.
func (m *Model) Counter() uint64 { return m.counter }

// Lives iterates over the living sessions in the order in which they were opened.
func (m *Model) Lives() iter.Seq[session.Terms] {
	return func(yield func(session.Terms) bool) {
		for _, s := range m.sessions {
			if s.how == locktable.NotEnded && !yield(session.Terms{Life: s.life, TTL: s.ttl, Grace: s.grace}) {
				return
			}
		}
	}
}

// Names returns the names of the locks that somebody holds or waits for, in their order.
func (m *Model) Names() []string {
	var names []string
	for _, l := range m.locks {
		if m.queued(l) > 0 || slices.ContainsFunc(m.holders(l), m.blocks) {
			names = append(names, l.name)
		}
	}
	slices.Sort(names)
	return names
}

// Holders returns who keeps others out of a lock, in the order of their tokens.
func (m *Model) Holders(name string) []locktable.Holder {
	var list []locktable.Holder
	for _, h := range m.holds {
		if !slices.Contains(h.names, name) || !m.blocks(h) {
			continue
		}
		v := locktable.Holder{
			Token: h.token, Owner: h.owner, Mode: h.mode, Levels: h.levels, Names: h.names, Lease: h.lease, Until: h.until,
			Ended: h.nobody, Value: h.value,
		}
		if h.client != nil && h.client.how == locktable.NotEnded {
			v.Session = h.client.life
		} else if h.client != nil {
			v.Ended, v.Until, v.Value = h.client.how, sum(h.client.at, h.delay), nil
		}
		list = append(list, v)
	}
	return list
}

// Waiters returns who waits for a lock, in the order of their places.
func (m *Model) Waiters(name string) []locktable.Waiter {
	var list []locktable.Waiter
	for _, w := range m.waits {
		if slices.Contains(w.ask.Names, name) && m.waiting(w) {
			list = append(list, locktable.Waiter{
				Session: w.client.life, Seq: w.seq, Owner: w.ask.Owner, Mode: w.ask.Mode, Until: w.until, Names: w.ask.Names, Value: w.ask.Value,
			})
		}
	}
	return list
}

// CheckToken says what a token of a name is worth.
func (m *Model) CheckToken(name string, token uint64) locktable.Validity {
	worth := locktable.Free
	for _, h := range m.holds {
		if !slices.Contains(h.names, name) || !m.valid(h) {
			continue
		}
		if h.token == token {
			return locktable.Valid
		}
		worth = locktable.Past
	}
	return worth
}
