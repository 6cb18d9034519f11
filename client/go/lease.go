package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// LeaseID names a lease.
type LeaseID [16]byte

// String returns the id in hexadecimal.
func (id LeaseID) String() string { return hex.EncodeToString(id[:]) }

// LeaseRef is what somebody has to know to renew, release or take over a lease, from whichever program.
type LeaseRef struct {
	Name  string // of the lock, of several any
	ID    LeaseID
	Token uint64
}

// String returns the reference in one word for the shell: ID.TOKEN.NAME.
func (r LeaseRef) String() string {
	return r.ID.String() + "." + strconv.FormatUint(r.Token, 10) + "." + r.Name
}

// ParseLeaseRef reads what LeaseRef.String wrote.
func ParseLeaseRef(s string) (LeaseRef, error) {
	id, rest, _ := strings.Cut(s, ".")
	number, name, ok := strings.Cut(rest, ".")
	raw, err := hex.DecodeString(id)
	if !ok || err != nil || len(raw) != len(LeaseID{}) || name == "" {
		return LeaseRef{}, fmt.Errorf("%w: %q is no lease reference of the form ID.TOKEN.NAME", ErrInvalid, s)
	}
	token, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return LeaseRef{}, fmt.Errorf("%w: %q, the token of the lease reference %q, is no number", ErrInvalid, number, s)
	}
	return LeaseRef{Name: name, ID: LeaseID(raw), Token: token}, nil
}

// Lease is a hold that ends at a time and outlives the program: whoever knows its LeaseRef can renew, release and take it over.
// It is not renewed by itself. It is safe for concurrent use.
type Lease struct {
	c        *Client
	ref      LeaseRef
	floor    uint64
	previous Previous
	ctx      *checked
	cancel   context.CancelCauseFunc

	mu    sync.Mutex    // guards all below
	until time.Duration // of its validity, by the clock's real time; 0: not known
	look  time.Duration // how often the end is looked at: the machine may sleep, and its timers with it
	timer *time.Timer   // for the end of ctx
	ended bool
}

// The names of lease operations in errors.
const (
	opLease   = "acquire lease"
	opRenew   = "renew lease"
	opRelease = "release lease"
	opHandOn  = "take over lease"
)

// AcquireLease waits until it holds the lock for ttl, from 1 s to 30 days. See Lock for ctx and errors. When the session is lost
// while the cluster's answer is on its way, the client looks whether it got the lease; one that is granted after that lasts until its
// ttl has passed.
func (c *Client) AcquireLease(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lease, error) {
	return c.acquireLease(ctx, name, ttl, wire.Forever, opts)
}

// TryLease is AcquireLease without waiting.
func (c *Client) TryLease(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lease, error) {
	return c.acquireLease(ctx, name, ttl, 0, opts)
}

func (c *Client) acquireLease(ctx context.Context, name string, ttl, wait time.Duration, opts []Option) (*Lease, error) {
	d, err := newDemand(c, opLease, []string{name}, wait, opts)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, &Error{Code: uint16(wire.Invalid), Op: opLease, Name: name, Known: true, Err: fmt.Errorf("%w: a TTL of %v", ErrInvalid, ttl)}
	}
	d.lease, d.leaseTTL = newLeaseID(), ttl
	for {
		r := c.acquire(ctx, d)
		switch {
		case r.err == nil:
			return c.granted(ctx, LeaseRef{Name: name, ID: d.lease, Token: r.grant.outcome.Token}, ttl, r.grant)
		case !errors.Is(r.err, ErrSessionExpired) || ctx.Err() != nil:
			return nil, r.err
		}
		// The session was lost; the grant, which outlives it, may be there.
		info, err := c.Get(ctx, name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		for _, h := range info.Holders {
			if h.Lease == d.lease {
				g := grant{waited: true}
				g.outcome.Floor = info.Floor
				return c.granted(ctx, LeaseRef{Name: name, ID: d.lease, Token: h.Token}, ttl, g)
			}
		}
	}
}

func newLeaseID() LeaseID {
	var id LeaseID
	_, _ = rand.Read(id[:]) // it does not fail
	return id
}

