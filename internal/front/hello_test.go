package front_test

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
)

func TestWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.dial(1)
		h := hello()
		h.Cluster, h.Incarnation, h.VersionMax = clusterID, incarnationID, 9
		c.send(h)
		got := next[*wire.Welcome](c)
		if got.Version != 1 || got.Cluster != clusterID || got.Incarnation != incarnationID || got.Node != 2 || got.Boot != 101 ||
			got.Leader != 1 || len(got.Nodes) != 3 || got.Limits.InFlight != 1024 || got.Limits.TTLMin != time.Second {
			t.Errorf("%+v", got)
		}
	})
}

func TestBadHello(t *testing.T) {
	tests := []struct {
		name string
		send func(c *client)
		code wire.Code
	}{
		{"silence", func(*client) {}, wire.TooSlow},
		{"half a frame", func(c *client) { c.raw([]byte{0, 0, 0, 70, 1, 0x9b}) }, wire.TooSlow},
		{"HTTP", func(c *client) { c.raw([]byte("GET / HTTP/1.1\r\n\r\n")) }, wire.OutOfStep},
		{"TLS", func(c *client) { c.raw([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}) }, wire.OutOfStep},
		{"longer than a Hello may be", func(c *client) { c.raw([]byte{0, 0, 0x40, 1, 1}) }, wire.OutOfStep},
		{"another message", func(c *client) { c.send(&wire.Status{ID: 1}) }, wire.OutOfStep},
		{"an unknown message", func(c *client) { c.raw([]byte{0, 0, 0, 3, 0x0f, 0x91, 1}) }, wire.OutOfStep},
		{"malformed", func(c *client) { c.raw([]byte{0, 0, 0, 3, 1, 0x91, 1}) }, wire.Malformed},
		{"another magic", func(c *client) { h := hello(); h.Magic = "locks"; c.send(h) }, wire.OutOfStep},
		{"later versions only", func(c *client) { h := hello(); h.VersionMin, h.VersionMax = 2, 3; c.send(h) }, wire.VersionMismatch},
		{"another cluster", func(c *client) { h := hello(); h.Cluster = wire.ID{9}; c.send(h) }, wire.WrongCluster},
		{"another incarnation", func(c *client) { h := hello(); h.Incarnation = wire.ID{9}; c.send(h) }, wire.WrongCluster},
		{"an unknown role", func(c *client) { h := hello(); h.Role = 3; c.send(h) }, wire.Unsupported},
		{"a node of no cluster", func(c *client) { h := hello(); h.Role = wire.RoleNode; c.send(h) }, wire.WrongCluster},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				c := w.dial(0)
				began := time.Now()
				test.send(c)
				c.over(test.code)
				if took := time.Since(began); test.code == wire.TooSlow && took != 5*time.Second {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
}

// frame returns a frame of any type with any body.
func frame(t wire.Type, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	return append(append(b, byte(t)), body...)
}

// The stream is closed only when it cannot be trusted.
func TestStreamsThatMakeNoSense(t *testing.T) {
	tests := []struct {
		name string
		send func(c *client)
		code wire.Code
	}{
		{"an oversized frame", func(c *client) { c.raw([]byte{0, 0x10, 0, 1, 0x10}) }, wire.OutOfStep},
		{"a frame without a body", func(c *client) { c.raw([]byte{0, 0, 0, 1, 0x10}) }, wire.OutOfStep},
		{"a second Hello", func(c *client) { c.send(hello()) }, wire.OutOfStep},
		{"a Digest", func(c *client) { c.send(&wire.Digest{Batch: 1}) }, wire.Unsupported},
		{"a Forward", func(c *client) { c.send(&wire.Forward{Batch: 1}) }, wire.Unsupported},
		{"a Forwarded", func(c *client) { c.send(&wire.Forwarded{Batch: 1}) }, wire.Unsupported},
		{"a malformed Forward", func(c *client) { c.raw(frame(wire.TypeForward, 0xc0)) }, wire.Unsupported},
		{"an unknown message between nodes", func(c *client) { c.raw(frame(0x7f, 0x90)) }, wire.Unsupported},
		{"a frame that does not end", func(c *client) { c.raw([]byte{0, 0, 1, 0, 0x12, 0x9e}) }, wire.TooSlow},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				c := w.connect(0)
				began := time.Now()
				test.send(c)
				c.over(test.code)
				if took := time.Since(began); test.code == wire.TooSlow && took != 10*time.Second {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
}

// A frame that comes a byte at a time has the time of one frame, not of each byte.
func TestTricklingFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.connect(0)
		began := time.Now()
		trickled := make(chan struct{})
		go func() {
			defer close(trickled)
			for _, b := range frame(wire.TypeStatus, bytes.Repeat([]byte{0xc0}, 100)...) {
				if _, err := c.conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		c.over(wire.TooSlow)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("closed after %v", took)
		}
		<-trickled
	})
}

// What is wrong with one frame is answered, or passed over, and the stream goes on.
func TestBadFrames(t *testing.T) {
	big := bytes.Repeat([]byte{0xc0}, wire.FrameMax-64)
	nils := append([]byte{0x93, 0x07, 0xc0, 0xdd, 0, 0xf, 0xff, 0xb0}, big...)
	status := []byte{0x92, 0x07, 0xc0}
	tests := []struct {
		name string
		send []byte
		code wire.Code // of the failure; 0: nothing is answered
	}{
		{"an unknown request", frame(0x3f, 0x91, 7), wire.Unsupported},
		{"an unknown request without an id", frame(0x3f, 0xc0), wire.Malformed},
		{"an unknown event", frame(0x5f, 0x90), 0},
		{"an unknown message of the connection", frame(0x0f, 0x90), 0},
		{"an unknown answer", frame(0xff, 0x90), 0},
		{"an answer", frame(wire.TypeFailure, 0x95, 1, 0x64, 0xc3, 0, 0xa0), 0},
		{"another shape", frame(wire.TypeStatus, 0x92, 0x07, 0xa1, 'x'), wire.Malformed},
		{"too few fields", frame(wire.TypeStatus, 0x91, 0x07), wire.Malformed},
		{"trailing bytes", frame(wire.TypeStatus, append(status, 0xc0)...), wire.Malformed},
		{"a negative number", frame(wire.TypeStatus, 0x92, 0xff, 0xc0), wire.Malformed},
		{"1 MB of nils", frame(wire.TypeCheckTokens, nils...), wire.Malformed},
		{"nested too deep", frame(wire.TypeStatus, 0x93, 7, 0xc0, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0xc0), wire.Malformed},
		{"a malformed KeepAlive", frame(wire.TypeKeepAlive, 0xc0), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var malformed atomic.Int64
				w := newWorld(t, 1, func(o *front.Options) { o.Events.Malformed = func(wire.Type) { malformed.Add(1) } })
				c := w.connect(0)
				c.raw(test.send)
				if test.code != 0 {
					f := next[*wire.Failure](c)
					if f.Code != test.code || !f.Known || f.Text == "" {
						t.Errorf("%+v", f)
					}
				}
				c.send(&wire.Status{ID: c.next()})
				if got := next[*wire.StatusReply](c); got.ID != c.id {
					t.Errorf("%+v", got)
				}
				if test.code == wire.Malformed && malformed.Load() != 1 {
					t.Errorf("%d malformed frames were told", malformed.Load())
				}
			})
		})
	}
}

// Many connections that send nothing hold up nobody, and are gone in time.
func TestSilentConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var connections atomic.Int64
		w := newWorld(t, 1, func(o *front.Options) {
			o.Limits.Connections = 10_001
			o.Events.Connections = func(clients, _ int) { connections.Store(int64(clients)) }
		})
		var silent []*client
		for range 10_000 {
			silent = append(silent, w.dial(0))
		}
		c := w.connect(0)
		life := c.open(1)
		c.want(c.acquire(life, 1, 0, "a"), wire.Granted)
		late := w.dial(0)
		late.over(wire.Overloaded)
		time.Sleep(5*time.Second + time.Millisecond)
		for _, s := range silent {
			s.over(wire.TooSlow)
		}
		time.Sleep(2 * time.Second) // longer than a peer is seen out
		if n := connections.Load(); n != 1 {
			t.Errorf("%d connections are left", n)
		}
		c.want(c.acquire(life, 2, 0, "b"), wire.Granted)
	})
}
