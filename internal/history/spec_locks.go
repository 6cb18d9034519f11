package history

import (
	"cmp"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
)

// valid reports whether somebody has the hold.
func (s *spec) valid(h *hold) bool {
	return h.of != nil || h.nobodys == locktable.NotEnded && s.now < h.until
}

// blocks reports whether the hold keeps others out: it is valid, or in its lock-delay.
func (s *spec) blocks(h *hold) bool {
	switch {
	case h.of != nil:
		return true
	case h.nobodys != locktable.NotEnded:
		return s.now < h.until
	default:
		return s.now < later(h.until, h.delay)
	}
}

func (s *spec) waiting(w *wait) bool { return w.outcome.Code == 0 && s.now < w.until }

func later(from, length time.Duration) time.Duration {
	if length >= locktable.Forever-from {
		return locktable.Forever
	}
	return from + length
}

// room counts who stands before a request.
type room struct {
	holders, ahead     int
	exclusive, writers bool // a holder, somebody ahead
}

func (r *room) holder(mode locktable.Mode) {
	r.holders++
	r.exclusive = r.exclusive || mode == locktable.Exclusive
}

func (r *room) waiter(mode locktable.Mode) {
	r.ahead++
	r.writers = r.writers || mode == locktable.Exclusive
}

// admits reports whether a request in this mode may be granted: nobody is overtaken that it would harm.
func (r *room) admits(mode locktable.Mode, limit uint32) bool {
	switch mode {
	case locktable.Exclusive:
		return r.holders+r.ahead == 0
	case locktable.Shared:
		return !r.exclusive && !r.writers
	default:
		return r.holders+r.ahead < int(limit)
	}
}

// full reports whether the lock admits nobody at all.
func (r *room) full(limit uint32) bool {
	return r.exclusive || r.writers || limit > 0 && r.holders+r.ahead >= int(limit)
}

// before returns who stands before a request with this index.
func (s *spec) before(l *lock, index uint64) room {
	var r room
	for _, h := range l.holders {
		if s.blocks(h) {
			r.holder(h.mode)
		}
	}
	for _, w := range l.queue {
		if w.index >= index || r.full(l.limit) {
			break
		}
		if s.waiting(w) {
			r.waiter(w.ask.Mode)
		}
	}
	return r
}

func (s *spec) queued(l *lock) int {
	n := 0
	for _, w := range l.queue {
		if s.waiting(w) {
			n++
		}
	}
	return n
}

func (s *spec) free(l *lock) {
	if !l.freed {
		l.freed = true
		s.freed = append(s.freed, l)
	}
}

// promote grants what can be granted at the locks that something left, lock after lock and waiter after waiter.
func (s *spec) promote() {
	for len(s.freed) > 0 {
		l := s.freed[0]
		s.freed, l.freed = s.freed[1:], false
		s.serve(l)
		s.vanish(l)
	}
}

// serve walks along the queue of a lock.
func (s *spec) serve(l *lock) {
	r := s.before(l, 0)
	for i := 0; i < len(l.queue) && !r.full(l.limit); {
		w := l.queue[i]
		switch {
		case !s.waiting(w):
			i++
		case r.admits(w.ask.Mode, l.limit) && s.admittedElsewhere(w, l):
			r.holder(w.ask.Mode)
			s.grantWait(w) // it leaves the queue
		default:
			r.waiter(w.ask.Mode)
			i++
		}
	}
}

func (s *spec) admittedElsewhere(w *wait, but *lock) bool {
	for _, l := range w.locks {
		if r := s.before(l, w.index); l != but && !r.admits(w.ask.Mode, l.limit) {
			return false
		}
	}
	return true
}

// vanish ends a lock with nothing in it. If its last hold ended badly, the next holder is to hear of it.
func (s *spec) vanish(l *lock) {
	if s.locks[l.name] != l || len(l.holders)+len(l.queue) > 0 {
		return
	}
	delete(s.locks, l.name)
	if bad(l.last.How) {
		s.endings[l.name] = l.last
	}
}

func bad(how locktable.How) bool { return how == locktable.Expired }

// create returns the lock of this name.
func (s *spec) create(name string, limit uint32) *lock {
	l := s.locks[name]
	if l == nil {
		l = &lock{name: name, limit: limit}
		s.locks[name] = l
		if last, ok := s.endings[name]; ok {
			l.last = last
			delete(s.endings, name)
			s.setFloor(l)
		}
	}
	return l
}

// setFloor says that all that was granted up to now is below the floor, or at it.
func (s *spec) setFloor(l *lock) {
	if !l.floored {
		l.floor, l.floored = s.counter, true
	}
}