// granted returns a new lease. After a wait nobody knows how long ago the grant was: then a renewal tells until when it lasts.
func (c *Client) granted(ctx context.Context, ref LeaseRef, ttl time.Duration, g grant) (*Lease, error) {
	l := c.newLease(ctx, ref, Previous{How: How(g.outcome.Previous.How), Token: g.outcome.Previous.Token}, g.outcome.Floor)
	if !g.waited {
		l.extend(g.first, ttl)
		return l, nil
	}
	if err := l.Renew(ctx, ttl); err != nil {
		c.giveBack(&acquisition{names: []string{ref.Name}, lease: ref.ID}, ref.Token)
		return nil, err
	}
	return l, nil
}

// giveBack releases, in the background, a lease that nobody waits for any more.
func (c *Client) giveBack(a *acquisition, token uint64) {
	c.start(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, leaseGiveBack)
		defer cancel()
		_, _ = c.ask(ctx, releaseLease(LeaseRef{Name: a.names[0], ID: a.lease, Token: token})) // else it ends by itself
	})
}

// leaseGiveBack is for how long the release of a lease that nobody wants is repeated.
const leaseGiveBack = time.Minute

// Lease returns a lease that another program acquired, or this one before its restart. Its validity is not known until Renew.
func (c *Client) Lease(ref LeaseRef) *Lease {
	return c.newLease(c.life, ref, Previous{}, 0)
}

func (c *Client) newLease(values context.Context, ref LeaseRef, previous Previous, floor uint64) *Lease {
	l := &Lease{c: c, ref: ref, floor: floor, previous: previous}
	ctx, cancel := context.WithCancelCause(held{token: ref.Token}.within(values))
	l.ctx, l.cancel = &checked{Context: ctx, err: l.Err}, cancel
	return l
}

// Ref returns the reference of the lease.
func (l *Lease) Ref() LeaseRef { return l.ref }

// Token returns the fencing token.
func (l *Lease) Token() uint64 { return l.ref.Token }

// Floor returns the token of the last exclusive grant; 0 if the lease was not acquired here.
func (l *Lease) Floor() uint64 { return l.floor }

// Previous returns how the hold before this one ended.
func (l *Lease) Previous() Previous { return l.previous }

// Context ends when the validity of the lease does: with the cause ErrLockLost, or ErrReleased. It has the values of the context
// that the lease was asked for with.
func (l *Lease) Context() context.Context { return l.ctx }

// ValidUntil returns until when the lease is held for certain; the zero time if that is not known.
func (l *Lease) ValidUntil() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == 0 {
		return time.Time{}
	}
	return l.c.clock.at(l.until)
}

// Err returns nil while the lease is held, by the clock at this moment, or its validity is not known; else why it is not.
func (l *Lease) Err() error {
	l.mu.Lock()
	if !l.ended && l.until != 0 && l.c.clock.real() >= l.until {
		l.stop(errLeaseOver)
	}
	ended := l.ended
	l.mu.Unlock()
	if !ended {
		return nil
	}
	return context.Cause(l.ctx.Context)
}

// errLeaseOver is ErrLockLost too.
var errLeaseOver error = lossError("the lease ran out")

// stop ends the lease for whoever uses it; mu is held. The first cause counts.
func (l *Lease) stop(cause error) {
	if l.ended {
		return
	}
	l.ended = true
	l.cancel(cause)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// extend moves the validity to what a confirmation of something sent at a time carries, only ever forwards. See client/README.md
// section 3.
func (l *Lease) extend(sent, ttl time.Duration) {
	margin := marginOf(ttl)
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := sent + ttl/100*99 - margin; until > l.until {
		l.until, l.look = until, margin
	}
	if l.timer == nil && !l.ended {
		l.timer = time.AfterFunc(l.nap(), l.check)
	}
}

// nap is how long until the end has to be looked at; mu is held.
func (l *Lease) nap() time.Duration { return min(max(l.until-l.c.clock.real(), 0), l.look) }

// check ends the lease when it is over, else looks again later.
func (l *Lease) check() {
	if l.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.timer.Reset(max(l.nap(), time.Millisecond))
	}
}

