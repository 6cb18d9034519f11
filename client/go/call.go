package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/wire"
)

// The names of operations in errors.
const (
	opOpen     = "open session"
	opLock     = "lock"
	opTry      = "try to lock"
	opUnlock   = "unlock"
	opSetValue = "set value of"
)

// call is what a caller waits for. Its fields but the channels belong to the owner once it was begun.
type call struct {
	op, name string
	done     chan struct{} // closed when the result is there
	result   result
	queued   chan uint64 // room for one: that it waits behind so many; nil: nobody wants to know

	values  context.Context // of an acquisition: the caller's
	request *acquisition    // nil for what asks for no hold

	id     machine.CallID // 0: not begun, or begun again
	sent   bool           // in some life
	over   bool           // the caller has its result
	last   *Error         // what a node said last
	life   *life          // of the fields below
	seq    uint64
	first  time.Duration // when it was sent first in this life, by the clock's real time
	waited bool
	copies int // that were sent, and of which no node has said that they have no effect
}

// result is what became of a call.
type result struct {
	lock  *Lock
	grant grant
	err   error
}

// grant is what the cluster says of a new hold.
type grant struct {
	outcome wire.Outcome
	first   time.Duration // when the request was sent first, by the clock's real time
	waited  bool
}

func newCall(op, name string) *call {
	return &call{op: op, name: name, done: make(chan struct{})}
}

// finish gives the caller its result. The first one counts.
func (q *call) finish(r result) {
	if !q.over {
		q.over, q.result = true, r
		close(q.done)
	}
}

// fail gives the caller an error.
func (q *call) fail(e *Error) { q.finish(result{err: e.of(q.op, q.name)}) }

// ended waits until the result is there, and reports false if ctx has ended before.
func (q *call) ended(ctx context.Context) bool {
	given := ctx.Done()
	if given == nil {
		<-q.done
		return true
	}
	select {
	case <-q.done:
		return true
	case <-given:
		return isClosed(q.done)
	}
}

// do carries out an operation, and waits for its result as await does.
func (s *Session) do(ctx context.Context, q *call, op machine.Op) result {
	now, ok := s.owner.enter()
	if !ok {
		q.fail(asError(s.why()))
		return q.result
	}
	s.owner.do(now, q, op)
	s.owner.leave(now)
	return s.await(ctx, q)
}

// await waits for the result of a call. When ctx ends the call is given up: then the result says so, or was faster.
func (s *Session) await(ctx context.Context, q *call) result {
	if !q.ended(ctx) {
		cause := context.Cause(ctx)
		s.owner.turn(func(o *owner, now time.Duration) { o.giveUp(now, q, cause) })
		<-q.done // if there was no turn any more, the last one did it
	}
	return q.result
}

// asError returns the *Error of an error, or makes one.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Known: true, Err: err}
}

// acquisition is the request for a hold, in all its repeats.
type acquisition struct {
	call  *call
	names []string
	mode  Mode
	limit uint32

	owner     uint64
	reentrant bool
	delay     time.Duration
	lease     LeaseID
	leaseTTL  time.Duration
	value     []byte
	metadata  []byte
	trace     wire.TraceContext
}

// valueChange is the request to replace the value of a hold.
type valueChange struct {
	call  *call
	name  string
	token uint64
	value []byte
	trace wire.TraceContext
}

// answer is what travels through the machine to the caller.
type answer struct {
	outcome wire.Outcome
	err     *Error // of a refusal
}

// said returns the answer that came back from the machine, an empty one if the machine found its code by itself.
func said(body any) answer {
	if a, ok := body.(*answer); ok {
		return *a
	}
	return answer{}
}

// error returns the error of a call that ended without a hold.
func (a answer) error(code machine.Code) *Error {
	if a.err != nil {
		return a.err
	}
	switch code {
	case machine.NotAcquired, machine.TimedOut:
		return &Error{Code: uint16(a.outcome.Code), Known: true, Err: ErrNotAcquired}
	case machine.NotHeld:
		return &Error{Code: uint16(wire.NotHeld), Known: true, Err: ErrNotHeld}
	case machine.SessionLost, machine.SessionUnknown:
		return &Error{Code: uint16(wire.SessionUnknown), Known: true, Err: ErrSessionExpired}
	default:
		return &Error{Code: uint16(a.outcome.Code), Known: true, Err: fmt.Errorf("%w: it was answered %v", ErrUnavailable, code)}
	}
}
