package client

import (
	"context"
	"time"
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

	// Lost is called after Lead has returned, before the next campaign, with the error of Lead or the reason why the
	// leadership ended. May be nil.
	Lost func(err error)
}

// Campaign waits until it leads, and proclaims value. See Lock for ctx and errors.
func (c *Client) Campaign(ctx context.Context, name string, value []byte, opts ...Option) (*Leadership, error) {
	return nil, ErrClosed
}

// Proclaim replaces the value of the leader.
func (l *Leadership) Proclaim(ctx context.Context, value []byte) error { return nil }

// Resign ends the leadership, as Unlock does.
func (l *Leadership) Resign(ctx context.Context) error { return nil }

// Leader returns who leads. ErrNoLeader: nobody does.
func (c *Client) Leader(ctx context.Context, name string, opts ...ReadOption) (Leader, error) {
	return Leader{}, ErrClosed
}

// RunElection campaigns, leads, and campaigns again, until ctx ends, Lead returns ErrStop, or the cluster refuses for good. It resigns
// only after Lead has returned, so there is no second leader while Lead runs and the leadership is valid.
func (c *Client) RunElection(ctx context.Context, name string, cb Callbacks, opts ...Option) error {
	return ErrClosed
}
