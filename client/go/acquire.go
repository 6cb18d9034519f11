package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/wire"
)

// Bounds of a request. The cluster may have tighter ones.
const (
	nameMax     = 512
	namesMax    = 64
	valueMax    = 64 << 10
	identityMax = 1024
)

// Lock waits until it holds the lock, first come first served, or until ctx ends; ctx does not bound the hold.
//
// Errors: ErrNotAcquired (MaxWait passed), ErrAlreadyHeld, ErrWrongKind, ErrInvalid, ErrClosed, and the cause of ctx with
// ErrUnavailable if no node was reached.
func (c *Client) Lock(ctx context.Context, name string, opts ...Option) (*Lock, error) {
	return c.acquireLock(ctx, opLock, []string{name}, wire.Forever, opts)
}

// TryLock returns ErrNotAcquired at once when others hold the lock or wait for it.
func (c *Client) TryLock(ctx context.Context, name string, opts ...Option) (*Lock, error) {
	return c.acquireLock(ctx, opTry, []string{name}, 0, opts)
}

// LockAll waits until it holds all of the names, at most 64 distinct ones: all or nothing, with one token, without holding any of
// them while it waits.
func (c *Client) LockAll(ctx context.Context, names []string, opts ...Option) (*Lock, error) {
	return c.acquireLock(ctx, opLock, slices.Clone(names), wire.Forever, opts)
}

// TryLockAll is LockAll without waiting.
func (c *Client) TryLockAll(ctx context.Context, names []string, opts ...Option) (*Lock, error) {
	return c.acquireLock(ctx, opTry, slices.Clone(names), 0, opts)
}

func (c *Client) acquireLock(ctx context.Context, op string, names []string, wait time.Duration, opts []Option) (*Lock, error) {
	d, err := newDemand(c, op, names, wait, opts)
	if err != nil {
		return nil, err
	}
	r := c.acquire(ctx, d)
	return r.lock, r.err
}

// newDemand makes of the options what is asked for, and refuses what the protocol has no form for.
func newDemand(c *Client, op string, names []string, wait time.Duration, opts []Option) (*demand, error) {
	d := &demand{op: op, names: names, mode: ModeExclusive, wait: wait}
	for _, o := range opts {
		o(d)
	}
	if wait == 0 {
		d.wait = 0
	}
	if err := d.check(c); err != nil {
		name := ""
		if len(names) > 0 {
			name = names[0]
		}
		return nil, &Error{Code: uint16(wire.Invalid), Op: op, Name: name, Known: true, Err: err}
	}
	if d.session == nil {
		d.session = c.Session()
	}
	return d, nil
}

func (d *demand) check(c *Client) error {
	if len(d.names) == 0 || len(d.names) > namesMax {
		return fmt.Errorf("%w: %d names; 1 to %d are possible", ErrInvalid, len(d.names), namesMax)
	}
	for i, name := range d.names {
		if err := checkName(name); err != nil {
			return err
		}
		if slices.Contains(d.names[:i], name) {
			return fmt.Errorf("%w: the name %q is there twice", ErrInvalid, name)
		}
	}
	switch {
	case d.mode == ModeSlot && (d.limit < 1 || d.limit > 1<<31):
		return fmt.Errorf("%w: %d slots", ErrInvalid, d.limit)
	case d.wait < 0:
		return fmt.Errorf("%w: a MaxWait of %v", ErrInvalid, d.wait)
	case d.delay < 0:
		return fmt.Errorf("%w: a LockDelay of %v", ErrInvalid, d.delay)
	case len(d.value) > valueMax:
		return tooLong("value", len(d.value), valueMax)
	case d.session != nil && d.session.c != c:
		return fmt.Errorf("%w: InSession names a session of another client", ErrInvalid)
	}
	return nil
}

func tooLong(what string, n, most int) error {
	return fmt.Errorf("%w: the %s has %d bytes; %d are the most", ErrInvalid, what, n, most)
}

