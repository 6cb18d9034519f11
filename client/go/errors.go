package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/wire"
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

// reason is the sentinel of a code.
func reason(code wire.Code) error {
	switch code {
	case wire.Held, wire.TimedOut:
		return ErrNotAcquired
	case wire.NotHeld, wire.Gone:
		return ErrNotHeld
	case wire.AlreadyHeld:
		return ErrAlreadyHeld
	case wire.WrongKind:
		return ErrWrongKind
	case wire.SessionUnknown:
		return ErrSessionExpired
	case wire.Invalid, wire.Malformed, wire.TooLarge, wire.TooManyHolds, wire.TooManyWaits, wire.TooManyHere:
		return ErrInvalid
	case wire.TooManyWaiters, wire.Overloaded:
		return ErrOverloaded
	case wire.VersionMismatch, wire.Unsupported:
		return ErrVersion
	case wire.Unauthenticated:
		return ErrUnauthenticated
	case wire.Forbidden:
		return ErrForbidden
	case wire.DiskFull:
		return ErrDiskFull
	case wire.OK, wire.Granted, wire.Reentered, wire.Queued, wire.Cancelled, wire.StaleSeq, wire.WindowFull, wire.Embargo,
		wire.WrongCluster, wire.NoLeader, wire.Interrupted, wire.ShuttingDown, wire.OutOfStep, wire.TooSlow:
	}
	return ErrUnavailable
}

// told is the error of a code, with the words of who said it.
func told(code wire.Code, text string) error {
	sentinel := reason(code)
	if text == "" {
		text = advice(code)
	}
	if text == "" {
		return sentinel
	}
	return fmt.Errorf("%w: %s", sentinel, text)
}

// advice says more than the sentinel, and what may help.
func advice(code wire.Code) string {
	switch code {
	case wire.Embargo:
		return "after a restore nothing is granted until every session of the old cluster must have expired"
	case wire.TooManyHolds, wire.TooManyWaits:
		return code.String() + " of this session: use another one (NewSession)"
	case wire.TooManyHere:
		return code.String() + ": use another session for some of them"
	case wire.TooManyWaiters:
		return code.String() + " of the lock"
	case wire.WrongCluster, wire.NoLeader, wire.Interrupted, wire.ShuttingDown, wire.StaleSeq, wire.WindowFull:
		return code.String()
	default:
		return ""
	}
}

// refusal is the error of a Goodbye.
func refusal(bye *wire.Goodbye, endpoint string) *Error {
	return &Error{Code: uint16(bye.Code), Op: "connect", Endpoint: endpoint, Known: true, Err: told(bye.Code, bye.Text)}
}

// failure is the error of a Failure.
func failure(f *wire.Failure, endpoint string) *Error {
	return &Error{Code: uint16(f.Code), Endpoint: endpoint, Known: f.Known, RetryAfter: f.Wait, Err: told(f.Code, f.Text)}
}

// joined is an error that is both, and reads so.
func joined(first, second error) error { return fmt.Errorf("%w: %w", first, second) }

// of completes an error with what was asked for.
func (e *Error) of(op, name string) *Error {
	full := *e
	full.Op, full.Name = op, name
	return &full
}
