package raft

import (
	"sync"
	"time"
)

// Limits of a node's inbox.
const (
	maxInboxMessages  = 8192    // beyond, log traffic is dropped; peers send it again
	maxInboxProposals = 1 << 16 // beyond, ErrBusy
	maxGathered       = 1 << 20 // bytes of proposals that wait for each other
)

// inbox gathers what comes in for the loop; the loop takes all of it at once.
type inbox struct {
	wake chan struct{} // has room for one

	mu     sync.Mutex // guards the fields below
	closed bool
	next   inputs
	bytes  int // of next.proposals
}

// inputs are what one turn of the loop takes in.
type inputs struct {
	messages  []Message
	proposals []*Request
	reads     []*Request
	calls     []call
}

// call is code for the loop to run. If the node closes first, drop is called instead, unless it is nil.
type call struct {
	run  func(*Engine, time.Duration)
	drop func(error)
}

func (b *inbox) receive(ms []Message) {
	b.mu.Lock()
	switch {
	case b.closed: // nobody will take them
	case len(b.next.messages)+len(ms) <= maxInboxMessages:
		b.next.messages = append(b.next.messages, ms...)
	default:
		for _, m := range ms {
			if m.Urgent() && len(b.next.messages) < 2*maxInboxMessages {
				b.next.messages = append(b.next.messages, m)
			}
		}
	}
	b.mu.Unlock()
	b.signal()
}

func (b *inbox) propose(r *Request) error {
	b.mu.Lock()
	err := b.accepts()
	if err == nil && len(b.next.proposals) >= maxInboxProposals && !r.Proposal.Own {
		err = ErrBusy
	}
	if err == nil {
		b.next.proposals = append(b.next.proposals, r)
		b.bytes += len(r.Proposal.Data)
	}
	b.mu.Unlock()
	b.signal()
	return err
}

func (b *inbox) read(r *Request) error {
	b.mu.Lock()
	err := b.accepts()
	if err == nil {
		b.next.reads = append(b.next.reads, r)
	}
	b.mu.Unlock()
	b.signal()
	return err
}

// call lets the loop run c. On an error neither of its functions is called.
func (b *inbox) call(c call) error {
	b.mu.Lock()
	err := b.accepts()
	if err == nil {
		b.next.calls = append(b.next.calls, c)
	}
	b.mu.Unlock()
	b.signal()
	return err
}

// accepts is called with mu held.
func (b *inbox) accepts() error {
	if b.closed {
		return ErrClosed
	}
	return nil
}

func (b *inbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default: // a wake-up is on its way
	}
}

// take swaps what has gathered for the emptied lists of the turn before. Proposals stay if they are to gather more; but no more than
// so many bytes of them.
func (b *inbox) take(old inputs, gather bool) inputs {
	clear(old.messages)
	clear(old.proposals)
	clear(old.reads)
	clear(old.calls)
	b.mu.Lock()
	in := b.next
	b.next = inputs{old.messages[:0], old.proposals[:0], old.reads[:0], old.calls[:0]}
	if gather && b.bytes < maxGathered {
		b.next.proposals, in.proposals = in.proposals, b.next.proposals
	} else {
		b.bytes = 0
	}
	b.mu.Unlock()
	return in
}

// takeProposals is take for the proposals alone.
func (b *inbox) takeProposals(old []*Request) []*Request {
	clear(old)
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.next.proposals
	b.next.proposals, b.bytes = old[:0], 0
	return list
}

// close refuses all that comes later and returns what was not taken.
func (b *inbox) close() inputs {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	in := b.next
	b.next = inputs{}
	return in
}
