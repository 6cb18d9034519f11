package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"
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

// Session keeps a client alive in the eyes of the cluster. When the cluster could not confirm it in time, everything held in it
// is lost, and it goes on with another id; waits go on at the end of their queues. It is safe for concurrent use.
type Session struct{}

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

// Session returns the default session. It is opened with the first lock.
func (c *Client) Session() *Session { return nil }

// NewSession opens a session, and waits until it is open.
func (c *Client) NewSession(ctx context.Context, cfg SessionConfig) (*Session, error) {
	return nil, ErrClosed
}

// ID returns the id of the present life, zero while it is not open.
func (s *Session) ID() SessionID { return SessionID{} }

// Context ends when the present life is lost or the session is closed. While it is not open, it is that of the life to come.
func (s *Session) Context() context.Context { return nil }

// ValidUntil returns until when everything held in it is held, the zero time while it is not open.
func (s *Session) ValidUntil() time.Time { return time.Time{} }

// Events yields what happens to the session from now on, until it is closed. Who is slow misses the oldest but never the last ones.
func (s *Session) Events() iter.Seq[SessionEvent] { return func(func(SessionEvent) bool) {} }

// Close ends the session, and with it everything held in it. It returns when the cluster has confirmed that, or ctx has ended.
func (s *Session) Close(ctx context.Context) error { return nil }

func (c *SessionConfig) validate(where string) error {
	var errs []error
	if c.TTL != 0 && (c.TTL < time.Second || c.TTL > 10*time.Minute) {
		errs = append(errs, fmt.Errorf("client: %s.TTL %v is not within 1s to 10m", where, c.TTL))
	}
	if c.Grace != 0 && (c.Grace < time.Second || c.Grace > max(c.TTL, DefaultTTL)) {
		errs = append(errs, fmt.Errorf("client: %s.Grace %v is neither 0 nor within 1s to the TTL", where, c.Grace))
	}
	if len(c.Identity) > 1024 {
		errs = append(errs, fmt.Errorf("client: %s.Identity has %d bytes, more than 1024", where, len(c.Identity)))
	}
	return errors.Join(errs...)
}
