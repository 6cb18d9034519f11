package front_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
)

// Everything that a command can be answered, on the leader and over another node.
func TestCommands(t *testing.T) {
	for place := range 2 {
		t.Run(fmt.Sprintf("node %d", place+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c := w.connect(place)
				life := c.open(1)
				again := c.open(1)
				if again != life {
					t.Errorf("opened again: %v, want %v", again, life)
				}
				granted := c.want(c.acquire(life, 1, 0, "a"), wire.Granted)
				if granted.Token <= 1000 || granted.Floor != granted.Token {
					t.Errorf("%+v", granted)
				}
				c.want(c.acquire(life, 2, 0, "a"), wire.Held)
				c.want(c.acquire(life, 3, wire.Forever, "a"), wire.Queued)
				c.send(&wire.Cancel{ID: c.next(), Request: wire.Request{Life: life, Seq: 4}, Target: 3, Name: "a"})
				if over := next[*wire.WaitOver](c); over.Life != life || over.Seq != 3 || over.Outcome.Code != wire.Cancelled {
					t.Errorf("%+v", over)
				}
				if o := c.reply(); o.Code != wire.Cancelled {
					t.Errorf("%+v", o)
				}
				c.want(&wire.SetValue{ID: c.next(), Request: wire.Request{Life: life, Seq: 5}, Name: "a", Token: granted.Token}, wire.OK)
				c.want(c.release(life, 6, "a", granted.Token), wire.OK)

				lease := c.acquire(life, 7, 0, "l")
				lease.Lease, lease.LeaseTTL = wire.ID{7}, time.Hour
				held := c.want(lease, wire.Granted)
				c.want(&wire.RenewLease{ID: c.next(), Name: "l", Lease: wire.ID{7}, Token: held.Token, TTL: time.Hour}, wire.OK)
				c.send(&wire.TakeLease{ID: c.next(), Name: "l", Lease: wire.ID{7}, Token: held.Token, NewLease: wire.ID{8}, TTL: time.Hour})
				if over := next[*wire.Revoked](c); over.Token != held.Token || over.Name != "l" || over.Life != (wire.Life{}) || over.How != 5 {
					t.Errorf("%+v", over)
				}
				taken := c.reply()
				if taken.Code != wire.Granted || taken.Token <= held.Token {
					t.Errorf("%+v", taken)
				}
				c.want(&wire.RenewLease{ID: c.next(), Name: "l", Lease: wire.ID{7}, Token: held.Token, TTL: time.Hour}, wire.Gone)
				c.want(&wire.ReleaseLease{ID: c.next(), Name: "l", Lease: wire.ID{8}, Token: taken.Token}, wire.OK)
				c.send(&wire.Close{ID: c.next(), Life: life})
				if ended := next[*wire.SessionEnded](c); ended.Life != life || ended.How != 2 {
					t.Errorf("%+v", ended)
				}
				if o := c.reply(); o.Code != wire.OK {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

// Every limit and every wrong request has an answer of its own, and the connection goes on.
func TestWrongCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, other := w.connect(1), w.connect(1)
		life, stranger := c.open(1), other.open(2)
		granted := c.want(c.acquire(life, 1, 0, "a"), wire.Granted)
		foreign := other.want(other.acquire(stranger, 1, 0, "b"), wire.Granted)
		slots := func(limit uint32) *wire.Acquire {
			m := c.acquire(life, 50, 0, "s")
			m.Mode, m.Limit = wire.Slot, limit
			return m
		}
		with := func(change func(m *wire.Acquire)) wire.Message {
			m := c.acquire(life, 60, 0, "x")
			change(m)
			return m
		}
		tests := []struct {
			name string
			m    func() wire.Message
			code wire.Code
		}{
			{"TTL too short", func() wire.Message { return &wire.Open{ID: c.next(), Session: wire.ID{3}, TTL: time.Millisecond} }, wire.Invalid},
			{"TTL too long", func() wire.Message { return &wire.Open{ID: c.next(), Session: wire.ID{3}, TTL: time.Hour} }, wire.Invalid},
			{"grace above TTL", func() wire.Message {
				return &wire.Open{ID: c.next(), Session: wire.ID{3}, TTL: time.Second, Grace: time.Minute}
			}, wire.Invalid},
			{"control character", func() wire.Message { return c.acquire(life, 10, 0, "a\n") }, wire.Invalid},
			{"no name", func() wire.Message { return c.acquire(life, 11, 0) }, wire.Invalid},
			{"a name twice", func() wire.Message { return c.acquire(life, 12, 0, "x", "x") }, wire.Invalid},
			{"lock-delay too long", func() wire.Message { return with(func(m *wire.Acquire) { m.Delay = time.Hour }) }, wire.Invalid},
			{"wait too long", func() wire.Message { return with(func(m *wire.Acquire) { m.Wait = 40 * 24 * time.Hour }) }, wire.Invalid},
			{"lease too short", func() wire.Message {
				return with(func(m *wire.Acquire) { m.Lease, m.LeaseTTL = wire.ID{1}, time.Millisecond })
			}, wire.Invalid},
			{"no mode", func() wire.Message { return with(func(m *wire.Acquire) { m.Mode = 9 }) }, wire.Invalid},
			{"no slots", func() wire.Message { return slots(0) }, wire.Invalid},
			{"another kind", func() wire.Message { m := slots(3); m.Names = []string{"a"}; m.Request.Seq = 51; return m }, wire.WrongKind},
			{"held by the owner", func() wire.Message { m := c.acquire(life, 13, 0, "a"); m.Owner = 1; return m }, wire.AlreadyHeld},
			{"release by a non-holder", func() wire.Message { return c.release(life, 14, "b", foreign.Token) }, wire.NotHeld},
			{"token of another lock", func() wire.Message { return c.release(life, 15, "b", granted.Token) }, wire.NotHeld},
			{"token of nothing", func() wire.Message { return c.release(life, 16, "nothing", 1) }, wire.NotHeld},
			{"seq too far", func() wire.Message { return c.acquire(life, 2000, 0, "x") }, wire.WindowFull},
			{"acked", func() wire.Message { m := c.acquire(stranger, 2, 0, "y"); m.Request.Acked = 1; return m }, wire.Granted},
			{"seq acknowledged", func() wire.Message { return c.acquire(stranger, 1, 0, "b") }, wire.StaleSeq},
			{"unknown life", func() wire.Message { return c.acquire(wire.Life{ID: wire.ID{1}, Index: 1 << 40}, 1, 0, "x") }, wire.SessionUnknown},
			{"life that never was", func() wire.Message { return &wire.Close{ID: c.next(), Life: wire.Life{ID: wire.ID{9}}} }, wire.SessionUnknown},
			{"no such lease", func() wire.Message { return &wire.ReleaseLease{ID: c.next(), Name: "a", Token: 1} }, wire.Gone},
		}
		for _, test := range tests {
			m := test.m()
			c.send(m)
			if got := c.reply(); got.Code != test.code {
				t.Errorf("%s: %v, want %v", test.name, got.Code, test.code)
			}
		}
	})
}

// What is beyond the bounds of the protocol cannot be written by this package; the bytes are made by hand.
func TestBeyondTheProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		get := func(name string) []byte {
			b := append([]byte{0x95, 0x07, 0xc0, 0xc2, 0xda, byte(len(name) >> 8), byte(len(name))}, name...)
			return frame(wire.TypeGet, append(b, 1)...)
		}
		for name, b := range map[string][]byte{
			"long name": get(strings.Repeat("n", 513)), "not UTF-8": get("\xff\xfe"),
			"many tokens": frame(wire.TypeCheckTokens, append([]byte{0x93, 7, 0xc0, 0xdc, 0x03, 0xe9}, bytes.Repeat([]byte{0x92, 0xa1, 'a', 1}, 1001)...)...),
		} {
			c.raw(b)
			if f := next[*wire.Failure](c); f.Code != wire.Malformed || f.ID != 7 || !f.Known || f.Text == "" {
				t.Errorf("%s: %+v", name, f)
			}
		}
	})
}

func TestExpiredSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(1)
		life := c.open(1)
		w.expire(life)
		if e := next[*wire.SessionEnded](c); e.Life != life || e.How != wire.How(3) {
			t.Errorf("%+v", e)
		}
		c.want(c.acquire(life, 1, 0, "a"), wire.SessionUnknown)
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		if a := next[*wire.KeepAliveAnswer](c); a.Verdict != wire.Ended || a.Number != 1 || a.Life != life {
			t.Errorf("%+v", a)
		}
	})
}

func TestInFlightBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(o *front.Options) { o.Limits.InFlight = 8 })
		c := w.connect(0)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		for i := range 8 {
			c.send(c.acquire(life, uint64(i+1), 0, fmt.Sprint("n", i)))
		}
		c.send(c.acquire(life, 9, 0, "n9"))
		if f := c.failure(); f.Code != wire.Overloaded || !f.Known || f.Wait <= 0 || f.Text == "" {
			t.Errorf("%+v", f)
		}
		w.set(func() { w.nodes[0].stuck = false })
		for range 8 {
			if r := next[*wire.Reply](c); r.Outcome.Code != wire.Granted {
				t.Errorf("%+v", r)
			}
		}
		c.want(c.acquire(life, 9, 0, "n9"), wire.Granted)
	})
}

func TestPendingBytesBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(o *front.Options) { o.Limits.PendingBytes = 100 << 10 })
		c, other := w.connect(0), w.connect(0)
		life := c.open(1)
		w.set(func() { w.nodes[0].stuck = true })
		m := c.acquire(life, 1, 0, "a")
		m.Value = make([]byte, 60<<10)
		c.send(m)
		synctest.Wait()
		again := *m
		other.id = again.ID
		other.send(&again)
		if f := other.failure(); f.Code != wire.Overloaded || !f.Known || f.Wait <= 0 {
			t.Errorf("%+v", f)
		}
		w.set(func() { w.nodes[0].stuck = false })
		if o := c.reply(); o.Code != wire.Granted {
			t.Errorf("%+v", o)
		}
		again.ID = other.next()
		other.want(&again, wire.Granted)
	})
}

func TestLivesBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(o *front.Options) { o.Limits.Lives = 2 })
		c := w.connect(0)
		a, b := c.open(1), c.open(2)
		c.send(&wire.Open{ID: c.next(), Session: wire.ID{3}, TTL: time.Second})
		if f := c.failure(); f.Code != wire.Overloaded || !f.Known {
			t.Errorf("%+v", f)
		}
		c.send(&wire.KeepAlive{Life: wire.Life{ID: wire.ID{3}, Index: 9}, Number: 1}) // is not answered
		synctest.Wait()
		w.expire(a)
		next[*wire.SessionEnded](c)
		c.open(3)
		c.want(c.acquire(b, 1, 0, "a"), wire.Granted)
	})
}

