package client

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// The errors of this package, to be compared with errors.Is. All but ErrStop come inside an *Error, or as the cause of a context.
var (
	ErrNotAcquired     = errors.New("not acquired: others hold the lock")            // TryLock, MaxWait
	ErrLockLost        = errors.New("the lock is lost")                              // its validity ended, or somebody ended it
	ErrReleased        = errors.New("released")                                      // by this program
	ErrNotHeld         = errors.New("no such hold (any more)")                       // Unlock, Renew and so on of what is gone
	ErrAlreadyHeld     = errors.New("this owner holds it, or waits for it, already") // would wait for itself
	ErrWrongKind       = errors.New("the lock is in use with another kind or number of slots")
	ErrNotFound        = errors.New("not found")
	ErrNoLeader        = errors.New("nobody leads")     // Client.Leader
	ErrUnavailable     = errors.New("no node answered") // the ctx ended before one did
	ErrOverloaded      = errors.New("the cluster is overloaded")
	ErrDiskFull        = errors.New("the cluster's disk is full")
	ErrInvalid         = errors.New("invalid") // a field of the request breaks a rule or a limit
	ErrVersion         = errors.New("no protocol version in common")
	ErrUnauthenticated = errors.New("the credential is missing or wrong")
	ErrForbidden       = errors.New("not allowed")
	ErrClosed          = errors.New("the client is closed")

	// ErrStop, returned by Callbacks.Lead, ends RunElection without an error.
	ErrStop = errors.New("stop the election")

	// ErrSessionExpired is ErrLockLost too.
	ErrSessionExpired error = lossError("the session expired")

	// ErrBroken is ErrLockLost too: an operator ended the hold, or its lease was taken over.
	ErrBroken error = lossError("somebody else ended the hold")
)

// lossError is a reason why a lock is lost.
type lossError string

func (l lossError) Error() string { return "the lock is lost: " + string(l) }

// Is makes every reason an ErrLockLost.
func (l lossError) Is(target error) bool { return target == ErrLockLost }

// Error says what failed, why, and whether its outcome is known.
type Error struct {
	Code       uint16        // of client/README.md section 8; 0: the cluster did not say it
	Op         string        // what was asked for, such as "lock"
	Name       string        // of the lock, or empty
	Endpoint   string        // of the node that said it, if one did
	Known      bool          // true: it had no effect and will have none. False: nobody knows, or a part took effect
	RetryAfter time.Duration // what the cluster advises, 0 if nothing
	Err        error         // a sentinel, often with a text
}

// Error returns all of it in one line.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lockd: %s", e.Op)
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Endpoint != "" {
		fmt.Fprintf(&b, " (told by %s)", e.Endpoint)
	}
	if !e.Known {
		b.WriteString("; the outcome is not known")
	}
	return b.String()
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }
