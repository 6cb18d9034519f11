package naive

import (
	"cmp"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Model is the state.
type Model struct {
	index, counter uint64
	clock          time.Duration
	now            time.Duration // the clock, or the time of the deadline that is firing
	embargo        time.Duration
	incarnation    [16]byte

	sessions []*client // in the order in which they were opened, the dead until they are collected
	locks    []*lock
	holds    []*hold // by token
	waits    []*wait // by index, decided ones until they are seen
	endings  map[string]locktable.Ending

	freed   []*lock // something left these
	left    []*lock // these had somebody to grant to while nothing could be granted
	effects []locktable.Effect
}

type client struct {
	life       session.Life
	ttl, grace time.Duration
	acked      uint64
	results    map[uint64]locktable.Reply
	how        locktable.How // NotEnded while it lives
	at         time.Duration // of the end
	died       uint64        // index of the end
}

// lock is a name that somebody holds or waits for.
type lock struct {
	name    string
	limit   uint32
	floor   uint64
	floored bool
	last    locktable.Ending
}

type hold struct {
	token, index uint64
	client       *client // nil for a lease and for nobody's hold
	owner        uint64
	names        []string
	mode         locktable.Mode
	levels       int
	delay        time.Duration
	lease        session.ID
	until        time.Duration // of a lease or a lock-delay
	takenFrom    uint64
	nobody       locktable.How // how it ended, if only its lock-delay is left
	value        []byte
}

type wait struct {
	index, seq uint64
	client     *client
	ask        *locktable.Acquire
	until      time.Duration
	outcome    locktable.Reply // Code 0 while it waits
}

// New returns the empty state.
func New() *Model { return &Model{endings: map[string]locktable.Ending{}} }

// Apply applies an entry. The effects are valid until the next call.
func (m *Model) Apply(index, term uint64, cmd locktable.Command, stamp time.Duration) (locktable.Reply, []locktable.Effect) {
	m.index, m.effects = index, nil
	switch c := cmd.(type) {
	case *locktable.Expire:
		if max(c.Term, 1) != term {
			return locktable.Reply{Code: locktable.Ignored, Index: index}, nil
		}
	case *locktable.Tick:
		if max(c.Term, 1) != term {
			return locktable.Reply{Code: locktable.Ignored, Index: index}, nil
		}
	}
	m.clock = max(m.clock, stamp)
	m.fireDue()
	reply := m.execute(cmd)
	if reply.Index == 0 {
		reply.Index = index
	}
	return reply, m.effects
}

func (m *Model) execute(cmd locktable.Command) locktable.Reply {
	switch c := cmd.(type) {
	case *locktable.Open:
		return m.open(c)
	case *locktable.Close:
		if s := m.alive(c.Session); s != nil {
			m.die(s, locktable.Closed)
			m.collect()
			return locktable.Reply{Code: locktable.OK}
		}
		return locktable.Reply{Code: locktable.SessionUnknown}
	case *locktable.Expire:
		for _, life := range c.Lives {
			if s := m.alive(life); s != nil {
				m.die(s, locktable.Expired)
			}
		}
		m.collect()
		return locktable.Reply{Code: locktable.OK}
	case *locktable.Tick:
		m.tick()
		return locktable.Reply{Code: locktable.OK}
	case *locktable.Incarnate:
		return m.incarnate(c)
	case *locktable.Acquire:
		return m.acquire(c)
	case *locktable.Release:
		return m.release(c)
	case *locktable.Cancel:
		return m.cancel(c)
	case *locktable.SetValue:
		return m.setValue(c)
	case *locktable.RenewLease:
		return m.renewLease(c)
	case *locktable.ReleaseLease:
		return m.releaseLease(c)
	case *locktable.TakeLease:
		return m.takeLease(c)
	}
	panic("naive: not a command")
}

func (m *Model) effect(e locktable.Effect) { m.effects = append(m.effects, e) }

// Sessions.

func (m *Model) alive(life session.Life) *client {
	for _, s := range m.sessions {
		if s.life == life && s.how == locktable.NotEnded {
			return s
		}
	}
	return nil
}

func (m *Model) open(c *locktable.Open) locktable.Reply {
	if c.TTL < session.TTLMin || c.TTL > session.TTLMax || c.Grace != 0 && (c.Grace < session.TTLMin || c.Grace > c.TTL) ||
		len(c.Metadata) > session.MetadataMax {
		return locktable.Reply{Code: locktable.Invalid}
	}
	for _, s := range m.sessions {
		if s.life.ID == c.ID && s.how == locktable.NotEnded {
			return locktable.Reply{Code: locktable.OK, Index: s.life.Index}
		}
	}
	s := &client{life: session.Life{ID: c.ID, Index: m.index}, ttl: c.TTL, grace: c.Grace, results: map[uint64]locktable.Reply{}}
	m.sessions = append(m.sessions, s)
	m.effect(locktable.Effect{Kind: locktable.Opened, Session: s.life})
	return locktable.Reply{Code: locktable.OK, Index: m.index}
}

// die ends a session: from here on it holds nothing and waits for nothing, though its records are still there.
func (m *Model) die(s *client, how locktable.How) {
	s.how, s.at, s.died = how, m.clock, m.index
	m.effect(locktable.Effect{Kind: locktable.Ended, Session: s.life, How: how})
}

// collect removes what the dead have, in the order in which it was made, and then grants what came free.
func (m *Model) collect() {
	for _, s := range m.dead() {
		for index := uint64(0); index <= m.index; index++ {
			for _, h := range slices.Clone(m.holds) {
				if h.client == s && h.index == index {
					m.end(h, s.how, s.at)
				}
			}
			for _, w := range slices.Clone(m.waits) {
				if w.client == s && w.index == index {
					m.drop(w)
				}
			}
		}
		m.sessions = without(m.sessions, s)
	}
	m.promoteFreed()
}

// dead returns the dead in the order in which they died.
func (m *Model) dead() []*client {
	var dead []*client
	for _, s := range m.sessions {
		if s.how != locktable.NotEnded {
			dead = append(dead, s)
		}
	}
	slices.SortStableFunc(dead, func(a, b *client) int { return cmp.Compare(a.died, b.died) })
	return dead
}

func (m *Model) tick() {
	for m.clock >= m.embargo && len(m.left) > 0 {
		l := m.left[0]
		m.left = without(m.left, l)
		m.free(l)
		m.promoteFreed()
	}
	m.collect()
}

func (m *Model) incarnate(c *locktable.Incarnate) locktable.Reply {
	switch c.Incarnation {
	case [16]byte{}:
		return locktable.Reply{Code: locktable.Invalid}
	case m.incarnation:
		return locktable.Reply{Code: locktable.OK, Token: m.counter}
	}
	first := m.counter == 0 && m.incarnation == [16]byte{}
	seed := c.Seed
	if !first {
		seed = max(seed, m.counter+1<<42)
	}
	if seed > locktable.SeedMax {
		return locktable.Reply{Code: locktable.Invalid}
	}
	if !first {
		pause := c.Wait
		if pause < 0 {
			pause = locktable.EmbargoMin
			for _, s := range m.sessions {
				if s.how == locktable.NotEnded {
					pause = max(pause, s.ttl)
				}
			}
		}
		m.embargo = max(m.embargo, sum(m.clock, pause))
	}
	m.counter, m.incarnation = seed, c.Incarnation
	// Those that the incarnation before ended and nobody has collected yet end with this one, like the others.
	for _, s := range m.sessions {
		if s.how == locktable.NotEnded {
			m.effect(locktable.Effect{Kind: locktable.Ended, Session: s.life, How: locktable.Forgotten})
		}
		if s.how == locktable.NotEnded || s.how == locktable.Forgotten {
			s.how, s.at, s.died = locktable.Forgotten, m.clock, m.index
		}
	}
	return locktable.Reply{Code: locktable.OK, Token: m.counter}
}

// sum adds a length to a time without going beyond all time.
func sum(from, length time.Duration) time.Duration {
	if length >= locktable.Forever-from {
		return locktable.Forever
	}
	return from + length
}

func without[T comparable](list []T, gone T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(x T) bool { return x == gone })
}
