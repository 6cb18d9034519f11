package session

import "time"

// timers is a binary heap over (at, opening index), so that its order is the same in every run.
type timers []timer

type timer struct {
	at time.Duration
	l  *liveness
}

func (a timer) before(b timer) bool {
	return a.at < b.at || a.at == b.at && a.l.terms.Life.Index < b.l.terms.Life.Index
}

// first returns when the first timer fires, if there is one.
func (h timers) first() (time.Duration, bool) {
	if len(h) == 0 {
		return 0, false
	}
	return h[0].at, true
}

func (h *timers) push(t timer) {
	s := append(*h, t)
	i := len(s) - 1
	for i > 0 && t.before(s[(i-1)/2]) {
		s[i] = s[(i-1)/2]
		i = (i - 1) / 2
	}
	s[i] = t
	*h = s
}

func (h *timers) pop() timer {
	s := *h
	first, last := s[0], s[len(s)-1]
	s[len(s)-1] = timer{}
	s = s[:len(s)-1]
	*h = s
	i := 0
	for {
		child := 2*i + 1
		if child >= len(s) {
			break
		}
		if child+1 < len(s) && s[child+1].before(s[child]) {
			child++
		}
		if !s[child].before(last) {
			break
		}
		s[i] = s[child]
		i = child
	}
	if len(s) > 0 {
		s[i] = last
	}
	return first
}

// current returns the timers that mean something still.
func (h timers) current() timers {
	var kept timers
	for _, t := range h {
		if !t.l.ended && t.at == t.l.timer {
			kept.push(t)
		}
	}
	return kept
}
