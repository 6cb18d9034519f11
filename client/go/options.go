package client

import "time"

// An Option says how a lock is asked for.
type Option func(*demand)

// A ReadOption says how something is read.
type ReadOption func(*reading)

// Shared asks for a reader's hold: any number of them at once, and no exclusive one beside them.
func Shared() Option { return func(d *demand) { d.mode = ModeShared } }

// Slots asks for one of limit slots. All who use the lock must name the same limit.
func Slots(limit int) Option {
	return func(d *demand) { d.mode, d.limit = ModeSlot, limit }
}

// MaxWait bounds the wait at the cluster too: when d has passed, ErrNotAcquired is returned.
func MaxWait(d time.Duration) Option { return func(o *demand) { o.wait = d } }

// Reentrant lets the owner of a lock, a call whose ctx comes from its Lock.Context, enter it again. Each entry is left by its own
// Unlock.
func Reentrant() Option { return func(d *demand) { d.reentrant = true } }

// LockDelay keeps the name taken for d, at most a minute, if the hold ends because its session expired, so that what the
// old holder had sent can arrive before there is a new one.
func LockDelay(d time.Duration) Option { return func(o *demand) { o.delay = d } }

// Value is shown to whoever looks at the lock, up to 64 KiB.
func Value(v []byte) Option { return func(d *demand) { d.value = v } }

// InSession asks within a session other than the default one.
func InSession(s *Session) Option { return func(d *demand) { d.session = s } }

// OnQueued is called once, in a goroutine of its own, when the request has to wait. The call returns only after f has.
func OnQueued(f func(Queued)) Option { return func(d *demand) { d.onQueued = f } }

// Stale reads what the asked node knows, without asking the others. It is faster and may be old.
func Stale() ReadOption { return func(r *reading) { r.stale = true } }

// Most bounds how many holders and how many waiters Get tells, from 1 to 1000.
func Most(n int) ReadOption { return func(r *reading) { r.most = n } }

// Queued tells what stands before a request that waits.
type Queued struct {
	Ahead   int      // waiters before it, in the longest of its queues
	Holders []Holder // who holds the lock by then; empty if that could not be read
}

// demand is what the options make of a request for a lock.
type demand struct {
	op        string
	names     []string
	mode      Mode
	limit     int
	wait      time.Duration // 0: try; wire.Forever
	reentrant bool
	delay     time.Duration
	value     []byte
	session   *Session
	onQueued  func(Queued)
	lease     LeaseID
	leaseTTL  time.Duration // 0: the hold lives with its session
}

// reading is what the options make of a read.
type reading struct {
	stale bool
	most  int
}
