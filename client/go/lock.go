package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// Lock is a hold. It is safe for concurrent use.
type Lock struct {
	session *Session
	life    *life
	call    machine.CallID
	seq     uint64 // of the request that acquired it

	same *Lock // the next one of this session with this token, for its owner

	names    []string
	token    uint64
	floor    uint64
	previous Previous
	behind   int
	granted  time.Time
	owner    uint64
	values   context.Context // of the caller who asked for it

	ended atomic.Bool

	mu      sync.Mutex // guards all below
	cause   error      // why it has ended
	ctx     *checked   // nil before Context
	cancel  context.CancelCauseFunc
	release *call // nil before Unlock
}

// Previous tells how the hold before a grant ended. After HowExpired and HowBroken its holder may have left things half done.
type Previous struct {
	How   How
	Token uint64
}

// newLock returns the hold that a call was granted.
func newLock(s *Session, q *call, g grant) *Lock {
	out := &g.outcome
	return &Lock{
		session: s, life: q.life, call: q.id, seq: q.seq, names: q.request.names, token: out.Token, floor: out.Floor,
		previous: Previous{How: How(out.Previous.How), Token: out.Previous.Token}, behind: int(out.Behind), granted: time.Now(),
		owner: q.request.owner, values: q.values,
	}
}

// held is what a context knows of the hold that it belongs to.
type held struct {
	token   uint64
	owner   uint64
	session *Session
}

type heldKey struct{}

// within returns a context with the values of ctx, without its end, that belongs to the hold.
func (h held) within(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), heldKey{}, h)
}

// TokenFrom returns the token of the innermost lock or lease whose Context ctx comes from.
func TokenFrom(ctx context.Context) (token uint64, ok bool) {
	h, ok := ctx.Value(heldKey{}).(held)
	return h.token, ok
}

// checked is the context of a hold. Its Err looks at the clock, so that a process that was stopped sees the loss at once.
type checked struct {
	context.Context
	err func() error
}

// Err returns why the context has ended, or nil.
func (c *checked) Err() error {
	if c.err() == nil {
		return nil
	}
	<-c.Done() // who ended it is about to say so
	return c.Context.Err()
}

// Name returns the name, of several the first.
func (l *Lock) Name() string { return l.names[0] }

// Names returns all names.
func (l *Lock) Names() []string { return slices.Clone(l.names) }

// Token returns the fencing token: it rises with every grant in the cluster.
func (l *Lock) Token() uint64 { return l.token }

// Floor returns the token of the last exclusive grant, of an exclusive lock its own: a resource refuses what is below the
// highest floor it has seen.
func (l *Lock) Floor() uint64 { return l.floor }

// Context ends when the lock may be lost, or is unlocked. Its cause is ErrReleased, or an ErrLockLost such as ErrSessionExpired.
// It has the values of the context that the lock was asked for with, not its deadline, and marks calls made with it as the owner's.
func (l *Lock) Context() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		ctx, cancel := context.WithCancelCause(held{token: l.token, owner: l.owner, session: l.session}.within(l.values))
		l.ctx, l.cancel = &checked{Context: ctx, err: l.Err}, cancel
		if l.cause != nil {
			cancel(l.cause)
		}
	}
	return l.ctx
}

// Err returns nil while the lock is held, by the clock at this moment, else why not.
func (l *Lock) Err() error {
	if !l.ended.Load() && int64(l.session.c.clock.real()) >= l.life.until.Load() {
		l.end(ErrSessionExpired)
	}
	if !l.ended.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// end ends the hold, for whoever uses it. The first cause counts.
func (l *Lock) end(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	l.ended.Store(true)
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel(cause)
	}
	l.session.c.telemetry.held(l, cause)
}

// ValidUntil returns until when the lock is held if nothing more is heard of the cluster. It has a monotonic reading.
func (l *Lock) ValidUntil() time.Time {
	return l.session.c.clock.at(time.Duration(l.life.until.Load()))
}

// Previous returns how the hold before this one ended.
func (l *Lock) Previous() Previous { return l.previous }

// Behind returns how many waited behind this request when it was granted.
func (l *Lock) Behind() int { return l.behind }

// Session returns the session that the lock lives in.
func (l *Lock) Session() *Session { return l.session }

// Unlock ends the hold. From the call on it counts as ended here, whatever is returned. It may be repeated, and waits until the cluster
// has confirmed it or ctx ends; the release goes on in the background then. ErrLockLost: the hold was gone before; or, if the Error is not
// Known, the session was lost before the release was confirmed, and others may have to wait until it has expired.
func (l *Lock) Unlock(ctx context.Context) error {
	q := l.unlock()
	if !q.ended(ctx) {
		return &Error{Op: opUnlock, Name: l.Name(), Err: context.Cause(ctx)}
	}
	return q.result.err
}

// unlock begins the release, once.
func (l *Lock) unlock() *call {
	q, first := l.releasing()
	if !first {
		return q
	}
	switch err := l.Err(); {
	case errors.Is(err, ErrReleased): // with its session
		q.finish(result{})
	case err != nil:
		q.fail(&Error{Known: true, Err: err})
	default:
		l.end(ErrReleased)
		now, ok := l.session.owner.enter()
		if !ok {
			q.finish(result{}) // the session was closed, and everything with it
			return q
		}
		l.session.owner.release(now, q, l)
		l.session.owner.leave(now)
	}
	return q
}

// releasing returns the call that releases the hold, and whether it is to be begun.
func (l *Lock) releasing() (q *call, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.release == nil {
		l.release, first = newCall(opUnlock, l.Name()), true
	}
	return l.release, first
}

// SetValue replaces the value of the hold, which anybody can read.
func (l *Lock) SetValue(ctx context.Context, value []byte) error {
	q := newCall(opSetValue, l.Name())
	if len(value) > valueMax {
		q.fail(&Error{Known: true, Err: tooLong("value", len(value), valueMax)})
		return q.result.err
	}
	if err := l.Err(); err != nil {
		q.fail(&Error{Known: true, Err: err})
		return q.result.err
	}
	v := &valueChange{
		call: q, name: l.Name(), token: l.token, value: slices.Clone(value), trace: traceOf(ctx),
	}
	return l.session.do(ctx, q, machine.Op{Kind: machine.OpOther, Body: v}).err
}