func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the name is empty", ErrInvalid)
	case len(name) > nameMax:
		return tooLong("name", len(name), nameMax)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: the name %q is not UTF-8", ErrInvalid, name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: the name %q has a control character", ErrInvalid, name)
		}
	}
	return nil
}

// acquire asks for what is demanded, and waits for it if that is wanted.
func (c *Client) acquire(ctx context.Context, d *demand) result {
	caller := ctx
	ctx, span := c.telemetry.startWait(ctx, d)
	began := time.Now()
	a := &acquisition{
		names: d.names, mode: d.mode, limit: uint32(d.limit), reentrant: d.reentrant, delay: d.delay, lease: d.lease, leaseTTL: d.leaseTTL,
		value: slices.Clone(d.value), trace: traceOf(ctx),
	}
	a.owner = d.session.ownerOf(ctx)
	if len(a.trace) > 0 || d.leaseTTL > 0 { // else the session's says the same
		a.metadata = c.metadata(d.session.cfg.Identity, a.trace)
	}
	q := newCall(d.op, d.names[0])
	q.values, q.request, a.call = caller, a, q
	op := machine.Op{Kind: machine.OpAcquire, Body: a, Lease: d.leaseTTL > 0}
	switch d.wait {
	case 0:
		op.Kind = machine.OpTry
	case wire.Forever:
	default:
		op.Wait = d.wait
	}
	watched := c.watchQueue(ctx, d, q, span)
	r := d.session.do(ctx, q, op)
	watched()
	c.telemetry.endWait(ctx, span, d, time.Since(began), r)
	return r
}

// ownerOf returns the owner that a call with ctx asks as: that of the hold that ctx belongs to, or a fresh one.
func (s *Session) ownerOf(ctx context.Context) uint64 {
	if h, ok := ctx.Value(heldKey{}).(held); ok && h.session == s {
		return h.owner
	}
	return s.owners.Add(1)
}

// watchQueue tells the caller, and the trace, what a request waits for, if anybody wants to know. The function it returns ends
// that and waits until it has ended.
func (c *Client) watchQueue(ctx context.Context, d *demand, q *call, span trace.Span) (stop func()) {
	if d.wait == 0 || d.onQueued == nil && !span.IsRecording() {
		return func() {}
	}
	q.queued = make(chan uint64, 1)
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		var ahead uint64
		select {
		case ahead = <-q.queued:
		case <-ctx.Done():
			return
		}
		info, err := c.Get(ctx, d.names[0], Most(10)) // not Stale: the node may not have heard yet of the hold that it waits for
		if err != nil {
			info = LockInfo{} // then nobody is told who holds it
		}
		blockedBy(span, int(ahead), info.Holders)
		if d.onQueued != nil && ctx.Err() == nil {
			d.onQueued(Queued{Ahead: int(ahead), Holders: info.Holders})
		}
	})
	return func() {
		cancel()
		watch.Wait()
	}
}

// WithLock runs fn under the lock. Its ctx is the lock's: it ends when the lock may be lost or the caller's ctx ends.
// The error of fn and that of Unlock are joined; when the lock was lost meanwhile, the error is an ErrLockLost first of all.
func (c *Client) WithLock(ctx context.Context, name string, fn func(context.Context, *Lock) error, opts ...Option) error {
	l, err := c.Lock(ctx, name, opts...)
	if err != nil {
		return err
	}
	return c.under(ctx, l, func(ctx context.Context) error { return fn(ctx, l) })
}

// under runs fn while a hold lasts, and ends the hold after it, also if fn panics.
func (c *Client) under(ctx context.Context, l *Lock, fn func(context.Context) error) (err error) {
	inner, cancel := context.WithCancelCause(l.Context())
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer func() {
		stop()
		cancel(ErrReleased)
		lost := l.Err()
		if errors.Is(lost, ErrReleased) {
			lost = nil // fn did it
		}
		late, done := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.RequestTimeout)
		defer done()
		unlocked := l.Unlock(late)
		if lost != nil {
			err = errors.Join(unlocked, err) // which says so
		} else {
			err = errors.Join(err, unlocked)
		}
	}()
	return fn(inner)
}