// badness orders how holds end: of several names the new holder hears the worst.
var badness = []locktable.How{
	locktable.NotEnded, locktable.Released, locktable.HandedOn, locktable.Closed, locktable.Broken, locktable.Expired, locktable.Forgotten,
}

// grant makes a hold.
func (s *spec) grant(h *hold, leaseTTL time.Duration) locktable.Reply {
	s.counter++
	h.token, h.index, h.levels = s.counter, s.index, 1
	r := locktable.Reply{Code: locktable.Granted, Index: s.index, Token: h.token}
	if leaseTTL > 0 {
		h.of, h.until = nil, later(s.clock, leaseTTL)
		r.Deadline = h.until
		s.schedule(deadline{at: h.until, index: h.index, token: h.token, hold: h})
	} else {
		h.of.holds[h.token] = h
	}
	s.holds[h.token] = h
	for _, l := range h.locks {
		l.holders = append(l.holders, h)
		if slices.Index(badness, l.last.How) > slices.Index(badness, r.Previous.How) {
			r.Previous = l.last
		}
		if h.mode == locktable.Exclusive {
			l.floor, l.floored = h.token, true
		} else {
			s.setFloor(l)
		}
		r.Behind = max(r.Behind, s.queued(l))
	}
	r.Floor = h.locks[0].floor
	return r
}

func (s *spec) grantWait(w *wait) {
	s.leaveQueues(w)
	w.outcome.Code = locktable.Granted
	a := w.ask
	s.decide(w, s.grant(&hold{of: w.of, owner: a.Owner, locks: w.locks, mode: a.Mode, delay: a.Delay, lease: a.LeaseID}, a.LeaseTTL))
}

// decide ends a wait. How many wait behind a hold is told with the grant only.
func (s *spec) decide(w *wait, r locktable.Reply) {
	s.overs = append(s.overs, over{w.of.life, w.seq, r})
	r.Behind = 0
	w.outcome = r
}

func (s *spec) leaveQueues(w *wait) {
	for _, l := range w.locks {
		if i := slices.Index(l.queue, w); i >= 0 {
			l.queue = slices.Delete(l.queue, i, i+1)
		}
	}
}

// giveUp ends a wait without a grant.
func (s *spec) giveUp(w *wait, code locktable.Code) {
	s.leaveQueues(w)
	for _, l := range w.locks {
		s.free(l)
	}
	s.decide(w, locktable.Reply{Code: code, Index: s.index})
}

// forget drops a wait: its outcome was seen, or its session has ended.
func (s *spec) forget(w *wait) {
	if w.outcome.Code == 0 {
		s.leaveQueues(w)
		for _, l := range w.locks {
			s.free(l)
		}
	}
	delete(w.of.waits, w.seq)
}

// endHold ends a hold as of a cluster time. If it ended badly, it stays as nobody's until its lock-delay is over.
func (s *spec) endHold(h *hold, how locktable.How, at time.Duration) {
	for _, l := range h.locks {
		l.last = locktable.Ending{How: how, Token: h.token}
	}
	if h.of != nil {
		delete(h.of.holds, h.token)
	}
	if until := later(at, h.delay); h.nobodys == locktable.NotEnded && bad(how) && h.delay > 0 && s.now < until {
		h.of, h.nobodys, h.until = nil, how, until
		s.schedule(deadline{at: until, index: h.index, token: h.token, hold: h})
		return
	}
	s.drop(h)
	for _, l := range h.locks {
		s.free(l)
	}
}

func (s *spec) drop(h *hold) {
	delete(s.holds, h.token)
	s.gone = append(s.gone, h.token)
	for _, l := range h.locks {
		l.holders = slices.DeleteFunc(l.holders, func(other *hold) bool { return other == h })
	}
}

// look is a lock as a reader sees it.
type look struct {
	found  bool
	tokens []uint64 // of those who keep others out
	queue  int
	floor  uint64
}

func (s *spec) look(name string) look {
	l := s.locks[name]
	if l == nil {
		return look{}
	}
	v := look{queue: s.queued(l), floor: l.floor}
	for _, h := range l.holders {
		if s.blocks(h) {
			v.tokens = append(v.tokens, h.token)
		}
	}
	slices.SortFunc(v.tokens, cmp.Compare[uint64])
	if v.found = len(v.tokens)+v.queue > 0; !v.found {
		return look{}
	}
	return v
}

func (s *spec) worth(name string, token uint64) locktable.Validity {
	worth := locktable.Free
	if l := s.locks[name]; l != nil {
		for _, h := range l.holders {
			switch {
			case s.valid(h) && h.token == token:
				return locktable.Valid
			case s.valid(h):
				worth = locktable.Past
			}
		}
	}
	return worth
}
