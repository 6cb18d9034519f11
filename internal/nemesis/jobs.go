package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/history"
)

const (
	perFamily = 3 // names of each kind of work and group in an epoch
	slotLimit = 3
)

// actor is one client of a worker, for one goroutine.
type actor struct {
	*worker
	client   *client.Client
	register register
	dice     *rand.Rand
}

// job is one kind of work.
type job struct {
	name   string
	weight int
	do     func(*actor, context.Context)
}

func jobs() []job {
	return []job{
		{"lock", 5, (*actor).lock},
		{"try", 3, (*actor).try},
		{"shared", 4, (*actor).shared},
		{"slots", 3, (*actor).slots},
		{"multi", 3, (*actor).multi},
		{"lease", 4, (*actor).lease},
		{"election", 3, (*actor).election},
		{"counter", 5, (*actor).counter},
		{"query", 2, (*actor).query},
	}
}

// occupation is the job of clients that hold what they get for long. It is done where nothing else is.
const occupation = "occupy"

// mine returns the jobs that the worker is to do.
func (a *actor) mine() []job {
	all := jobs()
	if a.config.Only == "" {
		return all
	}
	all = append(all, job{occupation, 1, (*actor).occupy})
	return slices.DeleteFunc(all, func(j job) bool { return j.name != a.config.Only })
}

// step does one job, and then nothing for a moment.
func (a *actor) step(ctx context.Context) {
	all := a.mine()
	sum := 0
	for _, j := range all {
		sum += j.weight
	}
	n := a.dice.IntN(sum)
	i := slices.IndexFunc(all, func(j job) bool {
		n -= j.weight
		return n < 0
	})
	all[i].do(a, ctx)
	pause(ctx, time.Duration(a.dice.ExpFloat64()*float64(4*time.Millisecond)))
}

// last wants one more lock, which must be granted: everything has been healed.
func (a *actor) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, finalLimit, errors.New("no grant although everything has been healed"))
	defer cancel()
	h, err := a.acquire(ctx, history.Operation{Keys: []string{fmt.Sprintf("last/g%d", a.config.Group)}, Mode: history.Exclusive}, a.client.Lock)
	if err != nil {
		return fmt.Errorf("the last lock: %w", err)
	}
	return a.release(ctx, h)
}

// key draws a name of the present epoch.
func (a *actor) key(family string) string { return a.keyNumber(family, a.dice.IntN(perFamily)) }

func (a *actor) keyNumber(family string, n int) string {
	return fmt.Sprintf("e%d/g%d/%s/%d", (history.Now()-a.config.Start)/int64(a.config.Epoch), a.config.Group, family, n)
}

// patience draws for how long a job waits for its lock: some give up soon, so that waits are cancelled.
func (a *actor) patience() time.Duration {
	if a.dice.IntN(5) == 0 {
		return time.Duration(a.dice.Int64N(int64(100 * time.Millisecond)))
	}
	return 2*time.Second + time.Duration(a.dice.Int64N(int64(6*time.Second)))
}

// busy draws for how long a lock is held: mostly a moment, now and then for long.
func (a *actor) busy() time.Duration {
	if a.dice.IntN(60) == 0 {
		return time.Duration(a.dice.Int64N(int64(2 * time.Second)))
	}
	return time.Duration(a.dice.ExpFloat64() * float64(3*time.Millisecond))
}

func (a *actor) lock(ctx context.Context) {
	a.under(ctx, history.Operation{Keys: []string{a.key("lock")}, Mode: history.Exclusive}, a.client.Lock)
}

func (a *actor) try(ctx context.Context) {
	a.under(ctx, history.Operation{Keys: []string{a.key("lock")}, Mode: history.Exclusive, Try: true}, a.client.TryLock)
}

func (a *actor) shared(ctx context.Context) {
	if keys := []string{a.key("shared")}; a.dice.IntN(3) == 0 {
		a.under(ctx, history.Operation{Keys: keys, Mode: history.Exclusive}, a.client.Lock)
	} else {
		a.under(ctx, history.Operation{Keys: keys, Mode: history.Shared}, a.client.Lock, client.Shared())
	}
}

func (a *actor) slots(ctx context.Context) {
	a.under(ctx, history.Operation{Keys: []string{a.key("slots")}, Mode: history.Slot, Limit: slotLimit}, a.client.Lock, client.Slots(slotLimit))
}

