//go:build unix

package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
)

// TestBlackHole cuts a holder off: its lock ends the moment its validity does, no call outlasts its ctx, and the next holder comes
// after that.
func TestBlackHole(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		l := mustLock(t, a, "a")
		next := make(chan time.Time, 1)
		go func() {
			l, err := b.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			next <- time.Now()
			if l.Previous().How != client.HowExpired {
				t.Errorf("previous %+v", l.Previous())
			}
		}()
		time.Sleep(10 * time.Second)
		w.cut("a")
		until := l.ValidUntil()
		for what, f := range map[string]func(ctx context.Context) error{
			"lock":        func(ctx context.Context) error { _, err := a.Lock(ctx, "b"); return err },
			"try":         func(ctx context.Context) error { _, err := a.TryLock(ctx, "c"); return err },
			"set value":   func(ctx context.Context) error { return l.SetValue(ctx, []byte("v")) },
			"get":         func(ctx context.Context) error { _, err := a.Get(ctx, "a"); return err },
			"check":       func(ctx context.Context) error { _, err := a.CheckToken(ctx, "a", 1); return err },
			"status":      func(ctx context.Context) error { _, err := a.Status(ctx, w.Endpoints()[0]); return err },
			"new session": func(ctx context.Context) error { _, err := a.NewSession(ctx, client.SessionConfig{}); return err },
			"lease": func(ctx context.Context) error {
				return a.Lease(client.LeaseRef{Name: "a", ID: client.LeaseID{1}, Token: 1}).Renew(ctx, time.Minute)
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			began := time.Now()
			if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrUnavailable) && what != "lock" && what != "try" && what != "set value" {
				t.Errorf("%s: %v", what, err)
			}
			if took := time.Since(began); took != 300*time.Millisecond {
				t.Errorf("%s: took %v", what, took)
			}
			cancel()
		}
		<-l.Context().Done()
		if now := time.Now(); now.Before(until) || now.Sub(until) > time.Millisecond {
			t.Errorf("the context ended %v after the validity", now.Sub(until))
		}
		if cause := context.Cause(l.Context()); !errors.Is(cause, client.ErrSessionExpired) || !errors.Is(cause, client.ErrLockLost) {
			t.Errorf("cause %v", cause)
		}
		if at := <-next; at.Before(until) || at.Sub(until) > 3*time.Second {
			t.Errorf("the next holder comes %v after the validity", at.Sub(until))
		}
		if err := l.Unlock(t.Context()); !errors.Is(err, client.ErrLockLost) {
			t.Errorf("unlock of what is lost: %v", err)
		}
	})
}

// TestReconnect breaks all connections of a waiter again and again: it keeps its place in the queue.
func TestReconnect(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a := w.client("a")
		l := mustLock(t, a, "a")
		order := make(chan string, 2)
		var all sync.WaitGroup
		for _, name := range []string{"first", "second"} {
			c := w.client(name)
			queued := make(chan struct{})
			all.Go(func() {
				l, err := c.Lock(t.Context(), "a", client.OnQueued(func(client.Queued) { close(queued) }))
				if err != nil {
					t.Error(err)
					return
				}
				order <- name
				if err := l.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			})
			<-queued
		}
		for range 5 {
			w.Net.Reset("first")
			time.Sleep(2 * time.Second)
		}
		w.cut("first") // when the grant comes
		must(t, l.Unlock(t.Context()))
		time.Sleep(5 * time.Second)
		w.heal("first")
		for _, want := range []string{"first", "second"} {
			if got := <-order; got != want {
				t.Errorf("%s holds it before %s", got, want)
			}
		}
		all.Wait()
	})
}

// TestNodeDies crashes each node in turn while a lock is held and another is waited for.
func TestNodeDies(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		l := mustLock(t, a, "a")
		waiting := make(chan *client.Lock)
		go func() {
			l, err := b.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			waiting <- l
		}()
		for i := range 3 {
			w.Crash(i)
			w.Net.Reset(w.Name(i))
			time.Sleep(5 * time.Second)
			must(t, l.Err())
			w.Run(i)
			w.WaitReady()
			time.Sleep(5 * time.Second)
		}
		must(t, l.Err())
		must(t, l.Unlock(t.Context()))
		if next := <-waiting; next.Token() <= l.Token() {
			t.Errorf("token %d after %d", next.Token(), l.Token())
		}
	})
}

