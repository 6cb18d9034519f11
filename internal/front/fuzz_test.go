package front_test

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
)

// encoded returns the frames of messages.
func encoded(t testing.TB, ms ...wire.Message) (b []byte) {
	t.Helper()
	for _, m := range ms {
		var err error
		if b, err = wire.Append(b, m); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// FuzzConnection lets any bytes arrive on a connection, of a client or of a node, behind a Hello or as one. Whatever they are, nothing
// panics, what is sent back makes sense, the connection ends when its other side does, and the node goes on serving.
func FuzzConnection(f *testing.F) {
	life := wire.Life{ID: wire.ID{1}, Index: 2}
	request := wire.Request{Life: life, Seq: 1}
	f.Add(byte(0), encoded(f, hello(), &wire.Open{ID: 1, Session: wire.ID{1}, TTL: time.Second}))
	f.Add(byte(1), encoded(f, &wire.Open{ID: 1, Session: wire.ID{1}, TTL: time.Second}, &wire.KeepAlive{Life: life, Number: 1},
		&wire.Acquire{ID: 2, Request: request, Names: []string{"a"}, Mode: wire.Exclusive, Wait: wire.Forever},
		&wire.Release{ID: 3, Request: request, Name: "a", Token: 1001}, &wire.Cancel{ID: 4, Request: request, Target: 1, Name: "a"},
		&wire.SetValue{ID: 5, Request: request, Name: "a"}, &wire.Close{ID: 6, Life: life}))
	f.Add(byte(1), encoded(f, &wire.RenewLease{ID: 1, Name: "a"}, &wire.ReleaseLease{ID: 2, Name: "a"}, &wire.TakeLease{ID: 3, Name: "a"},
		&wire.CheckTokens{ID: 4, Tokens: []wire.Token{{Name: "a", Token: 1}}}, &wire.Get{ID: 5, Name: "a", Most: 3},
		&wire.List{ID: 6, Stale: true}, &wire.GetSession{ID: 7}, &wire.ListSessions{ID: 8}, &wire.Status{ID: 9}, &wire.Goodbye{Code: 1}))
	f.Add(byte(2), encoded(f, &wire.Digest{Batch: 1, KeepAlives: []wire.KeepAlive{{Life: life, Number: 1}}},
		&wire.Disconnected{Lives: []wire.Life{life}}, &wire.Forward{Batch: 2, Commands: []wire.Command{{Data: []byte{1, 9}}}}))
	f.Add(byte(1), frame(0x3f, 0x91, 7))
	f.Add(byte(1), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1, func(o *front.Options) { o.Limits.InFlight = 16 })
			c := w.dial(0)
			h := hello()
			switch kind % 3 {
			case 1:
				c.raw(encoded(t, h))
			case 2:
				h.Role, h.Cluster = wire.RoleNode, clusterID
				c.raw(encoded(t, h))
			}
			go func() {
				_, _ = c.conn.Write(b) // it may be closed on the way
				if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite()
				}
			}()
			in := wire.NewReader(c.conn, wire.FrameMax)
			for {
				m, err := in.Read()
				if err == io.EOF || err == io.ErrUnexpectedEOF || m == nil && err != nil && !isBody(err) { //nolint:errorlint // as the Reader returns them
					break
				}
				if _, unknown := m.(*wire.Unknown); err != nil || unknown {
					t.Fatalf("the node sends %v, %v", m, err)
				}
			}
			good := w.connect(0)
			good.open(200)
		})
	})
}

func isBody(err error) bool {
	_, ok := err.(*wire.BodyError) //nolint:errorlint // as the Reader returns it
	return ok
}
