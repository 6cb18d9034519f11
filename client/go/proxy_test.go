//go:build unix

package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/wire"
)

// proxy stands between a client and a node, and lets a test change what goes through.
type proxy struct {
	t *testing.T

	mu sync.Mutex // guards both functions
	// up and down return what is sent on in place of a message of the client, or of the node.
	up   func(m wire.Message) (toNode, toClient []wire.Message)
	down func(m wire.Message) []wire.Message
}

// proxied returns a client on a host whose connections all go through a proxy.
func (w *world) proxied(host string, with ...func(*client.Config)) (*client.Client, *proxy) {
	p := &proxy{t: w.t}
	c := w.client(host, append(with, func(c *client.Config) {
		dial := c.Dial
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			far, err := dial(ctx, address)
			if err != nil {
				return nil, err
			}
			near, inner := net.Pipe()
			p.run(inner, far)
			return near, nil
		}
	})...)
	return c, p
}

// set changes what the proxy does.
func (p *proxy) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// run copies both directions until one side closes.
func (p *proxy) run(toClient, toNode net.Conn) {
	var mu sync.Mutex // guards back
	back := wire.NewWriter(toClient)
	send := func(w *wire.Writer, list []wire.Message) {
		for _, m := range list {
			_ = w.Write(m)
		}
		_ = w.Flush()
	}
	closeBoth := func() { _, _ = toClient.Close(), toNode.Close() }
	go func() {
		defer closeBoth()
		r, w := wire.NewReader(toClient, wire.FrameMax), wire.NewWriter(toNode)
		for m, err := r.Read(); err == nil; m, err = r.Read() {
			onwards, answer := []wire.Message{m}, []wire.Message(nil)
			p.set(func() {
				if p.up != nil {
					onwards, answer = p.up(m)
				}
			})
			send(w, onwards)
			mu.Lock()
			send(back, answer)
			mu.Unlock()
		}
	}()
	go func() {
		defer closeBoth()
		r := wire.NewReader(toNode, wire.FrameMax)
		for m, err := r.Read(); err == nil; m, err = r.Read() {
			list := []wire.Message{m}
			p.set(func() {
				if p.down != nil {
					list = p.down(m)
				}
			})
			mu.Lock()
			send(back, list)
			mu.Unlock()
		}
	}()
}

// refuse answers the next n requests of a type with a failure.
func (p *proxy) refuse(of wire.Type, n int, f wire.Failure) {
	p.set(func() {
		p.up = func(m wire.Message) (toNode, toClient []wire.Message) {
			if m.Type() != of || n == 0 {
				return []wire.Message{m}, nil
			}
			n--
			f := f
			f.ID = idOf(m)
			return nil, []wire.Message{&f}
		}
	})
}

func idOf(m wire.Message) uint64 {
	b, err := wire.Append(nil, m)
	if err != nil {
		return 0
	}
	id, _ := wire.RequestID(b[5:])
	return id
}

