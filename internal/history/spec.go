package history

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// spec is the sequential specification: the state that the guarantees talk of, and what each command does to it. It shares only the
// commands and the replies with lockd/locktable. Nothing in it is bounded: a session must not have more than an entry may
// change (locktable.EntryRecordsMax) when it ends, and the history must lie within one incarnation of the cluster.
type spec struct {
	index   uint64
	counter uint64        // the last token
	clock   time.Duration // cluster time
	now     time.Duration // the clock, or the time of the deadline that is firing

	alive   map[session.ID]*member
	members map[session.Life]*member // the dead too
	locks   map[string]*lock
	holds   map[uint64]*hold
	endings map[string]locktable.Ending // how the last hold of a name ended that is no lock now
	due     deadlines

	freed []*lock // something left them in this entry

	overs []over   // waits that this entry decided
	ends  []ending // sessions that it ended
	gone  []uint64 // tokens whose holds it ended
}

// over is a wait that was decided.
type over struct {
	life  session.Life
	seq   uint64
	reply locktable.Reply
}

// ending is a session that ended.
type ending struct {
	life session.Life
	how  locktable.How
}

// member is a session.
type member struct {
	life    session.Life
	ttl     time.Duration
	acked   uint64
	results map[uint64]locktable.Reply
	waits   map[uint64]*wait
	holds   map[uint64]*hold
	ended   locktable.How // NotEnded while it lives
}

// lock is a name that somebody holds or waits for.
type lock struct {
	name    string
	limit   uint32
	floor   uint64
	floored bool
	last    locktable.Ending
	holders []*hold // by token
	queue   []*wait // by index, the undecided
	freed   bool    // it is in spec.freed
}

type hold struct {
	token, index uint64
	of           *member // nil: a lease or nobody's
	owner        uint64
	locks        []*lock
	mode         locktable.Mode
	levels       int
	delay        time.Duration
	lease        session.ID
	until        time.Duration // of a lease or a lock-delay
	takenFrom    uint64
	nobodys      locktable.How // how it ended, if only its lock-delay is left
}

type wait struct {
	index, seq uint64
	of         *member
	ask        *locktable.Acquire
	locks      []*lock
	until      time.Duration
	outcome    locktable.Reply // Code 0: undecided
}

// newSpec returns the state in which a cluster begins, whose last token is given.
func newSpec(counter uint64) *spec {
	return &spec{
		counter: counter, alive: map[session.ID]*member{}, members: map[session.Life]*member{}, locks: map[string]*lock{},
		holds: map[uint64]*hold{}, endings: map[string]locktable.Ending{},
	}
}

// errIncarnation is returned for a log in which the cluster begins anew.
var errIncarnation = errors.New("the log begins another incarnation of the cluster: each is to be checked by itself")

// apply applies an entry. What it decided beside the reply is in overs and ends until the next call.
func (s *spec) apply(index, term uint64, cmd locktable.Command) (locktable.Reply, error) {
	s.index, s.overs, s.ends, s.gone = index, s.overs[:0], s.ends[:0], s.gone[:0]
	stamp, decided, err := headerOf(cmd)
	if err != nil {
		return locktable.Reply{}, err
	}
	if decided != 0 && decided != term {
		return locktable.Reply{Code: locktable.Ignored, Index: index}, nil
	}
	s.clock = max(s.clock, stamp)
	s.fire()
	reply := s.execute(cmd)
	if reply.Index == 0 {
		reply.Index = index
	}
	return reply, nil
}

// headerOf returns the stamp of a command, and the term it was decided in if it is void in others.
func headerOf(cmd locktable.Command) (stamp time.Duration, decided uint64, err error) {
	switch c := cmd.(type) {
	case *locktable.Expire:
		return c.Stamp, max(c.Term, 1), nil
	case *locktable.Tick:
		return c.Stamp, max(c.Term, 1), nil
	case *locktable.Open:
		return c.Stamp, 0, nil
	case *locktable.Close:
		return c.Stamp, 0, nil
	case *locktable.Acquire:
		return c.Stamp, 0, nil
	case *locktable.Release:
		return c.Stamp, 0, nil
	case *locktable.Cancel:
		return c.Stamp, 0, nil
	case *locktable.SetValue:
		return c.Stamp, 0, nil
	case *locktable.RenewLease:
		return c.Stamp, 0, nil
	case *locktable.ReleaseLease:
		return c.Stamp, 0, nil
	case *locktable.TakeLease:
		return c.Stamp, 0, nil
	case *locktable.Incarnate:
		return 0, 0, errIncarnation
	default:
		return 0, 0, fmt.Errorf("%T is not specified", cmd)
	}
}

