package history

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
)

// planted is something that cannot be true, and which checks must find it in how many of all histories.
type planted struct {
	name  string
	plant func(s *sample, r *rand.Rand) bool // false: there is no place for it in this history
	least int                                // histories that have a place for it, of 200
	by    map[string]int                     // check: percent of the histories that it has to find by itself
}

// TestPlanted plants one anomaly into each of many histories that are true. Every one must be found, whatever else the history has in it; and
// by the checks that are meant for it, but for those histories that the check cannot know to be wrong: a grant at the
// side of one whose holder may have lost it, a search that is not made as a history is too long.
func TestPlanted(t *testing.T) {
	for _, p := range anomalies() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			all, caught, by := 0, 0, map[string]int{}
			for seed := range uint64(histories(200)) {
				s := newWorld(t, seed, 6, 3).run(operations)
				if !p.plant(s, rand.New(rand.NewPCG(seed, 3))) {
					continue
				}
				all++
				s.h.sort()
				v, err := Check(s.h, s.audits, Options{SearchLimit: 5 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				if v.Count > 0 {
					caught++
				} else {
					t.Errorf("seed %d: it is not found", seed)
				}
				found := map[string]bool{}
				for _, x := range v.Violations {
					found[x.Check] = true
				}
				for check := range found {
					by[check]++
				}
			}
			t.Logf("%d planted, %d caught, by %v", all, caught, by)
			least := histories(p.least)
			if testing.Short() {
				least /= 2 // of a few, chance may take so many
			}
			if all < least {
				t.Errorf("%d histories have a place for it, want %d", all, least)
			}
			for _, check := range slices.Sorted(maps.Keys(p.by)) {
				if by[check]*100 < p.by[check]*all {
					t.Errorf("check %q finds %d of %d, want %d %%", check, by[check], all, p.by[check])
				}
			}
		})
	}
}

func anomalies() []planted {
	return []planted{
		{"double grant, same token", func(s *sample, r *rand.Rand) bool { return s.grantTo(r, Exclusive, 0) }, 140, map[string]int{"tokens": 100, "witness": 100}},
		{"double grant, next token", func(s *sample, r *rand.Rand) bool { return s.grantTo(r, Exclusive, 1<<20) }, 140, map[string]int{"witness": 100, "validity": 100, "search": 80}},
		{"one slot too many", func(s *sample, r *rand.Rand) bool { return s.grantTo(r, Slot, 1<<20) }, 25, map[string]int{"witness": 100, "validity": 80}},
		{"token goes back", (*sample).tokenBack, 190, map[string]int{"tokens": 100, "witness": 100}},
		{"release that is not in the log", (*sample).lostRelease, 190, map[string]int{"lost": 100}},
		{"acknowledged at the end, and lost", (*sample).lostEnd, 190, map[string]int{"lost": 100}},
		{"read that saw what was not", (*sample).wrongRead, 190, map[string]int{"witness": 100}},
		{"stale read", (*sample).staleRead, 150, map[string]int{"real time": 100}},
		{"overtaken in the queue", (*sample).overtake, 190, map[string]int{"order": 100, "witness": 100}},
		{"early expiry", (*sample).earlyExpiry, 100, map[string]int{"expiry": 100}},
		{"validity reaches over the next grant", (*sample).overlap, 160, map[string]int{"validity": 100, "search": 80}},
		{"request that took effect twice", (*sample).twice, 190, map[string]int{"witness": 100}},
		{"two outcomes of one request", (*sample).twoOutcomes, 190, map[string]int{"one outcome": 100, "witness": 100}},
		{"states differ", (*sample).otherHash, 200, map[string]int{"audits": 100}},
		{"entries differ", (*sample).otherEntry, 200, map[string]int{"audits": 100}},
		{"entry that nobody tells of", (*sample).gap, 200, map[string]int{"audits": 100}},
		{"lost increment", (*sample).lostIncrement, 190, map[string]int{"fencing": 100}},
		{"fence lets an old token through", (*sample).fenceFalls, 190, map[string]int{"fencing": 100}},
		{"refused, and yet it happened", (*sample).refusedButDone, 80, map[string]int{"refused": 100}},
		{"renewed after its end", (*sample).renewedDead, 100, map[string]int{"witness": 100}},
		{"answered before its cause", (*sample).beforeItsCause, 180, map[string]int{"real time": 100}},
		{"told of an end that was none", (*sample).endedAlive, 100, map[string]int{"witness": 100}},
	}
}