// TestFailures does with each failure what its code and its known say: it tells the caller, or repeats.
func TestFailures(t *testing.T) {
	type step struct {
		name    string
		failure wire.Failure
		want    error // of a lock, a value and a read; nil: repeated until it is done
		wait    time.Duration
	}
	for _, s := range []step{
		{"forbidden", wire.Failure{Code: wire.Forbidden, Known: true, Text: "not you"}, client.ErrForbidden, 0},
		{"disk full", wire.Failure{Code: wire.DiskFull, Known: true, Wait: time.Minute}, client.ErrDiskFull, 0},
		{"too large", wire.Failure{Code: wire.TooLarge, Known: true}, client.ErrInvalid, 0},
		{"unsupported", wire.Failure{Code: wire.Unsupported, Known: true}, client.ErrVersion, 0},
		{"later and known", wire.Failure{Code: 199, Known: true}, client.ErrUnavailable, 0},
		{"later and not known", wire.Failure{Code: 199}, nil, 0},
		{"overloaded", wire.Failure{Code: wire.Overloaded, Known: true, Wait: 3 * time.Second}, nil, 3 * time.Second},
		{"no leader", wire.Failure{Code: wire.NoLeader, Known: true}, nil, 0},
		{"interrupted", wire.Failure{Code: wire.Interrupted}, nil, 0},
	} {
		t.Run(s.name, func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, w *world) {
				c, p := w.proxied("a")
				l := mustLock(t, c, "a")
				for what, try := range map[wire.Type]func() error{
					wire.TypeAcquire:  func() error { _, err := c.Lock(t.Context(), "b"); return err },
					wire.TypeSetValue: func() error { return l.SetValue(t.Context(), []byte("v")) },
					wire.TypeGet:      func() error { _, err := c.Get(t.Context(), "a"); return err },
				} {
					p.refuse(what, 1, s.failure)
					began := time.Now()
					err := try()
					if !errors.Is(err, s.want) || s.want == nil && err != nil {
						t.Errorf("%v: %v", what, err)
					}
					if e, ok := errors.AsType[*client.Error](err); ok && (!e.Known || e.Code != uint16(s.failure.Code) || e.Endpoint == "" || e.RetryAfter != s.failure.Wait) {
						t.Errorf("%v: %+v", what, e)
					}
					if took := time.Since(began); took < s.wait || took > s.wait+2*time.Second {
						t.Errorf("%v: took %v", what, took)
					}
				}
			})
		})
	}
}

// TestLastFailure is what an error tells beside the end of the ctx.
func TestLastFailure(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		mustLock(t, c, "a")
		for what, f := range map[wire.Type]func(ctx context.Context) error{
			wire.TypeAcquire:    func(ctx context.Context) error { _, err := c.Lock(ctx, "b"); return err },
			wire.TypeGet:        func(ctx context.Context) error { _, err := c.Get(ctx, "b"); return err },
			wire.TypeRenewLease: func(ctx context.Context) error { return c.Lease(client.LeaseRef{Name: "a"}).Renew(ctx, time.Minute) },
		} {
			p.refuse(what, 1000, wire.Failure{Code: wire.Overloaded, Known: true, Text: "busy"})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := f(ctx)
			cancel()
			if e, ok := errors.AsType[*client.Error](err); !ok || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, client.ErrOverloaded) || e.Code != uint16(wire.Overloaded) {
				t.Errorf("%v: %v", what, err)
			}
		}
	})
}

// TestOpenRefused tells who waits for a session, and tries anew for the next.
func TestOpenRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		for _, s := range []struct {
			code wire.Code
			want error
		}{{wire.Forbidden, client.ErrForbidden}, {wire.DiskFull, client.ErrDiskFull}} {
			p.refuse(wire.TypeOpen, 1, wire.Failure{Code: s.code, Known: true})
			if _, err := c.Lock(t.Context(), "a"); !errors.Is(err, s.want) {
				t.Errorf("lock: %v", err)
			}
			p.refuse(wire.TypeOpen, 1, wire.Failure{Code: s.code, Known: true})
			if _, err := c.NewSession(t.Context(), client.SessionConfig{}); !errors.Is(err, s.want) {
				t.Errorf("session: %v", err)
			}
		}
		must(t, mustLock(t, c, "a").Err())
	})
}

// TestRevoked ends what somebody else ended, and nothing more.
func TestRevoked(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		var life wire.Life
		p.set(func() {
			p.up = func(m wire.Message) (toNode, toClient []wire.Message) {
				if k, ok := m.(*wire.KeepAlive); ok {
					life = k.Life
				}
				return []wire.Message{m}, nil
			}
		})
		l, other := mustLock(t, c, "a"), mustLock(t, c, "b")
		again := got[*client.Lock](t)(c.Lock(l.Context(), "a", client.Reentrant()))
		time.Sleep(5 * time.Second)
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if m.Type() != wire.TypeKeepAliveAnswer {
					return []wire.Message{m}
				}
				return []wire.Message{&wire.Revoked{Life: life, Name: "a", Token: l.Token(), How: wire.Broken}, m}
			}
		})
		<-l.Context().Done()
		<-again.Context().Done()
		for _, l := range []*client.Lock{l, again} {
			if err := l.Err(); !errors.Is(err, client.ErrBroken) || !errors.Is(err, client.ErrLockLost) {
				t.Errorf("cause %v", err)
			}
		}
		if err := l.Unlock(t.Context()); !errors.Is(err, client.ErrLockLost) {
			t.Errorf("unlock: %v", err)
		}
		must(t, other.Err())
	})
}

