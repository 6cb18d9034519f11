//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
)

// bubble runs a test with a cluster of n nodes in a testing/synctest bubble. That ends only when no goroutine of the clients is left.
func bubble(t *testing.T, n int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		watchdog := time.AfterFunc(10*time.Minute, func() { panic("the test hangs") })
		defer watchdog.Stop()
		w := &world{Cluster: testcluster.StartBubble(t, n), t: t}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
			defer cancel()
			for _, c := range w.clients {
				_ = c.Close(ctx) // a test that closes has looked at the error
			}
		}()
		f(t, w)
	})
}

type world struct {
	*testcluster.Cluster
	t *testing.T

	mu      sync.Mutex // guards clients
	clients []*client.Client
}

// client returns a client on a host.
func (w *world) client(host string, with ...func(*client.Config)) *client.Client {
	w.t.Helper()
	cfg := client.Config{Endpoints: w.Endpoints(), Dial: w.Net.Host(host).Dial, Identity: host}
	for _, f := range with {
		f(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clients = append(w.clients, c)
	return c
}

// cut stops everything between a host and all nodes.
func (w *world) cut(host string) {
	for i := range w.Endpoints() {
		w.Net.Cut(host, w.Name(i))
	}
}

func (w *world) heal(host string) {
	for i := range w.Endpoints() {
		w.Net.Heal(host, w.Name(i))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func got[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func mustLock(t *testing.T, c *client.Client, name string, opts ...client.Option) *client.Lock {
	t.Helper()
	return got[*client.Lock](t)(c.Lock(t.Context(), name, opts...))
}

// TestLock takes and gives back a lock.
func TestLock(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b := w.client("a"), w.client("b")
		l := mustLock(t, a, "jobs/nightly", client.Value([]byte("v1")))
		if l.Err() != nil || l.Context().Err() != nil || l.Token() == 0 || l.Floor() != l.Token() || l.Name() != "jobs/nightly" {
			t.Fatalf("lock %+v, err %v", l, l.Err())
		}
		if left := time.Until(l.ValidUntil()); left < 13*time.Second || left > 15*time.Second {
			t.Errorf("valid for %v", left)
		}
		if _, err := b.TryLock(t.Context(), "jobs/nightly"); !errors.Is(err, client.ErrNotAcquired) {
			t.Fatalf("second holder: %v", err)
		}
		info := got[client.LockInfo](t)(b.Get(t.Context(), "jobs/nightly"))
		if len(info.Holders) != 1 || info.Holders[0].Identity != "a" || info.Holders[0].Token != l.Token() || string(info.Holders[0].Value) != "v1" ||
			info.Holders[0].Session != l.Session().ID() {
			t.Errorf("info %+v", info)
		}
		must(t, l.SetValue(t.Context(), []byte("v2")))
		time.Sleep(time.Minute) // four times the TTL: it is kept
		must(t, l.Err())
		info = got[client.LockInfo](t)(b.Get(t.Context(), "jobs/nightly"))
		if string(info.Holders[0].Value) != "v2" {
			t.Errorf("a minute later: %+v", info)
		}
		if info = got[client.LockInfo](t)(b.Get(t.Context(), "jobs/nightly", client.Stale())); len(info.Holders) != 1 {
			t.Errorf("a minute later, as one node knows it: %+v", info)
		}
		must(t, l.Unlock(t.Context()))
		must(t, l.Unlock(t.Context()))
		if cause := context.Cause(l.Context()); !errors.Is(cause, client.ErrReleased) || !errors.Is(l.Err(), client.ErrReleased) {
			t.Errorf("after Unlock: %v, %v", cause, l.Err())
		}
		if err := l.SetValue(t.Context(), nil); !errors.Is(err, client.ErrReleased) {
			t.Errorf("SetValue after Unlock: %v", err)
		}
		if _, err := b.Get(t.Context(), "jobs/nightly"); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("after Unlock: %v", err)
		}
		next := mustLock(t, b, "jobs/nightly")
		if next.Token() <= l.Token() {
			t.Errorf("token %d after %d", next.Token(), l.Token())
		}
	})
}

// TestModes asks for shared holds, slots and several names.
func TestModes(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, ctx := w.client("a"), t.Context()
		r1, r2 := mustLock(t, c, "rw", client.Shared()), mustLock(t, c, "rw", client.Shared())
		if _, err := c.TryLock(ctx, "rw"); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("a writer beside readers: %v", err)
		}
		must(t, r1.Unlock(ctx))
		must(t, r2.Unlock(ctx))
		writer := mustLock(t, c, "rw")
		if writer.Floor() != writer.Token() {
			t.Errorf("floor %d of the writer %d", writer.Floor(), writer.Token())
		}
		must(t, writer.Unlock(ctx))
		for range 2 {
			mustLock(t, c, "slots", client.Slots(2))
		}
		if _, err := c.TryLock(ctx, "slots", client.Slots(2)); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("third of two slots: %v", err)
		}
		if _, err := c.TryLock(ctx, "slots"); !errors.Is(err, client.ErrWrongKind) {
			t.Errorf("another kind: %v", err)
		}
		all := got[*client.Lock](t)(c.LockAll(ctx, []string{"x", "y"}))
		if _, err := c.TryLockAll(ctx, []string{"z", "y"}); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("half of it: %v", err)
		}
		must(t, all.Unlock(ctx))
		z := got[*client.Lock](t)(c.TryLockAll(ctx, []string{"z", "y"}))
		if !slices.Equal(z.Names(), []string{"z", "y"}) {
			t.Errorf("names %v", z.Names())
		}
	})
}