// TestCancelRacesWithGrant lets a wait end by its ctx at about the moment at which it is granted. Whatever happens, nothing is left
// behind: either the caller holds the lock, or soon nobody does.
func TestCancelRacesWithGrant(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b, c := w.client("a"), w.client("b"), w.client("c")
		for i := range 3 {
			w.Net.Delay("b", w.Name(i), 3*time.Millisecond)
		}
		granted, cancelled := 0, 0
		for i := range 40 {
			l := mustLock(t, a, "a")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				l, err := b.Lock(ctx, "a")
				if err == nil {
					granted++
					err = l.Unlock(t.Context())
				} else if errors.Is(err, context.Canceled) {
					cancelled++
					err = nil
				}
				done <- err
			}()
			time.Sleep(50 * time.Millisecond)
			time.AfterFunc(time.Duration(i)*500*time.Microsecond, cancel)
			must(t, l.Unlock(t.Context()))
			must(t, <-done)
			wait, stop := context.WithTimeout(t.Context(), time.Second)
			after := got[*client.Lock](t)(c.Lock(wait, "a"))
			stop()
			must(t, after.Unlock(t.Context()))
			cancel()
		}
		if granted == 0 || cancelled == 0 {
			t.Errorf("%d granted, %d cancelled: no race", granted, cancelled)
		}
	})
}

// TestUnlockIsRetried loses the answer of a release, and then everything for a while.
func TestUnlockIsRetried(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		l := mustLock(t, a, "a")
		for i := range 3 {
			w.Net.CutOneWay(w.Name(i), "a")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := l.Unlock(ctx)
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Known || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("unlock without an answer: %v", err)
		}
		if l.Err() == nil {
			t.Error("held after Unlock")
		}
		w.cut("a")
		next := mustLock(t, b, "a")
		w.heal("a")
		must(t, l.Unlock(t.Context()))
		must(t, next.Err())
	})
}

// TestCloseWhileStuck closes a client that holds, waits and asks, when no packet goes anywhere. The bubble sees that nothing is left.
func TestCloseWhileStuck(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		holder := mustLock(t, w.client("holder"), "taken")
		c := w.client("a")
		l := mustLock(t, c, "a")
		var all sync.WaitGroup
		stuck := func(f func() error) {
			all.Go(func() {
				if err := f(); !errors.Is(err, client.ErrClosed) {
					t.Errorf("a call of a client that is closed: %v", err)
				}
			})
		}
		stuck(func() error { _, err := c.Lock(t.Context(), "taken"); return err })
		stuck(func() error { _, err := c.AcquireLease(t.Context(), "taken", time.Minute); return err })
		time.Sleep(time.Second)
		w.cut("a")
		stuck(func() error { _, err := c.Get(t.Context(), "a"); return err })
		stuck(func() error { _, err := c.NewSession(t.Context(), client.SessionConfig{}); return err })
		stuck(func() error { return l.SetValue(t.Context(), make([]byte, 1000)) })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range c.Session().Events() {
			}
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("close: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("close took %v", took)
		}
		all.Wait()
		<-ended
		if !errors.Is(context.Cause(l.Context()), client.ErrReleased) {
			t.Errorf("cause %v", context.Cause(l.Context()))
		}
		must(t, l.Unlock(t.Context()))
		for what, err := range map[string]error{
			"lock": func() error { _, err := c.Lock(t.Context(), "a"); return err }(),
			"get":  func() error { _, err := c.Get(t.Context(), "a"); return err }(),
		} {
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("%s of a closed client: %v", what, err)
			}
		}
		must(t, c.Close(t.Context()))
		must(t, holder.Err())
	})
}

// TestSuspend stops the machine of a holder, clocks and all but the one that counts it. The loss is seen before anything else, and by
// the context soon after.
func TestSuspend(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		var slept atomic.Int64
		a := w.client("a", func(c *client.Config) {
			c.Suspended = func() time.Duration { return time.Duration(slept.Load()) }
		})
		l := mustLock(t, a, "a")
		ctx := l.Context()
		time.Sleep(time.Second)
		slept.Add(int64(5 * time.Second))
		must(t, l.Err())
		if left := time.Until(l.ValidUntil()); left > 10*time.Second {
			t.Errorf("valid for %v after 5 s of sleep", left)
		}
		time.Sleep(10 * time.Second) // it is confirmed again
		must(t, l.Err())
		slept.Add(int64(20 * time.Second))
		if !errors.Is(ctx.Err(), context.Canceled) || !errors.Is(l.Err(), client.ErrSessionExpired) {
			t.Errorf("after a sleep beyond the validity: %v, %v", ctx.Err(), l.Err())
		}
		other := mustLock(t, a, "b")
		slept.Add(int64(20 * time.Second))
		began := time.Now()
		<-other.Context().Done()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the context ends %v after the sleep", took)
		}
	})
}