// Renew makes the lease last ttl from now, never shorter than it did. ErrNotHeld: it is gone.
func (l *Lease) Renew(ctx context.Context, ttl time.Duration) error {
	var sent time.Duration
	trace := traceOf(ctx)
	m, err := l.c.ask(ctx, &query{
		op: opRenew, name: l.ref.Name, changes: true, sent: func(at time.Duration) { sent = at },
		request: func(id uint64) wire.Message {
			return &wire.RenewLease{ID: id, Trace: trace, Name: l.ref.Name, Lease: wire.ID(l.ref.ID), Token: l.ref.Token, TTL: ttl}
		},
	})
	if err == nil {
		_, err = outcomeOf(m, opRenew, l.ref.Name)
	}
	switch {
	case err == nil:
		l.extend(sent, ttl)
	case errors.Is(err, ErrNotHeld):
		l.over(ErrLockLost)
	}
	return err
}

func (l *Lease) over(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop(cause)
}

// Release ends the lease. It may be repeated. ErrNotHeld: it was gone already.
func (l *Lease) Release(ctx context.Context) error {
	l.over(ErrReleased)
	q := releaseLease(l.ref)
	m, err := l.c.ask(ctx, q)
	if err != nil {
		return err
	}
	if _, err = outcomeOf(m, opRelease, l.ref.Name); errors.Is(err, ErrNotHeld) && q.tries > 0 && q.reached {
		return nil // the first one did it, most likely; it is released in any case
	}
	return err
}

func releaseLease(ref LeaseRef) *query {
	return &query{op: opRelease, name: ref.Name, changes: true, frees: true, request: func(id uint64) wire.Message {
		return &wire.ReleaseLease{ID: id, Name: ref.Name, Lease: wire.ID(ref.ID), Token: ref.Token}
	}}
}

// HandOn takes the lease over: a grant with a new id and a new token, that lasts ttl from now. The old reference is worth nothing
// afterwards. ErrNotHeld: it is gone.
func (l *Lease) HandOn(ctx context.Context, ttl time.Duration) (*Lease, error) {
	first := time.Duration(-1)
	id, trace := newLeaseID(), traceOf(ctx)
	metadata := l.c.metadata(l.c.cfg.Identity, trace)
	m, err := l.c.ask(ctx, &query{
		op: opHandOn, name: l.ref.Name, changes: true,
		sent: func(at time.Duration) {
			if first < 0 {
				first = at
			}
		},
		request: func(request uint64) wire.Message {
			return &wire.TakeLease{
				ID: request, Trace: trace, Name: l.ref.Name, Lease: wire.ID(l.ref.ID), Token: l.ref.Token, NewLease: wire.ID(id), TTL: ttl,
				Metadata: metadata,
			}
		},
	})
	if err != nil {
		return nil, err
	}
	out, err := outcomeOf(m, opHandOn, l.ref.Name)
	if err != nil {
		if errors.Is(err, ErrNotHeld) {
			l.over(ErrLockLost)
		}
		return nil, err
	}
	l.over(ErrReleased)
	return l.c.granted(ctx, LeaseRef{Name: l.ref.Name, ID: id, Token: out.Token}, ttl, grant{outcome: *out, first: first})
}

// outcomeOf returns what the log decided, or the error that it means.
func outcomeOf(m wire.Message, op, name string) (*wire.Outcome, error) {
	r, ok := m.(*wire.Reply)
	if !ok {
		return nil, unexpected(m, op, name)
	}
	switch r.Outcome.Code {
	case wire.OK, wire.Granted:
		return &r.Outcome, nil
	default:
		return nil, &Error{Code: uint16(r.Outcome.Code), Op: op, Name: name, Known: true, Err: told(r.Outcome.Code, "")}
	}
}

// unexpected is the error of an answer that does not belong to its request.
func unexpected(m wire.Message, op, name string) error {
	return &Error{Op: op, Name: name, Err: fmt.Errorf("%w: the node answered with %v", ErrUnavailable, m.Type())}
}
