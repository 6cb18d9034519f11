package client

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
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
type Lease struct{}

// AcquireLease waits until it holds the lock for ttl, from 1 s to 30 days. See Lock for ctx and errors.
func (c *Client) AcquireLease(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lease, error) {
	return nil, ErrClosed
}

// TryLease is AcquireLease without waiting.
func (c *Client) TryLease(ctx context.Context, name string, ttl time.Duration, opts ...Option) (*Lease, error) {
	return nil, ErrClosed
}

// Lease returns a lease that another program acquired, or this one before its restart. Its validity is not known until Renew.
func (c *Client) Lease(ref LeaseRef) *Lease { return nil }

// Ref returns the reference of the lease.
func (l *Lease) Ref() LeaseRef { return LeaseRef{} }

// Token returns the fencing token.
func (l *Lease) Token() uint64 { return 0 }

// Floor returns the token of the last exclusive grant; 0 if the lease was not acquired here.
func (l *Lease) Floor() uint64 { return 0 }

// ValidUntil returns until when the lease is held for certain; the zero time if that is not known.
func (l *Lease) ValidUntil() time.Time { return time.Time{} }

// Context ends when the validity of the lease does: with the cause ErrLockLost, or ErrReleased.
func (l *Lease) Context() context.Context { return nil }

// Err returns nil while the lease is held, by the clock at this moment, else why not.
func (l *Lease) Err() error { return nil }

// Previous returns how the hold before this one ended.
func (l *Lease) Previous() Previous { return Previous{} }

// Renew makes the lease last ttl from now, never shorter than it did. ErrNotHeld: it is gone.
func (l *Lease) Renew(ctx context.Context, ttl time.Duration) error { return nil }

// Release ends the lease. It may be repeated. ErrNotHeld: it was gone already.
func (l *Lease) Release(ctx context.Context) error { return nil }

// HandOn takes the lease over: a grant with a new id and a new token, that lasts ttl from now. The old reference is worth nothing
// afterwards. ErrNotHeld: it is gone.
func (l *Lease) HandOn(ctx context.Context, ttl time.Duration) (*Lease, error) { return nil, ErrClosed }
