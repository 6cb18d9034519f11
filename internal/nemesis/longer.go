package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/history"
)

// leaseTime is how long a lease lasts if nobody renews it.
const leaseTime = time.Second

// lease takes a lease, renews it and hands it on now and then, and gives it back or lets it run out.
func (a *actor) lease(ctx context.Context) {
	o := history.Operation{Kind: history.Acquire, Keys: []string{a.key("lease")}, Mode: history.Exclusive, Lease: true}
	waiting, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	p := a.recorder.Begin(o)
	l, err := a.client.AcquireLease(waiting, o.Keys[0], leaseTime)
	if err != nil {
		p.Done(err)
		return
	}
	h := a.leased(p, l, o.Keys)
	a.keep(ctx, h, a.busy())
	if a.dice.IntN(3) == 0 {
		a.renew(ctx, l, h)
		a.keep(ctx, h, a.busy())
	}
	if a.dice.IntN(3) == 0 {
		if h = a.handOn(ctx, l, h); h == nil {
			return
		}
		a.keep(ctx, h, a.busy())
	}
	if a.dice.IntN(8) > 0 {
		_ = a.release(ctx, h) // it is recorded
		return
	}
	a.keep(ctx, h, 2*leaseTime)
	a.holds.Delete(h)
}

// leased records the grant of a lease.
func (a *actor) leased(p *history.Pending, l *client.Lease, keys []string) *hold {
	h := &hold{Hold: l, keys: keys, token: l.Token(), floor: l.Floor(), context: l.Context(), leased: true, unlock: l.Release}
	a.granted(p, h)
	return h
}

func (a *actor) renew(ctx context.Context, l *client.Lease, h *hold) {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	p := a.recorder.Begin(h.operation(history.Renew))
	err := l.Renew(ctx, leaseTime)
	p.Done(err)
	if err == nil {
		a.believes(h)
	}
}

// handOn takes the lease over, as another program would; nil if it is not known to have been done.
func (a *actor) handOn(ctx context.Context, l *client.Lease, h *hold) *hold {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	defer a.holds.Delete(h)
	p := a.recorder.Begin(history.Operation{Kind: history.HandOn, Keys: h.keys, Mode: history.Exclusive, Lease: true, Before: h.token})
	next, err := l.HandOn(ctx, leaseTime)
	if err != nil {
		p.Done(err)
		return nil
	}
	return a.leased(p, next, h.keys)
}

// election campaigns, proclaims now and then, and resigns.
func (a *actor) election(ctx context.Context) {
	key := a.key("election")
	waiting, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	var leader *client.Leadership
	h, err := a.acquire(waiting, history.Operation{Keys: []string{key}, Mode: history.Exclusive}, func(ctx context.Context, name string, opts ...client.Option) (*client.Lock, error) {
		l, err := a.client.Campaign(ctx, name, []byte("elected"), opts...)
		if err != nil {
			return nil, err
		}
		leader = l
		return l.Lock, nil
	})
	if err != nil {
		return
	}
	a.keep(ctx, h, a.busy())
	if a.dice.IntN(2) == 0 {
		a.proclaim(ctx, leader, h)
	}
	_ = a.release(ctx, h) // it is recorded
}

func (a *actor) proclaim(ctx context.Context, l *client.Leadership, h *hold) {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	p := a.recorder.Begin(h.operation(history.SetValue))
	p.Done(l.Proclaim(ctx, fmt.Append(nil, "leading in ", h.token)))
}
