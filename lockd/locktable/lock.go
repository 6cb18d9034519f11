package locktable

import (
	"slices"
	"time"

	"github.com/lockd/lockd/session"
)

// lock is one name. It exists while it has a holder, a waiter or a lock-delay.
//
// Nearly all locks have one exclusive holder and nobody behind, so this is all that such a lock costs: what else there is to know
// of it follows from its hold. A lock that ever had more has a crowd.
type lock struct {
	name  string
	sole  *hold // the exclusive holder, if crowd is nil
	crowd *crowd
	limit uint32 // of slots; 0 = read-write
	gone  bool   // not in the Table any more
	freed bool   // in Table.freed
	paged bool   // on a page of the catalog
}

// crowd is a lock's part with many holders, with waiters, or with a past. It is a record of its own.
type crowd struct {
	lock    *lock
	holders line[hold] // by token
	queue   line[wait] // by place
	writers int        // exclusive waiters in queue
	members map[*client]*member

	floor  uint64 // token of the last exclusive grant, or the counter when the lock came to be
	newest uint64 // token of the last grant
	last   Ending // how the last hold that ended ended
	left   uint64 // key in Table.left: waiters may be granted, but the entry had no room for it; 0 = no
	row    rowState
}

// member is what one session has on a crowded lock.
type member struct {
	holds []*hold
	waits []*wait
}

// membersMin is the size of a crowd from which it is sorted by session. RecordsPerNameMax needs no counting below it.
const membersMin = RecordsPerNameMax

// holdings is what a session has. Both chains are in the order of creation.
type holdings struct {
	client              *client
	firstHold, lastHold *hold
	firstWait, lastWait *wait
	holds, waits        int
	bySeq               map[uint64]*wait // decided ones too, until they are seen
	gone                bool
	row                 rowState
}

type client = session.Session[holdings]

// hold is one grant: who has one lock, or several, under one token.
type hold struct {
	token  uint64
	index  uint64  // of the entry that granted it
	client *client // nil = a lease, or nobody's hold: a lock-delay
	owner  uint64
	lock   *lock // the first
	extra  *extra
	since  time.Duration
	levels uint32 // entered this many times and not left, at least 1
	mode   Mode
	gone   bool

	prev, next *hold // of the session
	row        rowState
}

// extra is what few holds have.
type extra struct {
	rest      []*lock // all locks after the first
	delay     time.Duration
	lease     session.ID
	ttl       time.Duration // of the lease; 0 = no lease
	until     time.Duration // end of the lease or of the lock-delay
	takenFrom uint64        // token that a lease was taken over from
	nobody    How           // how it ended, if only its lock-delay is left
	value     []byte
	metadata  []byte
	alarm     *alarm
}

var noExtra extra

func (h *hold) more() *extra {
	if h.extra == nil {
		return &noExtra
	}
	return h.extra
}

// locks iterates over the locks of the hold.
func (h *hold) locks(yield func(*lock) bool) {
	if !yield(h.lock) {
		return
	}
	for _, l := range h.more().rest {
		if !yield(l) {
			return
		}
	}
}

// wait is one request in the queues of its locks, and its outcome until a request names it as seen.
type wait struct {
	place   place
	client  *client
	seq     uint64
	owner   uint64
	locks   []*lock // nil once it is decided
	since   time.Duration
	until   time.Duration // Forever or the cluster time at which it gives up
	mode    Mode
	delay   time.Duration
	lease   session.ID
	ttl     time.Duration // of the lease; 0 = no lease
	value   []byte
	meta    []byte
	outcome Reply // Code 0 while it waits
	alarm   *alarm
	gone    bool

	prev, next *wait // of the session
	row        rowState
}

func (l *lock) add(h *hold) {
	c := l.crowd
	if c == nil {
		l.sole = h
		return
	}
	c.holders.push(h.token, h)
	if h.client == nil {
		return
	}
	if m := c.memberOf(h.client); m != nil {
		m.holds = append(m.holds, h)
	}
}