// TestSlowNode lets the node that the client is connected to fall silent, without closing anything. The session is kept over another.
func TestSlowNode(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var dialed []string
		host := w.Net.Host("a")
		a := w.client("a", func(c *client.Config) {
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				mu.Lock()
				dialed = append(dialed, address)
				mu.Unlock()
				return host.Dial(ctx, address)
			}
		})
		l := mustLock(t, a, "a")
		mu.Lock()
		last, _, _ := net.SplitHostPort(dialed[len(dialed)-1])
		mu.Unlock()
		w.Net.Cut("a", last)
		time.Sleep(time.Minute)
		must(t, l.Err())
		must(t, l.Unlock(t.Context()))
	})
}

// TestFullSocket sends more than a node that does not read can take. Nobody waits longer than he wants to.
func TestFullSocket(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		a := w.client("a")
		l := mustLock(t, a, "a")
		w.cut("a")
		began := time.Now()
		for range 3 { // one at a time: the first of them writes itself, what there is room for
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if err := l.SetValue(ctx, make([]byte, 64<<10)); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("one at a time took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				if err := l.SetValue(ctx, make([]byte, 60<<10)); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		began = time.Now()
		all.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
		w.heal("a")
		time.Sleep(5 * time.Second)
		must(t, l.Err())
		must(t, l.Unlock(t.Context()))
	})
}

// TestSessionLost goes on with another life: waits are asked for again, tries are tried again, and the events tell all of it.
func TestSessionLost(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		s := got[*client.Session](t)(a.NewSession(t.Context(), client.SessionConfig{TTL: 2 * time.Second, Identity: "short"}))
		l := mustLock(t, a, "a", client.InSession(s))
		first, life := s.ID(), s.Context()
		held := mustLock(t, b, "b")
		waiting := make(chan *client.Lock)
		go func() {
			l, err := a.Lock(t.Context(), "b", client.InSession(s))
			if err != nil {
				t.Error(err)
			}
			waiting <- l
		}()
		var events []client.SessionEvent
		heard := make(chan struct{})
		go func() {
			defer close(heard)
			for e := range s.Events() {
				events = append(events, e)
			}
		}()
		time.Sleep(time.Second)
		w.cut("a")
		<-life.Done()
		if !errors.Is(context.Cause(life), client.ErrSessionExpired) || !errors.Is(l.Err(), client.ErrSessionExpired) {
			t.Errorf("cause %v, lock %v", context.Cause(life), l.Err())
		}
		if s.ID() != (client.SessionID{}) || !s.ValidUntil().IsZero() {
			t.Errorf("session %v valid until %v", s.ID(), s.ValidUntil())
		}
		tried := make(chan error)
		go func() {
			_, err := a.TryLock(t.Context(), "c", client.InSession(s))
			tried <- err
		}()
		time.Sleep(5 * time.Second)
		w.heal("a")
		must(t, <-tried)
		must(t, held.Unlock(t.Context()))
		next := <-waiting
		if next.Session() != s || s.ID() == first || s.ID() == (client.SessionID{}) {
			t.Errorf("session %v after %v", s.ID(), first)
		}
		must(t, next.Err())
		must(t, s.Close(t.Context()))
		<-heard
		var kinds []client.SessionEventKind
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		want := []client.SessionEventKind{client.SessionJeopardy, client.SessionLost, client.SessionOpened}
		if len(kinds) < len(want) || kinds[0] != want[0] || kinds[1] != want[1] || kinds[2] != want[2] {
			t.Errorf("events %v", kinds)
		}
		if events[1].ID != first || !errors.Is(events[1].Err, client.ErrSessionExpired) {
			t.Errorf("event %+v", events[1])
		}
		if !errors.Is(next.Err(), client.ErrReleased) {
			t.Errorf("after the session was closed: %v", next.Err())
		}
		if _, err := a.Lock(t.Context(), "d", client.InSession(s)); !errors.Is(err, client.ErrClosed) {
			t.Errorf("lock in a closed session: %v", err)
		}
		mustLock(t, b, "b")
	})
}