// Below the disk mark what grows the state is refused, on the node and on the leader; releases and reads go on.
func TestDiskFull(t *testing.T) {
	for _, full := range []int{0, 1} {
		t.Run(fmt.Sprintf("node %d", full+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c := w.connect(1)
				life := c.open(1)
				granted := c.want(c.acquire(life, 1, 0, "a"), wire.Granted)
				w.set(func() { w.nodes[full].full = errors.New("3 MiB are left on the disk") })
				for _, m := range []wire.Message{
					&wire.Open{ID: 91, Session: wire.ID{3}, TTL: time.Second}, &wire.SetValue{ID: 91, Request: wire.Request{Life: life, Seq: 9}, Name: "a"},
					&wire.Acquire{ID: 91, Request: wire.Request{Life: life, Seq: 9}, Names: []string{"b"}}, &wire.TakeLease{ID: 91, Name: "a"},
				} {
					c.send(m)
					c.id = 91
					if f := c.failure(); f.Code != wire.DiskFull || !f.Known || f.Wait <= 0 || f.Text == "" {
						t.Errorf("%s: %+v", m.Type(), f)
					}
				}
				c.send(&wire.Get{ID: c.next(), Name: "a", Most: 1})
				if r := next[*wire.LockReply](c); !r.Found {
					t.Errorf("%+v", r)
				}
				c.want(&wire.RenewLease{ID: c.next(), Name: "a", TTL: time.Second}, wire.Gone)
				c.want(c.release(life, 2, "a", granted.Token), wire.OK)
				c.want(&wire.Cancel{ID: c.next(), Request: wire.Request{Life: life, Seq: 4}, Target: 3, Name: "a"}, wire.Cancelled)
				w.set(func() { w.nodes[full].full = nil })
				c.want(c.acquire(life, 5, 0, "b"), wire.Granted)
			})
		})
	}
}

// A client that reads nothing is closed, and costs no more than its queue until then.
func TestReaderThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Int64
		w := newWorld(t, 1, func(o *front.Options) {
			o.Events.Goodbye = func(c wire.Code) {
				if c == wire.TooSlow {
					slow.Add(1)
				}
			}
		})
		good := w.connect(0)
		life := good.open(1)
		m := good.acquire(life, 1, 0, "a")
		m.Value = make([]byte, 64<<10)
		good.want(m, wire.Granted)

		c := w.connect(0)
		asked := make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				if c.out.Write(&wire.Get{ID: uint64(n), Stale: true, Name: "a", Most: 1}) != nil || c.out.Flush() != nil {
					break
				}
			}
			asked <- n
		}()
		began := time.Now()
		n := <-asked
		if took := time.Since(began); took < 10*time.Second || took > 21*time.Second {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		if slow.Load() != 1 {
			t.Errorf("%d connections were closed as too slow", slow.Load())
		}
		if n > 20_000 {
			t.Errorf("%d requests were taken of a client that reads nothing", n)
		}
		good.want(good.acquire(life, 2, 0, "b"), wire.Granted)
	})
}

// A client that reads late, but in time, misses nothing: meanwhile the node reads no more from it.
func TestSlowReaderGetsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(o *front.Options) { o.Limits.QueueBytes = 1 << 20 })
		c := w.connect(0)
		life := c.open(1)
		m := c.acquire(life, 1, 0, "a")
		m.Value = make([]byte, 60<<10)
		c.want(m, wire.Granted)
		const asked = 100
		for i := range asked {
			c.send(&wire.Get{ID: uint64(i), Stale: true, Name: "a", Most: 1})
		}
		time.Sleep(5 * time.Second)
		for i := range asked {
			if r := next[*wire.LockReply](c); r.ID != uint64(i) || len(r.Lock.Holders) != 1 {
				t.Fatalf("answer %d: %+v", i, r)
			}
		}
	})
}

// Events pile up for a client that reads nothing, however little it asks for.
func TestEventsThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, func(o *front.Options) { o.Limits.QueueBytes = 16 << 10 })
		c := w.connect(0)
		var lives []wire.Life
		for i := range 5000 {
			c.send(&wire.Open{ID: c.next(), Session: wire.ID{byte(i), byte(i >> 8)}, TTL: time.Minute})
			lives = append(lives, wire.Life{ID: wire.ID{byte(i), byte(i >> 8)}, Index: next[*wire.Reply](c).Index})
		}
		w.expire(lives...)
		synctest.Wait()
		events := 0
		m := c.read()
		for ; m != nil; m = c.read() {
			if g, ok := m.(*wire.Goodbye); ok {
				if g.Code != wire.TooSlow {
					t.Errorf("%+v", g)
				}
				break
			}
			events++
		}
		if m == nil || events == len(lives) {
			t.Errorf("%d events came, and then %v", events, m)
		}
	})
}
