package tenure

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// Raft is a raft.Node.
type Raft interface {
	Propose(ctx context.Context, p raft.Proposal) (raft.Result, error)
	Submit(p raft.Proposal, w raft.Waiter) error
	Read(ctx context.Context) (raft.Index, error)
	Status(ctx context.Context) (raft.Status, raft.Index, error)
	Transfer(ctx context.Context, to raft.PeerID) error
}

// State is a replica.Replica. View runs f with the table as it is at one entry; f must not block.
type State interface {
	View(f func(t *locktable.Table))
}

// Options are what a Tenure is made of.
type Options struct {
	Raft  Raft
	State State
	// Answer takes the answers to KeepAlives, with the cluster time at which they were decided. It must not block, and the
	// slice is its own during the call only.
	Answer func(clock time.Duration, answers []session.Answer)
	Logger *slog.Logger // nil: nothing is logged
	Events Events
}

// Tenure is the leader's part of a node.
type Tenure struct {
	o     Options
	start time.Time     // of the clock that Keepers are driven by
	wake  chan struct{} // has room for one: take a turn now
	soon  chan struct{} // has room for one: take a turn when pace allows

	mu      sync.Mutex // guards the fields below and what is in a Reign
	reign   *Reign     // nil while the node does not lead
	early   []*Order   // came before it serves
	leader  raft.PeerID
	applied raft.Position // the last entry applied here
}

// New returns a Tenure. It does nothing until Run, but what it is told meanwhile counts.
func New(o Options) *Tenure {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Tenure{o: o, start: time.Now(), wake: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
}

// now is the monotonic time that Keepers count. It is to be read under mu, after what it is read for has arrived.
func (t *Tenure) now() time.Duration { return time.Since(t.start) }

// Standing tells what the node is in its term. Calls come one after another.
func (t *Tenure) Standing(s raft.Standing) {
	for _, o := range t.stand(s) {
		o.Proposed(raft.Result{}, &raft.NotLeaderError{Leader: s.Leader})
	}
}

// stand returns the orders that waited for a reign which is over.
func (t *Tenure) stand(s raft.Standing) (early []*Order) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leader = s.Leader
	leads := s.Role == raft.Leader
	if t.reign != nil && (!leads || t.reign.term != s.Term) {
		t.reign.End()
		t.reign = nil
		early, t.early = t.early, nil
	}
	if leads && t.reign == nil {
		t.reign = NewReign(s.Term, t.now())
	}
	signal(t.wake)
	return early
}

// Applied tells that an entry was applied. The caller holds the lock of the table.
func (t *Tenure) Applied(a replica.Applied) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applied = raft.Position{Index: a.Index, Term: a.Term}
	if t.reign == nil {
		return
	}
	t.reign.Applied(t.now(), a)
	if !t.reign.Serving() && a.Term == t.reign.term {
		signal(t.wake)
	}
}

// KeepAlive takes in signs of life. Those that can be answered are, by Options.Answer, in any order. Without leadership they are
// dropped: they come again.
func (t *Tenure) KeepAlive(kas []session.KeepAlive) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reign == nil {
		return
	}
	t.reign.KeepAlive(t.now(), kas)
	signal(t.soon)
}

// Disconnected takes a node's report that the connections of these sessions have closed, after the KeepAlives it had of them.
func (t *Tenure) Disconnected(lives []session.Life) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reign == nil {
		return
	}
	t.reign.Disconnected(t.now(), lives)
	signal(t.soon)
}

// Clock returns the cluster time now, if the node leads and serves.
func (t *Tenure) Clock() (clock time.Duration, leads bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reign == nil || !t.reign.Serving() {
		return 0, false
	}
	return t.reign.Stamp(t.now()), true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is on its way
	}
}