func (s *spec) execute(cmd locktable.Command) locktable.Reply {
	switch c := cmd.(type) {
	case *locktable.Open:
		return s.open(c)
	case *locktable.Close:
		m := s.living(c.Session)
		if m == nil {
			return locktable.Reply{Code: locktable.SessionUnknown}
		}
		s.end([]*member{m}, locktable.Closed)
	case *locktable.Expire:
		var dying []*member
		for _, life := range c.Lives {
			if m := s.living(life); m != nil && !slices.Contains(dying, m) {
				dying = append(dying, m)
			}
		}
		s.end(dying, locktable.Expired)
	case *locktable.Acquire:
		return s.acquire(c)
	case *locktable.Release:
		return s.release(c)
	case *locktable.Cancel:
		return s.cancel(c)
	case *locktable.SetValue:
		return s.setValue(c)
	case *locktable.RenewLease:
		return s.renewLease(c)
	case *locktable.ReleaseLease:
		return s.releaseLease(c)
	case *locktable.TakeLease:
		return s.takeLease(c)
	}
	return locktable.Reply{Code: locktable.OK}
}

// Sessions.

func (s *spec) living(l session.Life) *member {
	if m := s.alive[l.ID]; m != nil && m.life == l {
		return m
	}
	return nil
}

func (s *spec) open(c *locktable.Open) locktable.Reply {
	if c.TTL < session.TTLMin || c.TTL > session.TTLMax || c.Grace != 0 && (c.Grace < session.TTLMin || c.Grace > c.TTL) ||
		len(c.Metadata) > session.MetadataMax {
		return locktable.Reply{Code: locktable.Invalid}
	}
	m := s.alive[c.ID]
	if m == nil {
		m = &member{
			life: session.Life{ID: c.ID, Index: s.index}, ttl: c.TTL, results: map[uint64]locktable.Reply{}, waits: map[uint64]*wait{},
			holds: map[uint64]*hold{},
		}
		s.alive[c.ID], s.members[m.life] = m, m
	}
	return locktable.Reply{Code: locktable.OK, Index: m.life.Index}
}

// end ends sessions, all at one moment: what they had goes in the order in which the sessions were opened, and for each in the order in
// which it got it; only then others are granted what came free.
func (s *spec) end(dying []*member, how locktable.How) {
	for _, m := range dying {
		m.ended = how
		delete(s.alive, m.life.ID)
		s.ends = append(s.ends, ending{m.life, how})
	}
	slices.SortFunc(dying, func(a, b *member) int { return cmp.Compare(a.life.Index, b.life.Index) })
	for _, m := range dying {
		type had struct {
			index, token uint64
			hold         *hold
			wait         *wait
		}
		var all []had
		for _, h := range m.holds {
			all = append(all, had{h.index, h.token, h, nil})
		}
		for _, w := range m.waits {
			all = append(all, had{w.index, ^uint64(0), nil, w})
		}
		slices.SortFunc(all, func(a, b had) int { return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.token, b.token)) })
		for _, x := range all {
			if x.hold != nil {
				s.endHold(x.hold, how, s.clock)
			} else {
				s.forget(x.wait)
			}
		}
		m.results = nil
	}
	s.promote()
}

// Deadlines.

// deadline is the end of a lease, of a lock-delay, or of the limit of a wait.
type deadline struct {
	at           time.Duration
	index, token uint64 // token 0: of a wait
	hold         *hold
	wait         *wait
}

// deadlines is a heap.
type deadlines []deadline

func (d deadlines) Len() int { return len(d) }
func (d deadlines) Less(i, j int) bool {
	a, b := &d[i], &d[j]
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.index, b.index), cmp.Compare(a.token, b.token)) < 0
}
func (d deadlines) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any) {
	added, _ := x.(deadline)
	*d = append(*d, added)
}

func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

func (s *spec) schedule(d deadline) {
	if d.at != locktable.Forever {
		heap.Push(&s.due, d)
	}
}

// fire ends what is due, one after another, each at its own time.
func (s *spec) fire() {
	for len(s.due) > 0 && s.due[0].at <= s.clock {
		d, _ := heap.Pop(&s.due).(deadline)
		switch {
		case d.wait != nil && d.wait.outcome.Code == 0 && d.wait.of.ended == locktable.NotEnded:
			s.now = max(s.now, d.at)
			s.giveUp(d.wait, locktable.TimedOut)
		case d.hold != nil && s.holds[d.token] == d.hold && d.hold.until == d.at && d.hold.of == nil:
			s.now = max(s.now, d.at)
			s.endHold(d.hold, cmp.Or(d.hold.nobodys, locktable.Expired), d.at)
		}
		s.promote()
	}
	s.now = s.clock
}