// multi takes some of the names that others take one at a time.
func (a *actor) multi(ctx context.Context) {
	if a.dice.IntN(3) == 0 {
		a.under(ctx, history.Operation{Keys: []string{a.key("multi")}, Mode: history.Exclusive}, a.client.Lock)
		return
	}
	var keys []string
	for _, n := range a.dice.Perm(perFamily)[:2] {
		keys = append(keys, a.keyNumber("multi", n))
	}
	a.under(ctx, history.Operation{Keys: keys, Mode: history.Exclusive}, func(ctx context.Context, _ string, opts ...client.Option) (*client.Lock, error) {
		return a.client.LockAll(ctx, keys, opts...)
	})
}

// under acquires, holds for a moment, and releases.
func (a *actor) under(ctx context.Context, o history.Operation, acquire acquisition, opts ...client.Option) {
	waiting, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	h, err := a.acquire(waiting, o, acquire, opts...)
	if err != nil {
		return // it is recorded
	}
	a.keep(ctx, h, a.busy())
	_ = a.release(ctx, h) // it is recorded
}

func (a *actor) query(ctx context.Context) {
	key := a.key([]string{"lock", "shared", "multi", "election"}[a.dice.IntN(4)])
	ctx, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	p := a.recorder.Begin(history.Operation{Kind: history.Query, Keys: []string{key}})
	info, err := a.client.Get(ctx, key, client.Most(1000))
	switch {
	case errors.Is(err, client.ErrNotFound):
		p.End(history.OK, "", nil)
	case err != nil:
		p.Done(err)
	default:
		p.End(history.OK, "", func(o *history.Operation) {
			o.Index = info.Index
			for _, h := range info.Holders {
				if h.Ended == client.HowUnknown {
					o.Token = max(o.Token, h.Token)
				}
			}
		})
	}
}

// counter adds one to a register, under a lock whose token the register checks.
func (a *actor) counter(ctx context.Context) {
	key := a.key("counter")
	waiting, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	h, err := a.acquire(waiting, history.Operation{Keys: []string{key}, Mode: history.Exclusive}, a.client.Lock)
	if err != nil {
		return
	}
	a.increment(ctx, h, key)
	_ = a.release(ctx, h) // it is recorded
}

// occupied is how many names occupy takes in turn.
const occupied = 6

// occupy counts under a lock when it is granted, and again after it has been held for long, whether it is still held or not.
func (a *actor) occupy(ctx context.Context) {
	most := a.config.Hold
	key := a.keyNumber(occupation, a.dice.IntN(occupied))
	waiting, cancel := context.WithTimeout(ctx, most+time.Duration(a.dice.Int64N(int64(most))))
	defer cancel()
	h, err := a.acquire(waiting, history.Operation{Keys: []string{key}, Mode: history.Exclusive}, a.client.Lock)
	if err != nil {
		return // it is recorded
	}
	a.increment(ctx, h, key)
	a.keep(ctx, h, time.Duration(a.dice.Int64N(int64(most))))
	a.increment(ctx, h, key)
	_ = a.release(ctx, h) // it is recorded
}

// increment reads, thinks and writes. What it was not told it does not do again.
func (a *actor) increment(ctx context.Context, h *hold, key string) {
	req := access{Name: key, Floor: h.floor, Token: h.token}
	p := a.recorder.Begin(history.Operation{Kind: history.Write, Keys: []string{key}, Token: h.token})
	read, err := a.register.do(ctx, req)
	if err != nil || read.Stale {
		p.End(history.Refused, fmt.Sprintf("not read: %v, stale %t", err, read.Stale), nil)
		return
	}
	think := a.config.Think
	if a.dice.IntN(10) == 0 {
		think *= 20
	}
	pause(ctx, think)
	if careless := a.config.Careless || a.dice.IntN(2) == 0; !careless && h.context.Err() != nil {
		p.End(history.Refused, "the lock is lost", nil)
		return
	}
	req.Write, req.Value = true, read.Value+1
	written, err := a.register.do(ctx, req)
	outcome, reason := history.OK, ""
	switch {
	case err != nil:
		outcome, reason = history.Unknown, err.Error()
	case written.Stale:
		outcome, reason = history.Refused, "stale"
	}
	p.End(outcome, reason, func(o *history.Operation) { o.Before, o.Order = read.Value, written.Order })
}

// pause waits, for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
