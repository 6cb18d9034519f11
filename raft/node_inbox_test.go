package raft

import (
	"errors"
	"testing"
)

// A node that cannot keep up loses log traffic, which peers send again, before votes and heartbeats; and neither
// without a bound.
func TestTrap58FullInboxKeepsVotesAndHeartbeats(t *testing.T) {
	b := inbox{wake: make(chan struct{}, 1)}
	flood := make([]Message, 1000)
	for i := range flood {
		flood[i] = Message{Body: Append{}}
	}
	for range 20 {
		b.receive(flood)
	}
	mixed := []Message{{Body: Append{}}, {Body: Vote{}}, {Body: Heartbeat{}}, {Body: AppendReply{}}}
	b.receive(mixed)
	var appends, votes, beats int
	for _, m := range b.take(inputs{}, false).messages {
		switch m.Body.(type) {
		case Append, AppendReply:
			appends++
		case Vote:
			votes++
		case Heartbeat:
			beats++
		}
	}
	if appends > maxInboxMessages || appends < maxInboxMessages-len(flood) || votes != 1 || beats != 1 {
		t.Errorf("of a flood %d appends, %d votes and %d heartbeats were kept, want at most %d, 1 and 1", appends, votes, beats, maxInboxMessages)
	}
	for i := range flood {
		flood[i] = Message{Body: Heartbeat{}}
	}
	for range 40 {
		b.receive(flood)
	}
	if n := len(b.take(inputs{}, false).messages); n > 2*maxInboxMessages {
		t.Errorf("%d urgent messages were kept, want at most %d", n, 2*maxInboxMessages)
	}
}

func TestFullInboxRefusesProposals(t *testing.T) {
	b := inbox{wake: make(chan struct{}, 1)}
	for range maxInboxProposals {
		if err := b.propose(&Request{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.propose(&Request{}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more proposal got %v, want ErrBusy", err)
	}
	if err := b.propose(&Request{Proposal: Proposal{Term: 3, Own: true}}); err != nil {
		t.Errorf("a proposal of the leader's own got %v, want none: it is never refused for load", err)
	}
}

// A node that has failed goes on hearing its peers until somebody closes it.
func TestClosedInboxKeepsNothing(t *testing.T) {
	b := inbox{wake: make(chan struct{}, 1)}
	b.close()
	b.receive([]Message{{Body: Append{}}, {Body: Vote{}}})
	if n := len(b.next.messages); n > 0 {
		t.Errorf("%d messages are kept that nobody will take", n)
	}
}

// TestReadsThatNobodyWaitsForAreLetGo reads on a learner that is cut off, by callers that do not wait for long.
func TestReadsThatNobodyWaitsForAreLetGo(t *testing.T) {
	w := readWaiters{}
	for i := range 100_000 {
		r := &Request{}
		r.abandoned.Store(i%100 > 0)
		w.homeless, w.ready = park(w.homeless, r), park(w.ready, r)
	}
	if h, r := len(w.homeless), len(w.ready); max(h, r) > 4096 || min(h, r) < 1000 {
		t.Errorf("%d and %d reads are kept of 1,000 that somebody waits for", h, r)
	}
}
