package simworld

import (
	"time"

	"github.com/lockd/lockd/session"
)

// Watch follows what a leader hears of the sessions, beside its Keeper: in time that the node was awake.
type Watch struct {
	judge  *Judge
	node   int
	heard  map[session.Life]time.Duration
	doomed map[session.Life]struct{}
}

// Watch begins with a leadership.
func (t *Judge) Watch(node int) *Watch {
	return &Watch{judge: t, node: node, heard: map[session.Life]time.Duration{}, doomed: map[session.Life]struct{}{}}
}

// Began tells that a session is there now, and is given its whole TTL.
func (h *Watch) Began(life session.Life, awake time.Duration) { h.heard[life] = awake }

// KeptAlive tells of a sign of life.
func (h *Watch) KeptAlive(ka session.KeepAlive, awake time.Duration) {
	if was, ok := h.heard[ka.Life]; ok {
		h.heard[ka.Life] = max(was, awake-ka.Age)
	}
}

// Expiring checks that a leader that expires a session was awake for its whole TTL without hearing of it.
func (h *Watch) Expiring(life session.Life, awake time.Duration) {
	if _, again := h.doomed[life]; again {
		return // proposed before, and not applied here yet
	}
	h.doomed[life] = struct{}{}
	heard, ok := h.heard[life]
	if !ok {
		h.judge.w.Fail("node %d expires %v, of which it knows nothing", h.node, life)
		return
	}
	if span := h.judge.spans[life]; awake-heard < span-span/100-time.Millisecond {
		h.judge.w.Fail("node %d expires %v after it was awake for %v only", h.node, life, awake-heard)
	}
}
