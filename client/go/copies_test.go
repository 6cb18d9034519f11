//go:build unix

package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/wire"
)

// TestRefusedAfterALostAnswer loses the answer to a request, which has taken effect, and refuses its repeat: the refusal speaks for the
// repeat alone. Nothing may stay held that nobody knows of.
func TestRefusedAfterALostAnswer(t *testing.T) {
	for _, code := range []wire.Code{wire.DiskFull, wire.Unsupported} {
		t.Run(code.String(), func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				c, p := w.proxied("a")
				l := mustLock(t, c, "a")
				repeated := func(of wire.Type) {
					lost, sent := false, 0
					p.set(func() {
						p.down = func(m wire.Message) []wire.Message {
							if _, ok := m.(*wire.Reply); ok && !lost {
								lost = true
								return nil
							}
							return []wire.Message{m}
						}
						p.up = func(m wire.Message) (toNode, toClient []wire.Message) {
							if m.Type() == of {
								if sent++; sent == 2 {
									return nil, []wire.Message{&wire.Failure{ID: idOf(m), Code: code, Known: true}}
								}
							}
							return []wire.Message{m}, nil
						}
					})
				}
				for what, try := range map[wire.Type]func() error{
					wire.TypeAcquire:  func() error { _, err := c.TryLock(t.Context(), "b"); return err },
					wire.TypeSetValue: func() error { return l.SetValue(t.Context(), []byte("v")) },
				} {
					repeated(what)
					err := try()
					if e, ok := errors.AsType[*client.Error](err); !ok || e.Known || e.Code != uint16(code) {
						t.Errorf("%v: %+v", what, err)
					}
					time.Sleep(5 * time.Second) // it is cancelled
				}
				if _, err := w.client("b").TryLock(t.Context(), "b"); err != nil {
					t.Errorf("what was refused is held: %v", err)
				}
				must(t, l.Unlock(t.Context()))
			})
		})
	}
}

// TestWaitOutlivesARefusedRepeat lets a wait be repeated, as after a lost connection, while the disk is full: it stands in the queue
// already, and needs no more room.
func TestWaitOutlivesARefusedRepeat(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		l := mustLock(t, w.client("holder"), "a")
		c, p := w.proxied("a")
		queued, granted := make(chan struct{}), make(chan *client.Lock, 1)
		go func() {
			l, err := c.Lock(t.Context(), "a", client.OnQueued(func(client.Queued) { close(queued) }))
			if err != nil {
				t.Error(err)
			}
			granted <- l
		}()
		<-queued
		p.refuse(wire.TypeAcquire, 1, wire.Failure{Code: wire.DiskFull, Known: true})
		w.Net.Reset("a")
		time.Sleep(time.Second)
		must(t, l.Unlock(t.Context()))
		if l := <-granted; l != nil {
			must(t, l.Unlock(t.Context()))
		}
	})
}

// TestHandOnRefusedAfterALostAnswer refuses the repeat of a hand-on that has taken effect: nobody may say that it has not.
func TestHandOnRefusedAfterALostAnswer(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		l := got[*client.Lease](t)(c.TryLease(t.Context(), "a", time.Minute))
		lost := false
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if _, ok := m.(*wire.Reply); ok && !lost {
					lost = true
					p.up = func(m wire.Message) (toNode, toClient []wire.Message) {
						if m.Type() == wire.TypeTakeLease {
							return nil, []wire.Message{&wire.Failure{ID: idOf(m), Code: wire.DiskFull, Known: true}}
						}
						return []wire.Message{m}, nil
					}
					return nil
				}
				return []wire.Message{m}
			}
		})
		_, err := l.HandOn(t.Context(), time.Minute)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Known || !errors.Is(err, client.ErrDiskFull) {
			t.Errorf("%+v", err)
		}
	})
}

// TestReleaseOutlivesAFullDisk lets a node have no room for the release of a lease, for a while: it makes room, and is repeated.
func TestReleaseOutlivesAFullDisk(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		l := got[*client.Lease](t)(c.TryLease(t.Context(), "a", time.Hour))
		p.refuse(wire.TypeReleaseLease, 3, wire.Failure{Code: wire.DiskFull, Known: true, Wait: time.Second})
		must(t, l.Release(t.Context()))
		must(t, mustLock(t, c, "a").Err())
	})
}

// TestSessionLostBeforeTheAnswer loses the answer to a change, and then the session: nobody knows whether it has taken effect.
func TestSessionLostBeforeTheAnswer(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		l := mustLock(t, c, "a")
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if _, ok := m.(*wire.Reply); ok {
					w.cut("a")
					return nil
				}
				return []wire.Message{m}
			}
		})
		err := l.SetValue(t.Context(), []byte("v"))
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Known || !errors.Is(err, client.ErrSessionExpired) {
			t.Errorf("%+v", err)
		}
		w.heal("a")
		p.set(func() { p.down = nil })
	})
}

// TestSessionLostBeforeTheRelease loses a session while a release waits for its answer. The release is not said to have happened: others do
// not get the lock before the session has expired.
func TestSessionLostBeforeTheRelease(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		s := got[*client.Session](t)(a.NewSession(t.Context(), client.SessionConfig{TTL: 2 * time.Second}))
		l := mustLock(t, a, "a", client.InSession(s))
		w.cut("a")
		err := l.Unlock(t.Context())
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Known || !errors.Is(err, client.ErrSessionExpired) {
			t.Errorf("%+v", err)
		}
		if _, err := b.TryLock(t.Context(), "a"); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("the lock that nobody released is taken: %v", err)
		}
		w.heal("a")
		must(t, mustLock(t, b, "a").Err())
	})
}