// TestOwners lets calls under a lock's context ask as its owner, and all others as strangers.
func TestOwners(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, ctx := w.client("a"), t.Context()
		l := mustLock(t, c, "a")
		if _, err := c.TryLock(ctx, "a"); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("a stranger: %v", err)
		}
		if _, err := c.Lock(l.Context(), "a"); !errors.Is(err, client.ErrAlreadyHeld) {
			t.Errorf("the owner: %v", err)
		}
		again := got[*client.Lock](t)(c.Lock(l.Context(), "a", client.Reentrant()))
		if again.Token() != l.Token() {
			t.Errorf("entered again with token %d, not %d", again.Token(), l.Token())
		}
		must(t, again.Unlock(ctx))
		must(t, l.Err())
		if info := got[client.LockInfo](t)(c.Get(ctx, "a")); len(info.Holders) != 1 || info.Holders[0].Levels != 1 {
			t.Errorf("after one of two Unlocks: %+v", info)
		}
		if token, ok := client.TokenFrom(l.Context()); !ok || token != l.Token() {
			t.Errorf("token %d, %t from the context of %d", token, ok, l.Token())
		}
		inner := got[*client.Lock](t)(c.Lock(l.Context(), "b"))
		if token, _ := client.TokenFrom(inner.Context()); token != inner.Token() {
			t.Errorf("token %d from the inner context, not %d", token, inner.Token())
		}
		if _, ok := client.TokenFrom(ctx); ok {
			t.Error("a token from a context that belongs to no lock")
		}
		must(t, l.Unlock(ctx))
		must(t, inner.Err()) // a hold of its own
	})
}

type key struct{}

// TestContextOfALock has the values of the caller's, and neither its deadline nor its end.
func TestContextOfALock(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c := w.client("a")
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "v"), time.Second)
		l := got[*client.Lock](t)(c.Lock(ctx, "a"))
		cancel()
		time.Sleep(2 * time.Second)
		if _, ok := l.Context().Deadline(); ok || l.Context().Err() != nil || l.Context().Value(key{}) != "v" {
			t.Errorf("context %v", l.Context())
		}
		child, cancel := context.WithCancel(l.Context())
		defer cancel()
		must(t, l.Unlock(t.Context()))
		<-child.Done()
		if cause := context.Cause(child); !errors.Is(cause, client.ErrReleased) {
			t.Errorf("cause %v", cause)
		}
	})
}