// TestGrace gives the locks of a client that is gone to others long before its TTL.
func TestGrace(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a", func(c *client.Config) { c.TTL, c.Grace = time.Minute, 2*time.Second }), w.client("b")
		l := mustLock(t, a, "a")
		time.Sleep(time.Minute)
		must(t, l.Err())
		w.Net.Reset("a")
		w.cut("a")
		began := time.Now()
		mustLock(t, b, "a")
		if took := time.Since(began); took < time.Second || took > 5*time.Second {
			t.Errorf("after %v", took)
		}
		if l.Err() == nil {
			t.Error("two holders")
		}
	})
}

// TestOtherCluster finds another cluster behind the addresses: what it held is lost, and it goes on there.
func TestOtherCluster(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		other := testcluster.StartBubble(t, 1, func(_ int, c *lockd.Config) { c.ClusterName = "other" })
		var moved atomic.Bool
		a := w.client("a", func(c *client.Config) {
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				if moved.Load() {
					return other.Net.Host("a").Dial(ctx, address)
				}
				return w.Net.Host("a").Dial(ctx, address)
			}
		})
		l := mustLock(t, a, "a")
		moved.Store(true)
		w.Net.Reset("a")
		<-l.Context().Done()
		if !errors.Is(l.Err(), client.ErrSessionExpired) {
			t.Errorf("cause %v", l.Err())
		}
		must(t, mustLock(t, a, "a").Err())
		if info := got[client.LockInfo](t)(a.Get(t.Context(), "a")); info.Holders[0].Session != a.Session().ID() {
			t.Errorf("info %+v", info)
		}
	})
}

// node answers every Hello with one message, or not at all.
func node(t *testing.T, h *memnet.Host, address string, answer wire.Message) {
	t.Helper()
	l, err := h.Listen(address)
	must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() {
		must(t, l.Close())
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				if m, err := wire.NewReader(conn, wire.HelloMax).Read(); err != nil || m.Type() != wire.TypeHello {
					return
				}
				if answer == nil {
					_, _ = conn.Read(make([]byte, 1)) // until the client goes
					return
				}
				w := wire.NewWriter(conn)
				_ = w.Write(answer)
				_ = w.Flush()
			})
		}
	})
}

// TestRefusedForGood tells the caller at once, and asks nobody again, when every node refuses the client.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		node(t, n.Host("x"), "x:1", &wire.Goodbye{Code: wire.Unauthenticated, Text: "no credential"})
		node(t, n.Host("y"), "y:1", &wire.Goodbye{Code: wire.Unauthenticated})
		c, err := client.New(client.Config{Endpoints: []string{"x:1", "y:1"}, Dial: n.Host("a").Dial})
		must(t, err)
		defer func() { must(t, c.Close(t.Context())) }()
		for what, f := range map[string]func() error{
			"lock":    func() error { _, err := c.Lock(t.Context(), "a"); return err },
			"session": func() error { _, err := c.NewSession(t.Context(), client.SessionConfig{}); return err },
			"get":     func() error { _, err := c.Get(t.Context(), "a"); return err },
			"status":  func() error { _, err := c.Status(t.Context(), "x:1"); return err },
		} {
			began := time.Now()
			err := f()
			e, ok := errors.AsType[*client.Error](err)
			if !ok || !errors.Is(err, client.ErrUnauthenticated) || !e.Known || e.Code != uint16(wire.Unauthenticated) || e.Endpoint == "" {
				t.Errorf("%s: %v", what, err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("%s: took %v", what, took)
			}
		}
	})
}

// TestBadNodes are passed over: one that is silent, one that refuses, one that speaks nonsense, one that is not there.
func TestBadNodes(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		node(t, w.Net.Host("silent"), "silent:1", nil)
		node(t, w.Net.Host("stopping"), "stopping:1", &wire.Goodbye{Code: wire.ShuttingDown})
		node(t, w.Net.Host("mad"), "mad:1", &wire.KeepAliveAnswer{})
		w.Net.Cut("a", "lost")
		a := w.client("a", func(c *client.Config) {
			c.Endpoints = append([]string{"silent:1", "stopping:1", "mad:1", "lost:1", "nobody:1"}, c.Endpoints...)
		})
		for range 10 {
			w.Net.Reset("a")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			l := got[*client.Lock](t)(a.Lock(ctx, "a"))
			must(t, l.Unlock(ctx))
			got[client.Status](t)(a.Status(ctx, ""))
			cancel()
		}
		if _, err := a.Status(t.Context(), "nobody:1"); !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("status of nobody: %v", err)
		}
	})
}