// any returns the index of a random element for which f holds, or -1.
func anyOf[T any](r *rand.Rand, list []T, f func(x *T) bool) int {
	var places []int
	for i := range list {
		if f(&list[i]) {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return -1
	}
	return places[r.IntN(len(places))]
}

// reply returns the answer that ended an operation of a session.
func (s *sample) reply(o *Operation) *wire.Reply {
	for i := range s.h.Frames {
		if f := &s.h.Frames[i]; f.Process == o.Process && f.At == o.Return && !f.Out {
			if m, ok := f.Message.(*wire.Reply); ok {
				return m
			}
		}
	}
	return nil
}

// grantTo makes a grant of a try that was refused: with the token of whoever holds the lock, or so far above.
func (s *sample) grantTo(r *rand.Rand, mode Mode, above uint64) bool {
	i := anyOf(r, s.h.Operations, func(o *Operation) bool {
		return o.Kind == Acquire && o.Outcome == Refused && o.Mode == mode && len(o.Keys) == 1 && !o.Lease && o.Keys[0] != "shared" && s.holder(o) != nil
	})
	if i < 0 {
		return false
	}
	o := &s.h.Operations[i]
	h := s.holder(o)
	o.Outcome, o.Reason, o.Token, o.Until = OK, "", h.Token, o.Return+int64(500*time.Millisecond)
	if above > 0 {
		for j := range s.h.Operations { // the next token there is not
			o.Token = max(o.Token, s.h.Operations[j].Token+1)
		}
	}
	m := s.reply(o)
	m.Outcome = wire.Outcome{Code: wire.Granted, Token: o.Token, Floor: o.Token}
	return true
}

// holder returns the grant of somebody who holds the lock of an operation at its end, and goes on to.
func (s *sample) holder(o *Operation) *Operation {
	for i := range s.h.Operations {
		h := &s.h.Operations[i]
		if h.Kind != Acquire || h.Outcome != OK || !slices.Equal(h.Keys, o.Keys) || h.Return > o.Call || h.Until < o.Return {
			continue
		}
		ended := slices.ContainsFunc(s.h.Operations, func(x Operation) bool { return x.Kind == Release && x.Token == h.Token && x.Call < o.Return })
		if !ended {
			return h
		}
	}
	return nil
}

// grants returns the grants of one process each by one answer, in the order of their ends.
func (s *sample) direct(r *rand.Rand) *Operation {
	i := anyOf(r, s.h.Operations, func(o *Operation) bool {
		m := s.reply(o)
		return o.Kind == Acquire && o.Outcome == OK && !o.Lease && m != nil && m.Outcome.Code == wire.Granted && o.Token > 5020
	})
	if i < 0 {
		return nil
	}
	return &s.h.Operations[i]
}

func (s *sample) tokenBack(r *rand.Rand) bool {
	o := s.direct(r)
	if o == nil {
		return false
	}
	m := s.reply(o)
	o.Token -= 20
	m.Outcome.Token = o.Token
	return true
}

// entries calls f with every copy of an entry.
func (s *sample) entries(index uint64, f func(e *Entry)) {
	for _, a := range s.audits {
		for i := range a.Entries {
			if a.Entries[i].Index == index {
				f(&a.Entries[i])
			}
		}
	}
}

func (s *sample) lostRelease(r *rand.Rand) bool {
	i := anyOf(r, s.h.Operations, func(o *Operation) bool { return o.Kind == Release && o.Outcome == OK && !o.Lease })
	if i < 0 {
		return false
	}
	s.entries(s.reply(&s.h.Operations[i]).Index, func(e *Entry) { e.Command = nil })
	return true
}

func (s *sample) lostEnd(*rand.Rand) bool {
	last := s.audits[0].Entries[len(s.audits[0].Entries)-1].Index
	for _, a := range s.audits {
		a.Entries = slices.DeleteFunc(a.Entries, func(e Entry) bool { return e.Index > last-8 })
	}
	return true
}

func (s *sample) lockReply(r *rand.Rand, f func(*wire.LockReply) bool) *wire.LockReply {
	i := anyOf(r, s.h.Frames, func(x *Frame) bool {
		m, ok := x.Message.(*wire.LockReply)
		return ok && f(m)
	})
	if i < 0 {
		return nil
	}
	m, _ := s.h.Frames[i].Message.(*wire.LockReply)
	return m
}

func (s *sample) wrongRead(r *rand.Rand) bool {
	m := s.lockReply(r, func(m *wire.LockReply) bool { return m.Found && len(m.Lock.Holders) == 1 })
	if m != nil {
		m.Lock.Holders[0].Token -= 3
	}
	return m != nil
}

// staleRead lets a read see the state of an index before something that was answered when the read was asked for.
func (s *sample) staleRead(r *rand.Rand) bool {
	m := s.lockReply(r, func(m *wire.LockReply) bool { return !m.Found && m.Index > 20 })
	if m != nil {
		m.Index = 3 // nobody had anything then
	}
	return m != nil
}

// overtake exchanges what two waiters of one lock were told.
func (s *sample) overtake(*rand.Rand) bool {
	t := gather(s.h.Frames)
	for _, first := range t.commands {
		for _, second := range t.commands {
			a, ok1 := first.message.(*wire.Acquire)
			b, ok2 := second.message.(*wire.Acquire)
			if !ok1 || !ok2 || first == second || len(first.answers) != 2 || len(second.answers) != 2 || len(a.Names) != 1 || !slices.Equal(a.Names, b.Names) ||
				a.Mode != b.Mode || first.answers[0].at > second.call {
				continue
			}
			s.exchange(first, second)
			return true
		}
	}
	return false
}

func (s *sample) exchange(one, two *request) {
	var over []*wire.WaitOver
	for i := range s.h.Frames {
		m, ok := s.h.Frames[i].Message.(*wire.WaitOver)
		if ok && (life(m.Life).ID == one.id && m.Seq == one.seq || life(m.Life).ID == two.id && m.Seq == two.seq) {
			over = append(over, m)
		}
	}
	over[0].Outcome, over[1].Outcome = over[1].Outcome, over[0].Outcome
	over[0].Index, over[1].Index = over[1].Index, over[0].Index
}

// expired returns an entry that expires somebody whose KeepAlive was confirmed, and the sending of that.
func (s *sample) expired(r *rand.Rand) (index uint64, last renewal) {
	t := gather(s.h.Frames)
	i := anyOf(r, s.audits[0].Entries, func(e *Entry) bool {
		cmd, err := locktable.Decode(e.Command)
		x, ok := cmd.(*locktable.Expire)
		return err == nil && ok && len(t.renewals[x.Lives[0]]) > 0
	})
	if i < 0 {
		return 0, renewal{}
	}
	e := &s.audits[0].Entries[i]
	cmd, _ := locktable.Decode(e.Command)
	x, _ := cmd.(*locktable.Expire)
	list := t.renewals[x.Lives[0]]
	return e.Index, list[len(list)-1]
}

func (s *sample) earlyExpiry(r *rand.Rand) bool {
	index, last := s.expired(r)
	s.entries(index, func(e *Entry) { e.At = last.sent + int64(simTTL)*9/10 })
	return index > 0
}

// overlap lets a holder believe in its hold until after the next one has begun.
func (s *sample) overlap(r *rand.Rand) bool {
	ends := map[uint64]int64{}
	for _, o := range s.h.Operations {
		switch o.Kind {
		case Release:
			ends[o.Token] = o.Call
		case HandOn:
			ends[o.Before] = o.Call
		default:
		}
	}
	i := anyOf(r, s.h.Operations, func(o *Operation) bool {
		return o.Kind == Acquire && o.Outcome == OK && o.Mode == Exclusive && ends[o.Token] == 0 && s.next(o, ends) != nil
	})
	if i < 0 {
		return false
	}
	o := s.h.Operations[i]
	at := o.Return + 1
	s.h.Operations = append(s.h.Operations, Operation{
		Process: o.Process, ID: 1 << 40, Kind: Held, Keys: o.Keys, Token: o.Token, Until: s.next(&o, ends).Return + 1, Call: at, Return: at, Outcome: OK,
	})
	return true
}

// next returns the next grant of the same lock that held for some time.
func (s *sample) next(o *Operation, ends map[uint64]int64) *Operation {
	for i := range s.h.Operations {
		x := &s.h.Operations[i]
		end, ended := ends[x.Token]
		if x.Kind == Acquire && x.Outcome == OK && x.Token > o.Token && slices.Equal(x.Keys, o.Keys) && x.Until > x.Return+2 && (!ended || end > x.Return+2) {
			return x
		}
	}
	return nil
}

// twice makes the nodes count a grant twice.
func (s *sample) twice(r *rand.Rand) bool {
	from := s.audits[0].Entries[10+r.IntN(len(s.audits[0].Entries)-10)].Index
	for _, a := range s.audits {
		for i := range a.Entries {
			if a.Entries[i].Index >= from {
				a.Entries[i].Token++
			}
		}
	}
	return true
}

func (s *sample) twoOutcomes(r *rand.Rand) bool {
	o := s.direct(r)
	if o == nil {
		return false
	}
	m := *s.reply(o)
	m.Index++
	m.Outcome.Token++
	s.h.Frames = append(s.h.Frames, Frame{Process: o.Process, Conn: 1, At: o.Return + 1, Message: &m})
	return true
}

func (s *sample) one(r *rand.Rand) *Entry {
	a := s.audits[0] // the others have all its entries too
	return &a.Entries[5+r.IntN(len(a.Entries)/4)]
}

func (s *sample) otherHash(r *rand.Rand) bool {
	s.one(r).Hash[r.IntN(16)] ^= 1
	return true
}

func (s *sample) otherEntry(r *rand.Rand) bool {
	e := s.one(r)
	e.Command = locktable.Encode(&locktable.Tick{Term: 1})
	return true
}

func (s *sample) gap(r *rand.Rand) bool {
	index := s.one(r).Index
	for _, a := range s.audits {
		a.Entries = slices.DeleteFunc(a.Entries, func(e Entry) bool { return e.Index == index })
	}
	return true
}

func (s *sample) lostIncrement(r *rand.Rand) bool {
	i := anyOf(r, s.h.Operations, func(o *Operation) bool { return o.Kind == Write && o.Outcome == OK && o.Before > 0 })
	if i >= 0 {
		s.h.Operations[i].Before--
	}
	return i >= 0
}

func (s *sample) fenceFalls(r *rand.Rand) bool {
	i := anyOf(r, s.h.Operations, func(o *Operation) bool { return o.Kind == Write && o.Outcome == OK && o.Order > 1 })
	if i >= 0 {
		s.h.Operations[i].Token -= 5000
	}
	return i >= 0
}

func (s *sample) refusedButDone(r *rand.Rand) bool {
	t := gather(s.h.Frames)
	i := anyOf(r, t.commands, func(q **request) bool {
		return len((*q).answers) == 0 && slices.ContainsFunc(s.audits[0].Entries, func(e Entry) bool {
			cmd, err := locktable.Decode(e.Command)
			if err != nil {
				return false
			}
			id, ok := identityIn(cmd)
			return ok && id == (*q).identity
		})
	})
	if i < 0 {
		return false
	}
	q := t.commands[i]
	_, number, _ := identityOf(q.message)
	s.h.Frames = append(s.h.Frames, Frame{Process: q.process, Conn: 1, At: q.call + int64(time.Millisecond), Message: &wire.Failure{ID: number, Code: wire.DiskFull, Known: true}})
	return true
}

func (s *sample) renewedDead(r *rand.Rand) bool {
	index, last := s.expired(r)
	for i := range s.h.Frames {
		if m, ok := s.h.Frames[i].Message.(*wire.KeepAliveAnswer); ok && s.h.Frames[i].At == last.at {
			m.Index = index
		}
	}
	return index > 0
}

// beforeItsCause lets a release begin and end long before what stands before it in the log.
func (s *sample) beforeItsCause(r *rand.Rand) bool {
	i := anyOf(r, s.h.Frames, func(f *Frame) bool {
		_, ok := f.Message.(*wire.Release)
		return ok && f.At > int64(time.Hour+time.Second)
	})
	if i < 0 {
		return false
	}
	f := &s.h.Frames[i]
	m, _ := f.Message.(*wire.Release)
	for j := range s.h.Frames {
		if a, ok := s.h.Frames[j].Message.(*wire.Reply); ok && a.ID == m.ID {
			s.h.Frames[j].At -= int64(500 * time.Millisecond)
		}
	}
	f.At -= int64(500 * time.Millisecond)
	return true
}

func (s *sample) endedAlive(r *rand.Rand) bool {
	index, _ := s.expired(r)
	if index == 0 {
		return false
	}
	cmd := locktable.Command(nil)
	s.entries(index, func(e *Entry) { cmd, _ = locktable.Decode(e.Command) })
	x, _ := cmd.(*locktable.Expire)
	s.h.Frames = append(s.h.Frames, Frame{
		Process: "c1", Conn: 1, At: s.h.Frames[len(s.h.Frames)-1].At, Message: &wire.SessionEnded{Life: wireLife(x.Lives[0]), How: wire.Expired, Index: index - 1},
	})
	return true
}