// TestQueue keeps the order of arrival over several clients, tells who is ahead, and bounds the wait at the cluster.
func TestQueue(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		const waiters = 5
		first := mustLock(t, w.client("first"), "a")
		order := make(chan int, waiters)
		for i := range waiters {
			c := w.client(fmt.Sprint("waiter-", i))
			queued := make(chan client.Queued, 1)
			go func() {
				l, err := c.Lock(t.Context(), "a", client.OnQueued(func(q client.Queued) { queued <- q }))
				if err != nil {
					t.Error(err)
				}
				order <- i
				if err := l.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			}()
			if q := <-queued; q.Ahead != i || len(q.Holders) != 1 || q.Holders[0].Identity != "first" {
				t.Fatalf("waiter %d: %+v", i, q)
			}
		}
		late := w.client("late")
		began := time.Now()
		if _, err := late.Lock(t.Context(), "a", client.MaxWait(3*time.Second)); !errors.Is(err, client.ErrNotAcquired) {
			t.Errorf("after MaxWait: %v", err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("MaxWait of 3s took %v", took)
		}
		must(t, first.Unlock(t.Context()))
		for i := range waiters {
			if got := <-order; got != i {
				t.Fatalf("place %d goes to waiter %d", i, got)
			}
		}
	})
}

// TestWithLock joins the errors, and ends the function's context with the caller's.
func TestWithLock(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c := w.client("a")
		mine := errors.New("mine")
		if err := c.WithLock(t.Context(), "a", func(_ context.Context, l *client.Lock) error { return errors.Join(mine, l.Err()) }); !errors.Is(err, mine) {
			t.Errorf("error of the function: %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		err := c.WithLock(ctx, "a", func(inner context.Context, l *client.Lock) error {
			cancel(mine)
			<-inner.Done()
			if token, _ := client.TokenFrom(inner); token != l.Token() {
				t.Errorf("token %d of %d", token, l.Token())
			}
			must(t, l.Err())
			return context.Cause(inner)
		})
		if !errors.Is(err, mine) {
			t.Errorf("after the end of ctx: %v", err)
		}
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, mine) {
					t.Error("the panic is gone")
				}
			}()
			_ = c.WithLock(t.Context(), "a", func(context.Context, *client.Lock) error { panic(mine) })
		}()
		err = c.WithLock(t.Context(), "a", func(ctx context.Context, _ *client.Lock) error {
			w.cut("a")
			<-ctx.Done()
			return fmt.Errorf("stopped: %w", context.Cause(ctx))
		})
		if !errors.Is(err, client.ErrLockLost) || !errors.Is(err, client.ErrSessionExpired) {
			t.Errorf("a lock that was lost: %v", err)
		}
		w.heal("a")
		must(t, c.WithLock(t.Context(), "a", func(_ context.Context, l *client.Lock) error { return l.Unlock(t.Context()) }))
	})
}

// TestTokens asks what tokens are worth.
func TestTokens(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		c, ctx := w.client("a"), t.Context()
		old := mustLock(t, c, "a")
		must(t, old.Unlock(ctx))
		if k := got[client.Check](t)(c.CheckToken(ctx, "a", old.Token())); k.Validity != client.TokenFree {
			t.Errorf("nobody holds it: %+v", k)
		}
		l := mustLock(t, c, "a")
		checks := got[[]client.Check](t)(c.CheckTokens(ctx, []client.NamedToken{{Name: "a", Token: old.Token()}, {Name: "a", Token: l.Token()}}))
		if checks[0].Validity != client.TokenStale || checks[1].Validity != client.TokenValid || checks[0].Newest != l.Token() || checks[0].Floor != l.Token() {
			t.Errorf("checks %+v", checks)
		}
	})
}