func (l *lock) remove(h *hold) {
	c := l.crowd
	if c == nil {
		l.sole = nil
		return
	}
	c.holders.remove(h.token)
	c.leave(h)
}

// leave takes a hold out of its session's part of the crowd: it ends, or goes on as nobody's.
func (c *crowd) leave(h *hold) {
	if m := c.members[h.client]; m != nil && h.client != nil {
		m.holds = without(m.holds, h)
		c.dropEmpty(h.client, m)
	}
}

func (c *crowd) enqueue(w *wait) {
	c.queue.push(w.place, w)
	if w.mode == Exclusive {
		c.writers++
	}
	if m := c.memberOf(w.client); m != nil {
		m.waits = append(m.waits, w)
	}
}

func (c *crowd) dequeue(w *wait) {
	c.queue.remove(w.place)
	if w.mode == Exclusive {
		c.writers--
	}
	if m := c.members[w.client]; m != nil {
		m.waits = without(m.waits, w)
		c.dropEmpty(w.client, m)
	}
}

func (c *crowd) dropEmpty(s *client, m *member) {
	if len(m.holds)+len(m.waits) == 0 {
		delete(c.members, s)
	}
}

func without[T comparable](list []T, gone T) []T {
	for i, x := range list {
		if x == gone {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// memberOf returns the session's part of the crowd to add to, or nil while the crowd is too small to be sorted. The crowd that
// grows to that size is sorted here, and the caller's addition, which is in its lines already, with it.
func (c *crowd) memberOf(s *client) *member {
	if c.members == nil {
		if c.holders.len()+c.queue.len() < membersMin {
			return nil
		}
		c.members = make(map[*client]*member)
		for h := range c.holders.all {
			if h.client != nil {
				m := c.part(h.client)
				m.holds = append(m.holds, h)
			}
		}
		for w := range c.queue.all {
			m := c.part(w.client)
			m.waits = append(m.waits, w)
		}
		return nil
	}
	return c.part(s)
}

func (c *crowd) part(s *client) *member {
	m := c.members[s]
	if m == nil {
		m = &member{}
		c.members[s] = m
	}
	return m
}

// gather makes the lock's crowd, if it has none.
func (l *lock) gather(floor uint64) *crowd {
	if l.crowd == nil {
		l.crowd = &crowd{lock: l, floor: floor, newest: floor}
		if h := l.sole; h != nil {
			l.crowd.floor, l.crowd.newest = h.token, h.token
			if how := h.more().nobody; how != NotEnded {
				l.crowd.last = Ending{How: how, Token: h.token}
			}
			l.sole = nil
			l.add(h)
		}
	}
	return l.crowd
}

// holder returns the hold of this token, or nil.
func (l *lock) holder(token uint64) *hold {
	if l.crowd != nil {
		return l.crowd.holders.get(token)
	}
	if l.sole != nil && l.sole.token == token {
		return l.sole
	}
	return nil
}

// empty reports whether nothing keeps the lock in existence.
func (l *lock) empty() bool {
	return l.sole == nil && (l.crowd == nil || l.crowd.holders.len() == 0 && l.crowd.queue.len() == 0)
}

// partOf returns how many records the session has here, and the hold or wait of this owner, if it has one.
func (l *lock) partOf(s *client, owner uint64) (n int, h *hold, w *wait) {
	count := func(x *hold) {
		if x.client == s {
			n++
			if x.owner == owner {
				h = x
			}
		}
	}
	if l.crowd == nil {
		if l.sole != nil {
			count(l.sole)
		}
		return n, h, nil
	}
	holds, waits := l.crowd.holders.all, l.crowd.queue.all
	if l.crowd.members != nil {
		m := l.crowd.members[s]
		if m == nil {
			return 0, nil, nil
		}
		holds, waits = slices.Values(m.holds), slices.Values(m.waits)
	}
	for x := range holds {
		count(x)
	}
	for x := range waits {
		if x.client == s {
			n++
			if x.owner == owner {
				w = x
			}
		}
	}
	return n, h, w
}
