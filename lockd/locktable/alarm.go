package locktable

import (
	"cmp"
	"time"
)

// alarm is a deadline in cluster time: of a lease, of a lock-delay, of a wait's limit.
type alarm struct {
	at    time.Duration
	index uint64 // of the entry that made the hold or the wait
	token uint64 // of the hold; 0 for a wait
	hold  *hold  // one of the two
	wait  *wait
	pos   int  // in the heap
	set   bool // it is in the heap
}

func (a *alarm) compare(b *alarm) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.index, b.index), cmp.Compare(a.token, b.token))
}

func (a *alarm) before(b *alarm) bool { return a.compare(b) < 0 }

// alarms is a binary heap over (at, index, token): a total order, so that a Table rebuilt from its records fires in the same one.
type alarms []*alarm

func (h alarms) first() *alarm {
	if len(h) == 0 {
		return nil
	}
	return h[0]
}

func (h *alarms) add(a *alarm) {
	a.pos, a.set = len(*h), true
	*h = append(*h, a)
	h.up(a.pos)
}

func (h *alarms) remove(a *alarm) {
	a.set = false
	s := *h
	i, last := a.pos, len(s)-1
	s[i] = s[last]
	s[i].pos = i
	s[last] = nil
	*h = s[:last]
	if i < last {
		h.fix(i)
	}
}

// move sets an alarm to another time.
func (h *alarms) move(a *alarm, at time.Duration) {
	a.at = at
	h.fix(a.pos)
}

func (h *alarms) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *alarms) up(i int) {
	s := *h
	for i > 0 && s[i].before(s[(i-1)/2]) {
		s.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *alarms) down(i int) (moved bool) {
	s := *h
	for {
		child := 2*i + 1
		if child >= len(s) {
			return moved
		}
		if child+1 < len(s) && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(s[i]) {
			return moved
		}
		s.swap(i, child)
		i, moved = child, true
	}
}

func (h alarms) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
