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

// Propose stamps a command with cluster time, in place, and returns when it is applied here, or when ctx ends. A node that has
// just been elected first waits for its own first entry. Errors that wrap raft.ErrUnknown leave open whether the command takes
// effect; all others mean that it does not: *raft.NotLeaderError, those of raft.Node.Propose, and the cause of ctx.
func (t *Tenure) Propose(ctx context.Context, data []byte) (Result, error) {
	t.mu.Lock()
	r := t.reign
	for r == nil || !r.Serving() {
		leader := t.leader
		t.mu.Unlock()
		if r == nil {
			return Result{}, &raft.NotLeaderError{Leader: leader}
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		}
		t.mu.Lock()
		r = t.reign
	}
	proposed := time.Now()
	stamp := r.Stamp(proposed.Sub(t.start))
	t.mu.Unlock()

	locktable.SetStamp(data, stamp)
	done, err := t.o.Raft.Propose(ctx, raft.Proposal{Term: r.term, Data: data})
	switch {
	case errors.Is(err, raft.ErrTermOver):
		return Result{}, &raft.NotLeaderError{Leader: t.led()}
	case err != nil:
		return Result{}, err
	}
	outcome, ok := done.Value.(*replica.Outcome)
	if !ok {
		return Result{}, fmt.Errorf("%w: entry %d has been applied without a result", raft.ErrUnknown, done.At.Index)
	}
	t.o.Events.command(outcome.Began.Sub(proposed), outcome.Ended.Sub(outcome.Began))
	return Result{Outcome: outcome, At: done.At, Proposed: proposed}, nil
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
