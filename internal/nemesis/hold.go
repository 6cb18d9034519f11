package nemesis

import (
	"context"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/history"
)

// releaseLimit is how long a job waits until its release is confirmed; the library goes on in the background.
const releaseLimit = 3 * time.Second

// acquisition is Client.Lock and its kind.
type acquisition func(ctx context.Context, name string, opts ...client.Option) (*client.Lock, error)

// hold is what an actor has been granted.
type hold struct {
	history.Hold
	keys         []string
	token, floor uint64
	context      context.Context //nolint:containedctx // the hold's own: it ends with it
	leased       bool
	unlock       func(context.Context) error
}

func (h *hold) operation(k history.Kind) history.Operation {
	return history.Operation{Kind: k, Keys: h.keys, Token: h.token, Lease: h.leased}
}

// acquire asks for a lock, and records it.
func (a *actor) acquire(ctx context.Context, o history.Operation, acquire acquisition, opts ...client.Option) (*hold, error) {
	o.Kind = history.Acquire
	p := a.recorder.Begin(o)
	l, err := acquire(ctx, o.Keys[0], opts...)
	if err != nil {
		p.Done(err)
		return nil, err
	}
	h := &hold{Hold: l, keys: o.Keys, token: l.Token(), floor: l.Floor(), context: l.Context(), unlock: l.Unlock}
	a.granted(p, h)
	return h, nil
}

// granted records a grant. No clock jumps meanwhile.
func (a *actor) granted(p *history.Pending, h *hold) {
	a.clocks.RLock()
	defer a.clocks.RUnlock()
	a.holds.Store(h, nil)
	p.Granted(h, nil)
}

// believes records until when a hold is believed to last.
func (a *actor) believes(h *hold) {
	a.clocks.RLock()
	defer a.clocks.RUnlock()
	if h.context.Err() == nil {
		a.recorder.Believes(h, h.keys...)
	}
}

// keep holds for d, or until it is lost.
func (a *actor) keep(ctx context.Context, h *hold, d time.Duration) {
	const step = 300 * time.Millisecond
	for d > 0 && ctx.Err() == nil && h.context.Err() == nil {
		pause(h.context, min(d, step))
		d -= step
		a.believes(h)
	}
	if h.context.Err() != nil {
		a.recorder.Note(h.operation(history.Lost))
	}
}

// release gives a hold back, and records it.
func (a *actor) release(ctx context.Context, h *hold) error {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	defer a.holds.Delete(h)
	p := a.recorder.Begin(h.operation(history.Release))
	err := h.unlock(ctx)
	p.Done(err)
	return err
}
