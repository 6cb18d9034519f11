package tenure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// Result is what became of a command.
type Result struct {
	Outcome  *replica.Outcome
	At       raft.Position
	Proposed time.Time // when it was stamped
}

// Order is a command on its way through a Tenure. Who makes it sets Data and Then and submits it; behind Then it may be submitted
// once more.
type Order struct {
	Data []byte // the encoded command
	// Then is told that Result can be called. The loop of Raft tells it, so Decided must not block.
	Then interface{ Decided() }
	// Stamped is when Submit has stamped it.
	Stamped time.Time

	tenure *Tenure // nil: somebody else has taken it
	done   raft.Result
	err    error
}

var _ raft.Waiter = (*Order)(nil)

// Submit stamps a command with cluster time, in place, and proposes it; o.Then is told when it is applied here, or when that is not to
// be expected any more. A node that has just been elected first waits for its own first entry. Submit does not block. After an error
// o.Then is told nothing, and the command has no effect: *raft.NotLeaderError, and those of raft.Node.Submit.
func (t *Tenure) Submit(o *Order) error {
	o.tenure = t
	t.mu.Lock()
	r := t.reign
	switch {
	case r == nil:
		leader := t.leader
		t.mu.Unlock()
		return &raft.NotLeaderError{Leader: leader}
	case !r.Serving():
		t.early = append(t.early, o)
		t.mu.Unlock()
		return nil
	}
	o.Stamped = time.Now()
	stamp := r.Stamp(o.Stamped.Sub(t.start))
	t.mu.Unlock()
	locktable.SetStamp(o.Data, stamp)
	return t.o.Raft.Submit(raft.Proposal{Term: r.term, Data: o.Data}, o)
}

// Proposed implements raft.Waiter.
func (o *Order) Proposed(done raft.Result, err error) {
	o.done, o.err = done, err
	o.Then.Decided()
}

// Result tells, once, what became of a command that was decided. Errors that wrap raft.ErrUnknown leave open whether it takes effect;
// all others mean that it does not: *raft.NotLeaderError, and those of raft.Node.Propose.
func (o *Order) Result() (Result, error) {
	switch {
	case errors.Is(o.err, raft.ErrTermOver) && o.tenure != nil:
		return Result{}, &raft.NotLeaderError{Leader: o.tenure.led()}
	case o.err != nil:
		return Result{}, o.err
	}
	outcome, ok := o.done.Value.(*replica.Outcome)
	if !ok {
		return Result{}, fmt.Errorf("%w: entry %d has been applied without a result", raft.ErrUnknown, o.done.At.Index)
	}
	if o.tenure != nil {
		o.tenure.o.Events.command(outcome.Began.Sub(o.Stamped), outcome.Ended.Sub(outcome.Began))
	}
	return Result{Outcome: outcome, At: o.done.At, Proposed: o.Stamped}, nil
}

// begin submits what came before the node served.
func (t *Tenure) begin() {
	t.mu.Lock()
	early := t.early
	t.early = nil
	t.mu.Unlock()
	for _, o := range early {
		if err := t.Submit(o); err != nil {
			o.Proposed(raft.Result{}, err)
		}
	}
}

// led returns the leader, if another node is known to be it.
func (t *Tenure) led() raft.PeerID {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reign != nil {
		return raft.PeerID{}
	}
	return t.leader
}

// own proposes a command of the leader's own.
func (l *leadership) own(ctx context.Context, cmd locktable.Command) error {
	data := locktable.Encode(cmd)
	l.mu.Lock()
	stamp := l.reign.Stamp(l.now())
	l.mu.Unlock()
	locktable.SetStamp(data, stamp)
	_, err := l.o.Raft.Propose(ctx, raft.Proposal{Term: l.reign.term, Own: true, Data: data})
	return err
}

// expire ends the sessions that are due, entry by entry, until none is left. What is refused the Keeper asks for again.
func (l *leadership) expire(ctx context.Context) {
	for {
		l.mu.Lock()
		lives := l.reign.Due()
		l.mu.Unlock()
		if len(lives) == 0 {
			return
		}
		err := l.own(ctx, &locktable.Expire{Term: uint64(l.reign.term), Lives: lives})
		l.mu.Lock()
		l.reign.Settle(lives)
		l.mu.Unlock()
		switch {
		case err == nil:
			l.o.Events.expired(len(lives))
		case ctx.Err() == nil:
			l.o.Logger.Warn("expired sessions could not be ended; it is tried again", "sessions", len(lives), "error", err)
		}
	}
}

// tick moves the cluster clock. When it is applied there may be more to do at once.
func (l *leadership) tick(ctx context.Context) {
	err := l.own(ctx, &locktable.Tick{Term: uint64(l.reign.term)})
	l.mu.Lock()
	l.reign.TickOver()
	l.mu.Unlock()
	if err == nil {
		signal(l.wake)
	}
}

// round asks a quorum whether this node still leads. The question goes out after the Keeper asked for it. An answer is worth
// nothing if another leader may have given it.
func (l *leadership) round(ctx context.Context, number uint64) {
	began := time.Now()
	index, err := l.o.Raft.Read(ctx)
	if err == nil {
		err = l.stillLeads(ctx)
	}
	l.mu.Lock()
	l.reign.RoundOver(number, index, err)
	l.mu.Unlock()
	if ctx.Err() == nil {
		l.o.Events.round(time.Since(began), err)
	}
	if err == nil {
		signal(l.soon)
	}
}

var errDeposed = errors.New("tenure: the node does not lead this term any more")

func (l *leadership) stillLeads(ctx context.Context) error {
	s, _, err := l.o.Raft.Status(ctx)
	if err == nil && (s.Role != raft.Leader || s.Term != l.reign.term) {
		err = errDeposed
	}
	return err
}

// resign gives leadership to a node whose loop is on time.
func (l *leadership) resign(ctx context.Context) {
	l.o.Events.unfit()
	err := l.o.Raft.Transfer(ctx, raft.PeerID{})
	if ctx.Err() == nil {
		l.o.Logger.Warn("this node is too slow to lead, and hands over", "term", l.reign.term, "error", err)
	}
}
