package client

import (
	"context"
	"time"
)

// Lock is a hold. It is safe for concurrent use.
type Lock struct{}

// Previous tells how the hold before a grant ended. After HowExpired and HowBroken its holder may have left things half done.
type Previous struct {
	How   How
	Token uint64
}

// Lock waits until it holds the lock, first come first served, or until ctx ends; ctx does not bound the hold.
//
// Errors: ErrNotAcquired (MaxWait passed), ErrAlreadyHeld, ErrWrongKind, ErrInvalid, ErrClosed, and the cause of ctx with
// ErrUnavailable if no node was reached.
func (c *Client) Lock(ctx context.Context, name string, opts ...Option) (*Lock, error) {
	return nil, ErrClosed
}

// TryLock returns ErrNotAcquired at once when others hold the lock or wait for it.
func (c *Client) TryLock(ctx context.Context, name string, opts ...Option) (*Lock, error) {
	return nil, ErrClosed
}

// LockAll waits until it holds all of the names, at most 64 distinct ones: all or nothing, with one token, without holding any of
// them while it waits.
func (c *Client) LockAll(ctx context.Context, names []string, opts ...Option) (*Lock, error) {
	return nil, ErrClosed
}

// TryLockAll is LockAll without waiting.
func (c *Client) TryLockAll(ctx context.Context, names []string, opts ...Option) (*Lock, error) {
	return nil, ErrClosed
}

// WithLock runs fn under the lock. Its ctx is the lock's: it ends when the lock may be lost or the caller's ctx ends.
// The error of fn and that of Unlock are joined; when the lock was lost meanwhile, the error is ErrLockLost.
func (c *Client) WithLock(ctx context.Context, name string, fn func(context.Context, *Lock) error, opts ...Option) error {
	return ErrClosed
}

// Name returns the name, of several the first.
func (l *Lock) Name() string { return "" }

// Names returns all names.
func (l *Lock) Names() []string { return nil }

// Token returns the fencing token: it rises with every grant in the cluster.
func (l *Lock) Token() uint64 { return 0 }

// Floor returns the token of the last exclusive grant, of an exclusive lock its own: a resource refuses what is below the
// highest floor it has seen.
func (l *Lock) Floor() uint64 { return 0 }

// Context ends when the lock may be lost, or is unlocked. Its cause is ErrReleased, or an ErrLockLost such as ErrSessionExpired.
// It has the values of the context that the lock was asked for with, not its deadline, and marks calls made with it as the owner's.
func (l *Lock) Context() context.Context { return nil }

// Err returns nil while the lock is held, by the clock at this moment, else why not.
func (l *Lock) Err() error { return nil }

// ValidUntil returns until when the lock is held if nothing more is heard of the cluster. It has a monotonic reading.
func (l *Lock) ValidUntil() time.Time { return time.Time{} }

// Previous returns how the hold before this one ended.
func (l *Lock) Previous() Previous { return Previous{} }

// Behind returns how many waited behind this request when it was granted.
func (l *Lock) Behind() int { return 0 }

// Session returns the session that the lock lives in.
func (l *Lock) Session() *Session { return nil }

// Unlock ends the hold. From the call on it counts as ended here, whatever is returned. It may be repeated, and waits until the cluster
// has confirmed it or ctx ends; the release goes on in the background then. ErrLockLost: the hold was gone before.
func (l *Lock) Unlock(ctx context.Context) error { return nil }

// SetValue replaces the value of the hold.
func (l *Lock) SetValue(ctx context.Context, value []byte) error { return nil }

// TokenFrom returns the token of the innermost lock whose Context ctx comes from.
func TokenFrom(ctx context.Context) (token uint64, ok bool) { return 0, false }
