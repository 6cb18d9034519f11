package client

import (
	"iter"
	"sync"
)

// eventsKept is how many events wait for a slow listener.
const eventsKept = 64

// listener is one loop over the events of a session.
type listener struct {
	wake chan struct{} // one slot

	mu     sync.Mutex // guards events
	events []SessionEvent
}

// Events yields what happens to the session from now on, until it is closed. Who is slow misses the oldest but never the last ones.
func (s *Session) Events() iter.Seq[SessionEvent] {
	return func(yield func(SessionEvent) bool) {
		l := &listener{wake: make(chan struct{}, 1)}
		s.mu.Lock()
		s.heard[l] = struct{}{}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.heard, l)
		}()
		for {
			if e, ok := l.next(); ok {
				if !yield(e) {
					return
				}
				continue
			}
			select {
			case <-l.wake:
			case <-s.ended:
				for e, ok := l.next(); ok && yield(e); e, ok = l.next() {
				}
				return
			}
		}
	}
}

func (l *listener) next() (SessionEvent, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return SessionEvent{}, false
	}
	e := l.events[0]
	l.events = l.events[1:]
	return e, true
}

// tell tells an event to all who listen.
func (s *Session) tell(e SessionEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.heard {
		l.mu.Lock()
		if len(l.events) == eventsKept {
			l.events = l.events[1:]
		}
		l.events = append(l.events, e)
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}
