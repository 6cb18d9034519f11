package front

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
)

// Pauses that a refusal asks for.
const (
	patience     = 50 * time.Millisecond // when too much is waiting
	leaderless   = 25 * time.Millisecond // when another leader is to be expected
	diskPatience = time.Second           // when the disk is nearly full
)

// command is a command on its way to the log.
type command struct {
	asker   asker
	order   order
	kind    wire.Type
	entry   tenure.Order // on its way into the log, on the leader
	arrived time.Time
	rests   time.Time  // it is not offered to the leader before
	span    trace.Span // of the request; nil if there is none
	batch   uint64     // of a Forward that it came by
	place   uint64     // in it
}

// asker is whoever a command came from.
type asker interface {
	// answer takes the verdict, once for every command. It does not block.
	answer(cmd *command, v *verdict)
	front() *Front
}

// verdict is what became of a command: an outcome of the log, or a failure.
type verdict struct {
	index   uint64
	clock   time.Duration
	outcome wire.Outcome // a code from 100 on is a failure

	known bool // of a failure: it had no effect and will have none
	wait  time.Duration
	text  string
}

// refusal is the verdict on a request that had no effect and will have none.
func refusal(code wire.Code, wait time.Duration, text string) *verdict {
	return &verdict{outcome: wire.Outcome{Code: code}, known: true, wait: wait, text: text}
}

func (v *verdict) failure(id uint64) *wire.Failure {
	return &wire.Failure{ID: id, Code: v.outcome.Code, Known: v.known, Wait: v.wait, Text: clip(v.text)}
}

// accepts counts a command among what is pending, and says why if it is not to be passed on.
func (f *Front) accepts(cmd *command) *verdict {
	waiting := f.pending.Add(int64(len(cmd.entry.Data)))
	switch {
	case len(cmd.entry.Data) > wire.CommandMax:
		text := fmt.Sprintf("the command has %d bytes, at most %d are allowed", len(cmd.entry.Data), wire.CommandMax)
		return refusal(wire.TooLarge, 0, text)
	case waiting > int64(f.o.Limits.PendingBytes):
		return refusal(wire.Overloaded, patience, fmt.Sprintf("commands of %d bytes wait for an answer", waiting))
	case cmd.order.grows && f.o.Grow != nil:
		if err := f.o.Grow(); err != nil {
			return refusal(wire.DiskFull, diskPatience, err.Error())
		}
	}
	return nil
}

// finish gives a command its verdict.
func (f *Front) finish(cmd *command, v *verdict) {
	f.pending.Add(-int64(len(cmd.entry.Data)))
	endSpan(cmd.span, v)
	cmd.asker.answer(cmd, v)
}

// propose brings a command into the log, on the leader. It does not block.
func (f *Front) propose(cmd *command) {
	cmd.entry.Then = cmd
	if err := f.o.Tenure.Submit(&cmd.entry); err != nil {
		f.undecided(cmd, err)
	}
}

// Decided tells that the command has come through the log, or is stuck in it.
func (cmd *command) Decided() { cmd.asker.front().crew.settle(cmd) }

// settle tells what became of a command that was proposed.
func (f *Front) settle(ctx context.Context, cmd *command) {
	r, err := cmd.entry.Result()
	if err != nil {
		f.undecided(cmd, err)
		return
	}
	f.traceResult(ctx, cmd, r)
	f.finish(cmd, f.decided(r))
}

// undecided deals with a command that the log did not decide. One of a client that was not taken since somebody else leads waits for
// that one; one that another node sent here has been sent once, and is not sent on.
func (f *Front) undecided(cmd *command, err error) {
	if _, own := cmd.asker.(*client); own && !errors.Is(err, raft.ErrUnknown) && leadsNot(err) {
		f.routes.again(cmd)
		return
	}
	f.finish(cmd, failed(err))
}

// decided is the verdict of the log.
func (f *Front) decided(r tenure.Result) *verdict {
	reply := r.Outcome.Reply
	return &verdict{index: reply.Index, clock: f.clock(), outcome: outcomeOf(reply)}
}

// leadsNot reports whether a command was not taken because this node does not lead, or not any more.
func leadsNot(err error) bool {
	var other *raft.NotLeaderError
	return errors.As(err, &other) || errors.Is(err, raft.ErrTermOver) || errors.Is(err, raft.ErrTransferring) ||
		errors.Is(err, raft.ErrNoState)
}

// failed is the verdict on a command that the log did not decide as far as this node knows.
func failed(err error) *verdict {
	switch {
	case errors.Is(err, raft.ErrUnknown):
		return interrupted(err.Error())
	case leadsNot(err):
		return refusal(wire.NoLeader, leaderless, "leadership has just changed")
	case errors.Is(err, raft.ErrBusy):
		return refusal(wire.Overloaded, patience, err.Error())
	case errors.Is(err, raft.ErrTooLarge):
		return refusal(wire.TooLarge, 0, err.Error())
	case errors.Is(err, raft.ErrDiskFull):
		return refusal(wire.DiskFull, diskPatience, err.Error())
	case errors.Is(err, raft.ErrClosed):
		return refusal(wire.ShuttingDown, 0, "the node is shutting down")
	}
	return interrupted(err.Error())
}

// interrupted is the verdict on a command of which nobody knows whether it takes effect.
func interrupted(text string) *verdict {
	return &verdict{outcome: wire.Outcome{Code: wire.Interrupted}, wait: leaderless, text: text}
}
