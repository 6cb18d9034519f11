package session

import (
	"slices"
	"testing"
	"time"
)

// Sessions that are opened and closed again leave nothing behind that lasts as long as their TTL, and those that live keep their time.
func TestTimersOfEndedSessionsAreDropped(t *testing.T) {
	const ttl = 10 * time.Minute
	k := NewKeeper(1, 0)
	k.Start(0, 0, slices.Values([]Terms{{Life: Life{Index: 1}, TTL: ttl}}))
	for i := range uint64(100_000) {
		terms := Terms{Life: Life{Index: 2 + i}, TTL: ttl - time.Second}
		k.Opened(0, terms)
		k.Ended(terms.Life)
		if len(k.timers) > 2*staleMax {
			t.Fatalf("%d timers for %d sessions", len(k.timers), len(k.sessions))
		}
	}
	if !slices.ContainsFunc(k.timers, func(x timer) bool { return x.l.terms.Life.Index == 1 && x.at == ttl }) {
		t.Fatal("the living session has no timer")
	}
}