// TestSessionEnded loses everything at once when the cluster says that the session is over.
func TestSessionEnded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		l := mustLock(t, c, "a")
		ended := false
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				k, ok := m.(*wire.KeepAliveAnswer)
				if !ok || ended {
					return []wire.Message{m}
				}
				ended = true
				return []wire.Message{&wire.SessionEnded{Life: k.Life, How: wire.Broken, Index: 1, Clock: k.Clock}}
			}
		})
		<-l.Context().Done()
		if left := time.Until(l.ValidUntil()); left < time.Second || !errors.Is(l.Err(), client.ErrSessionExpired) {
			t.Errorf("%v before the end of its validity: %v", left, l.Err())
		}
		must(t, mustLock(t, c, "b").Err())
	})
}

// TestClockStoodStill ends what is held when the cluster's time shows that the own clock stood still, which nothing else tells.
func TestClockStoodStill(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("b")
		l := mustLock(t, c, "a")
		time.Sleep(10 * time.Second)
		must(t, l.Err())
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if k, ok := m.(*wire.KeepAliveAnswer); ok {
					k.Clock += 20 * time.Second
				}
				return []wire.Message{m}
			}
		})
		time.Sleep(5 * time.Second)
		if !errors.Is(l.Err(), client.ErrSessionExpired) {
			t.Errorf("err %v", l.Err())
		}
	})
}

// TestDoubledAndUnknown sends everything that the node says twice, with messages that nobody waits for in between.
func TestDoubledAndUnknown(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if m.Type() == wire.TypeWelcome {
					return []wire.Message{m}
				}
				return []wire.Message{
					&wire.Reply{ID: 1 << 40, Outcome: wire.Outcome{Code: wire.Granted, Token: 1}}, m,
					&wire.WaitOver{Seq: 7, Outcome: wire.Outcome{Code: wire.Granted, Token: 1}}, &wire.Revoked{Name: "a", Token: 1}, m,
					&wire.Digest{}, &wire.NoQuorum{}, &wire.SessionEnded{}, &wire.Failure{ID: 1 << 41, Code: wire.Forbidden, Known: true},
				}
			}
		})
		for range 5 {
			l := mustLock(t, c, "a")
			must(t, l.SetValue(t.Context(), []byte("v")))
			time.Sleep(10 * time.Second)
			must(t, l.Err())
			must(t, l.Unlock(t.Context()))
			got[[]client.Node](t)(c.Nodes(t.Context()))
		}
	})
}

// TestSilentNode asks another node when one takes requests and answers none.
func TestSilentNode(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		silent := uint64(0)
		c, p := w.proxied("a", func(c *client.Config) { c.RequestTimeout = time.Second })
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				switch m := m.(type) {
				case *wire.Welcome:
					if silent == 0 {
						silent = m.Node
					}
					if silent == m.Node {
						m.Leader = 0 // so that the client stays there
					}
				case *wire.StatusReply:
					if m.Node == silent {
						return nil
					}
				}
				return []wire.Message{m}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if s := got[client.Status](t)(c.Status(ctx, "")); s.Node == silent {
			t.Error("the silent node answered")
		}
	})
}

// TestWelcomeOfAnotherCluster is not believed, even if the node did not notice what the client asked for.
func TestWelcomeOfAnotherCluster(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c, p := w.proxied("a")
		l := mustLock(t, c, "a")
		changed := 0
		p.set(func() {
			p.down = func(m wire.Message) []wire.Message {
				if m, ok := m.(*wire.Welcome); ok {
					changed++
					m.Incarnation[0] ^= byte(changed)
				}
				return []wire.Message{m}
			}
		})
		w.Net.Reset("a")
		time.Sleep(time.Second)
		p.set(func() {
			if changed < 2 {
				t.Errorf("it stayed with the first that came")
			}
		})
		must(t, l.Unlock(t.Context())) // its session lives there, after all
	})
}
