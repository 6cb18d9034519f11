package client

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// Leadership is a won election: an exclusive lock whose value is what the leader proclaims and whose token is the term.
type Leadership struct{ *Lock }

// Leader is the winner of an election.
type Leader struct {
	Identity string // who, in its own words
	Host     string
	Session  SessionID
	Token    uint64        // the term
	Value    []byte        // what it proclaims
	Since    time.Duration // how long it has led
}

// Callbacks are called by RunElection one after the other, never at once.
type Callbacks struct {
	// Lead leads. It has to return soon after its ctx, the Context of the leadership, is done. After nil or another error it
	// resigns and campaigns again; after ErrStop RunElection ends.
	Lead func(ctx context.Context, l *Leadership) error

	// Lost is called after Lead has returned and the leadership was given back, before the next campaign: with the
	// ErrLockLost that ended it, else the error of Lead, else the reason why the ctx of RunElection ended, else nil. May be nil.
	Lost func(err error)
}

// Campaign waits until it leads, and proclaims value. See Lock for ctx and errors.
func (c *Client) Campaign(ctx context.Context, name string, value []byte, opts ...Option) (*Leadership, error) {
	l, err := c.acquireLock(ctx, opCampaign, []string{name}, wire.Forever, append(slices.Clone(opts), Value(value)))
	if err != nil {
		return nil, err
	}
	return &Leadership{Lock: l}, nil
}

const (
	opCampaign = "campaign for"
	opLeader   = "ask for the leader of"
)

// Proclaim replaces the value of the leader.
func (l *Leadership) Proclaim(ctx context.Context, value []byte) error { return l.SetValue(ctx, value) }

// Resign ends the leadership, as Unlock does.
func (l *Leadership) Resign(ctx context.Context) error { return l.Unlock(ctx) }

// Leader returns who leads. ErrNoLeader: nobody does.
func (c *Client) Leader(ctx context.Context, name string, opts ...ReadOption) (Leader, error) {
	info, err := c.Get(ctx, name, opts...)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Leader{}, err
	}
	for _, h := range info.Holders {
		if h.Mode == ModeExclusive && h.Ended == HowUnknown {
			return Leader{
				Identity: h.Identity, Host: h.Host, Session: h.Session, Token: h.Token, Value: h.Value, Since: h.Since,
			}, nil
		}
	}
	return Leader{}, &Error{Op: opLeader, Name: name, Known: true, Err: ErrNoLeader}
}

// The pauses of RunElection when it leads for less than campaignSteady, or cannot campaign.
const (
	campaignPause    = 50 * time.Millisecond
	campaignPauseMax = 5 * time.Second
	campaignSteady   = 10 * time.Second
)

// RunElection campaigns, leads, and campaigns again, until ctx ends, Lead returns ErrStop, or the cluster refuses for good. It resigns
// only after Lead has returned, so there is no second leader while Lead runs and the leadership is valid. It returns nil after ErrStop,
// else why it ended.
func (c *Client) RunElection(ctx context.Context, name string, cb Callbacks, opts ...Option) error {
	if cb.Lead == nil {
		return &Error{Code: uint16(wire.Invalid), Op: opCampaign, Name: name, Known: true, Err: joined(ErrInvalid, errors.New("Callbacks.Lead is nil"))}
	}
	for attempt := 0; ; attempt++ {
		began := time.Now()
		l, err := c.Campaign(ctx, name, nil, opts...)
		if err == nil {
			began = time.Now()
			err = c.lead(ctx, l, cb)
			if errors.Is(err, ErrStop) {
				return nil
			}
		} else if e, ok := errors.AsType[*Error](err); ok && hopeless(e) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(began) >= campaignSteady {
			attempt = 0
		}
		pause(ctx, attempt, campaignPause, campaignPauseMax)
	}
}

// hopeless reports whether a campaign would not fare better another time. A session that was lost, or a wait that was too long, is no
// reason to stop.
func hopeless(e *Error) bool {
	return errors.Is(e, ErrClosed) || e.final() && !errors.Is(e, ErrNotAcquired) && !errors.Is(e, ErrLockLost)
}

// lead lets the callbacks lead, and returns what Lead did.
func (c *Client) lead(ctx context.Context, l *Leadership, cb Callbacks) error {
	var lost, result error
	_ = c.under(ctx, l.Lock, func(ctx context.Context) error { // that the release is not confirmed yet is of no interest to Lead
		result = cb.Lead(ctx, l)
		lost = l.Err()
		return nil
	})
	if cb.Lost != nil {
		switch {
		case errors.Is(lost, ErrLockLost):
			cb.Lost(lost)
		case result == nil && ctx.Err() != nil:
			cb.Lost(context.Cause(ctx))
		default:
			cb.Lost(result)
		}
	}
	return result
}
