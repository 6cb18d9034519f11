package client

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// SessionID names one life of a session.
type SessionID [16]byte

// String returns the id in hexadecimal.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// SessionConfig says what session NewSession opens. Zero fields are taken from the Config of the client.
type SessionConfig struct {
	TTL      time.Duration // see Config.TTL
	Grace    time.Duration // see Config.Grace
	Identity string        // see Config.Identity
}

// span is for how long the cluster keeps the session after a sign of life, whatever happens to its connection.
func (c *SessionConfig) span() time.Duration { return min(c.TTL, cmp.Or(c.Grace, c.TTL)) }

func (c *SessionConfig) validate(where string) error {
	var errs []error
	ttl := cmp.Or(c.TTL, DefaultTTL)
	if ttl < machine.MinTTL || ttl > machine.MaxTTL {
		errs = append(errs, fmt.Errorf("client: %s.TTL %v is not within %v to %v", where, ttl, machine.MinTTL, machine.MaxTTL))
	}
	if c.Grace != 0 && (c.Grace < machine.MinTTL || c.Grace > ttl) {
		errs = append(errs, fmt.Errorf("client: %s.Grace %v is neither 0 nor within %v to the TTL, %v", where, c.Grace, machine.MinTTL, ttl))
	}
	if len(c.Identity) > identityMax {
		errs = append(errs, fmt.Errorf("client: %s.Identity has %d bytes, more than %d", where, len(c.Identity), identityMax))
	}
	return errors.Join(errs...)
}

// Session keeps a client alive in the eyes of the cluster. When the cluster could not confirm it in time, everything held in it
// is lost, and it goes on with another id; waits go on at the end of their queues. It is safe for concurrent use.
type Session struct {
	c      *Client
	cfg    SessionConfig
	owner  *owner
	ended  chan struct{}   // closed when the owner has ended
	ctx    context.Context // of all that the owner starts
	stop   context.CancelCauseFunc
	owners atomic.Uint64 // the last one that was drawn
	over   atomic.Bool   // it is refused, closing or ended: nothing begins in it any more

	mu     sync.Mutex // guards all below
	life   *life      // the present one, or the one to come
	heard  map[*listener]struct{}
	reason error // why the owner ended
}

// life is what others than the owner see of one life of a session.
type life struct {
	id     SessionID     // set before opened is closed
	opened chan struct{} // closed when it can hold locks
	until  atomic.Int64  // of its validity, by the clock's real time
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// SessionEventKind is what happened to a session.
type SessionEventKind uint8

// The kinds of session events.
const (
	SessionOpened   SessionEventKind = iota + 1 // it can hold locks
	SessionJeopardy                             // more than half of its validity is used up without a confirmation
	SessionSafe                                 // it was confirmed again
	SessionLost                                 // everything held in it is lost; Err says why
)

// String returns the kind in a word.
func (k SessionEventKind) String() string {
	switch k {
	case SessionOpened:
		return "opened"
	case SessionJeopardy:
		return "jeopardy"
	case SessionSafe:
		return "safe"
	case SessionLost:
		return "lost"
	default:
		return "?"
	}
}

// SessionEvent tells what happened to a session.
type SessionEvent struct {
	Kind       SessionEventKind
	ID         SessionID
	ValidUntil time.Time
	Err        error // of SessionLost: why
}

// Session returns the default session. The first call, or the first lock, opens it.
func (c *Client) Session() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.standard; s == nil || s.over.Load() && !c.closed {
		c.standard = c.begin(c.fill(SessionConfig{}))
	}
	return c.standard
}

// NewSession opens a session, and waits until it is open.
func (c *Client) NewSession(ctx context.Context, cfg SessionConfig) (*Session, error) {
	cfg = c.fill(cfg)
	if err := cfg.validate("SessionConfig"); err != nil {
		return nil, &Error{Op: opOpen, Known: true, Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
	}
	c.mu.Lock()
	s := c.begin(cfg)
	c.mu.Unlock()
	q := newCall(opOpen, "")
	if !s.owner.turn(func(o *owner, _ time.Duration) { o.awaitOpen(q) }) {
		q.fail(asError(s.why()))
	}
	if r := s.await(ctx, q); r.err != nil {
		s.stop(ErrReleased)
		<-s.ended
		return nil, r.err
	}
	return s, nil
}

// fill takes what is not set from the configuration of the client.
func (c *Client) fill(cfg SessionConfig) SessionConfig {
	cfg.TTL = cmp.Or(cfg.TTL, c.cfg.TTL)
	cfg.Grace = cmp.Or(cfg.Grace, min(c.cfg.Grace, cfg.TTL))
	cfg.Identity = cmp.Or(cfg.Identity, c.cfg.Identity)
	return cfg
}

// begin starts a session; mu is held. Of a closed client it returns one that has ended.
func (c *Client) begin(cfg SessionConfig) *Session {
	s := &Session{
		c: c, cfg: cfg, ended: make(chan struct{}), heard: make(map[*listener]struct{}),
	}
	s.ctx, s.stop = context.WithCancelCause(c.life)
	s.life = s.newLife()
	var err error
	s.owner, err = newOwner(s)
	if err == nil && c.closed {
		s.owner.over, err = true, ErrClosed
	}
	if err != nil {
		s.end(err)
		return s
	}
	c.sessions[s] = struct{}{}
	c.running.Go(s.owner.run)
	return s
}

// end notes why nobody owns the session any more.
func (s *Session) end(reason error) {
	s.over.Store(true)
	s.mu.Lock()
	s.reason = reason
	s.life.cancel(reason)
	s.mu.Unlock()
	close(s.ended)
	s.stop(reason)
}

// newLife returns a life to come.
func (s *Session) newLife() *life {
	l := &life{opened: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(s.c.life))
	return l
}

// present returns the present life, or the one to come.
func (s *Session) present() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// ID returns the id of the present life, zero while it is not open.
func (s *Session) ID() SessionID {
	if l := s.present(); isClosed(l.opened) {
		return l.id
	}
	return SessionID{}
}

// Context ends when the present life is lost or the session is closed. While it is not open, it is that of the life to come.
func (s *Session) Context() context.Context { return s.present().ctx }

// ValidUntil returns until when everything held in it is held, the zero time while it is not open.
func (s *Session) ValidUntil() time.Time {
	if l := s.present(); isClosed(l.opened) {
		return s.c.clock.at(time.Duration(l.until.Load()))
	}
	return time.Time{}
}

// Close ends the session, and with it everything held in it. It returns when the cluster has confirmed that, or ctx has ended;
// then the session ends by itself when its TTL has passed.
func (s *Session) Close(ctx context.Context) error {
	s.owner.turn(func(o *owner, now time.Duration) { o.close(now) })
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
	}
	s.stop(ErrReleased)
	<-s.ended
	return &Error{Op: "close session", Err: context.Cause(ctx)}
}

// why returns why the session has ended.
func (s *Session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// input is something that happens to a session, in a turn of its owner.
type input func(o *owner, now time.Duration)

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
