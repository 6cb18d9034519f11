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

// call is what a caller waits for. Its fields but the channels belong to the owner once it was posted.
type call struct {
	op, name string
	done     chan result // room for one
	queued   chan uint64 // room for one: that it waits behind so many

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
	return &call{op: op, name: name, done: make(chan result, 1), queued: make(chan uint64, 1)}
}

// finish gives the caller its result. The first one counts.
func (q *call) finish(r result) {
	if !q.over {
		q.over = true
		q.done <- r
	}
}

// fail gives the caller an error.
func (q *call) fail(e *Error) { q.finish(result{err: e.of(q.op, q.name)}) }

// await hands a call to the owner, and waits for its result. When ctx ends it is given up: then the result says so, or was faster.
func (s *Session) await(ctx context.Context, q *call, begin input) result {
	if !s.post(begin) {
		return s.gone(q)
	}
	select {
	case r := <-q.done:
		return r
	case <-s.ended:
		return s.gone(q)
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	s.post(func(o *owner, now time.Duration) { o.giveUp(now, q, cause) })
	select {
	case r := <-q.done:
		return r
	case <-s.ended:
		return s.gone(q)
	}
}

// gone is the result of a call that nobody owns any more.
func (s *Session) gone(q *call) result {
	select {
	case r := <-q.done:
		return r
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return result{err: asError(s.reason).of(q.op, q.name)}
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