// TestLists reads what there is.
func TestLists(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		c, ctx := w.client("a"), t.Context()
		var want []string
		for i := range 5 {
			name := fmt.Sprint("list/", i)
			mustLock(t, c, name)
			want = append(want, name)
		}
		mustLock(t, c, "other")
		var names []string
		for s, err := range c.List(ctx, "list/") {
			must(t, err)
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("list %v", names)
		}
		sessions := 0
		for s, err := range c.Sessions(ctx) {
			must(t, err)
			if sessions++; s.ID != c.Session().ID() || s.Identity != "a" || s.TTL != client.DefaultTTL {
				t.Errorf("session %+v", s)
			}
		}
		if sessions != 1 {
			t.Errorf("%d sessions", sessions)
		}
		if s := got[client.SessionInfo](t)(c.SessionInfo(ctx, c.Session().ID())); s.ID != c.Session().ID() {
			t.Errorf("session %+v", s)
		}
		if _, err := c.SessionInfo(ctx, client.SessionID{1}); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("no session: %v", err)
		}
		time.Sleep(time.Second) // a status is what the node itself has applied by then
		nodes := got[[]client.Node](t)(c.Nodes(ctx))
		leaders := 0
		for i, n := range nodes {
			if s := got[client.Status](t)(c.Status(ctx, n.Address)); s.Node != n.ID || s.Name != n.Name || s.Sessions != 1 {
				t.Errorf("node %d: status %+v of %+v", i, s, n)
			}
			if n.Leader {
				leaders++
			}
		}
		if len(nodes) != 3 || leaders != 1 {
			t.Errorf("nodes %+v", nodes)
		}
	})
}

// TestInvalid refuses without asking what no cluster would grant, and by code what the cluster does not.
func TestInvalid(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, other, ctx := w.client("a"), w.client("b"), t.Context()
		long := string(make([]byte, 513))
		for what, f := range map[string]func() error{
			"empty name":       func() error { _, err := c.Lock(ctx, ""); return err },
			"long name":        func() error { _, err := c.Lock(ctx, long); return err },
			"control":          func() error { _, err := c.Lock(ctx, "a\nb"); return err },
			"no UTF-8":         func() error { _, err := c.Lock(ctx, "\xff"); return err },
			"no names":         func() error { _, err := c.LockAll(ctx, nil); return err },
			"twice":            func() error { _, err := c.LockAll(ctx, []string{"a", "a"}); return err },
			"too many":         func() error { _, err := c.LockAll(ctx, make([]string, 65)); return err },
			"no slots":         func() error { _, err := c.Lock(ctx, "a", client.Slots(0)); return err },
			"negative wait":    func() error { _, err := c.Lock(ctx, "a", client.MaxWait(-1)); return err },
			"long delay":       func() error { _, err := c.Lock(ctx, "a", client.LockDelay(time.Hour)); return err },
			"big value":        func() error { _, err := c.Lock(ctx, "a", client.Value(make([]byte, 65537))); return err },
			"other's session":  func() error { _, err := c.Lock(ctx, "a", client.InSession(other.Session())); return err },
			"short lease":      func() error { _, err := c.AcquireLease(ctx, "a", time.Millisecond); return err },
			"no lease":         func() error { _, err := c.TryLease(ctx, "a", 0); return err },
			"short session":    func() error { _, err := c.NewSession(ctx, client.SessionConfig{TTL: time.Millisecond}); return err },
			"name in a read":   func() error { _, err := c.Get(ctx, long); return err },
			"too many tokens":  func() error { _, err := c.CheckTokens(ctx, make([]client.NamedToken, 1001)); return err },
			"lease reference":  func() error { _, err := client.ParseLeaseRef("x.y.z"); return err },
			"election of none": func() error { return c.RunElection(ctx, "a", client.Callbacks{}) },
		} {
			err := f()
			if !errors.Is(err, client.ErrInvalid) {
				t.Errorf("%s: %v", what, err)
			}
			if e, ok := errors.AsType[*client.Error](err); ok && !e.Known {
				t.Errorf("%s: not known: %v", what, err)
			}
		}
		l := mustLock(t, c, "a")
		if err := l.SetValue(ctx, make([]byte, 65537)); !errors.Is(err, client.ErrInvalid) {
			t.Errorf("big value: %v", err)
		}
		must(t, l.Unlock(ctx)) // and the session goes on
	})
}
