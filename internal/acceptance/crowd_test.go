package acceptance

import (
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/wire"
)

// TestField07Crowd lets a crowd wait for one lock over one connection: a release sends one message to one of them, as long as it
// is for a small crowd. What the entry of the release changes in the state is tested with 100,000 in the lock table.
func TestField07Crowd(t *testing.T) {
	bytes := map[int]int64{}
	for _, waiters := range []int{50, 5000} {
		synctest.Test(t, func(t *testing.T) {
			c := testcluster.StartBubble(t, 3)
			bytes[waiters] = handOver(t, c, waiters)
		})
	}
	if more := bytes[5000] - bytes[50]; more > 16 { // some numbers in it are longer
		t.Errorf("a hand-over costs %d bytes with 5,000 waiters, %d with 50", bytes[5000], bytes[50])
	}
}

// counted counts what is read.
type counted struct {
	net.Conn
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n += int64(n)
	return n, err
}

// crowd speaks the protocol itself, with many sessions on one connection.
type crowd struct {
	t    *testing.T
	conn *counted
	r    *wire.Reader
	w    *wire.Writer
	id   uint64
}

func (c *crowd) send(m wire.Message) {
	c.t.Helper()
	if err := c.w.Write(m); err != nil {
		c.t.Fatal(err)
	}
	if err := c.w.Flush(); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads up to the answer to the newest request.
func (c *crowd) reply() *wire.Reply {
	c.t.Helper()
	for {
		m, err := c.r.Read()
		if err != nil {
			c.t.Fatal(err)
		}
		switch m := m.(type) {
		case *wire.Reply:
			if m.ID == c.id {
				return m
			}
		case *wire.Failure:
			c.t.Fatalf("refused: %+v", m)
		}
	}
}

func (c *crowd) open(n int) wire.Life {
	c.t.Helper()
	var id wire.ID
	binary.BigEndian.PutUint64(id[:], uint64(n)+1)
	c.id++
	c.send(&wire.Open{ID: c.id, Session: id, TTL: 10 * time.Minute})
	return wire.Life{ID: id, Index: c.reply().Index}
}

func (c *crowd) acquire(life wire.Life, seq uint64, want wire.Code) wire.Outcome {
	c.t.Helper()
	c.id++
	c.send(&wire.Acquire{
		ID: c.id, Request: wire.Request{Life: life, Seq: seq}, Names: []string{"hot"}, Mode: wire.Exclusive, Wait: wire.Forever, Owner: seq,
	})
	out := c.reply().Outcome
	if out.Code != want {
		c.t.Fatalf("acquire: %v, not %v", out.Code, want)
	}
	return out
}

// handOver returns how many bytes come from the node because of one release.
func handOver(t *testing.T, cluster *testcluster.Cluster, waiters int) int64 {
	t.Helper()
	raw, err := cluster.Net.Host("crowd").Dial(t.Context(), cluster.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	conn := &counted{Conn: raw}
	c := &crowd{t: t, conn: conn, r: wire.NewReader(conn, wire.FrameMax), w: wire.NewWriter(raw)}
	c.send(&wire.Hello{Magic: wire.Magic, VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient, Agent: "crowd"})
	if m, err := c.r.Read(); err != nil || m.Type() != (&wire.Welcome{}).Type() {
		t.Fatalf("no welcome: %v, %v", m, err)
	}
	const each = 50 // waits of one session
	holder := c.open(0)
	grant := c.acquire(holder, 1, wire.Granted)
	for i := range waiters / each {
		life := c.open(i + 1)
		for seq := range uint64(each) {
			c.acquire(life, seq+1, wire.Queued)
		}
	}
	synctest.Wait()
	before := conn.n
	c.id++
	c.send(&wire.Release{ID: c.id, Request: wire.Request{Life: holder, Seq: 2, Acked: 1}, Name: "hot", Token: grant.Token})
	over := 0
	if err := raw.SetReadDeadline(time.Now().Add(900 * time.Millisecond)); err != nil { // the TTL is ten minutes: nothing else is due
		t.Fatal(err)
	}
	for {
		m, err := c.r.Read()
		if err != nil {
			break
		}
		if _, ok := m.(*wire.WaitOver); ok {
			over++
		}
	}
	if over != 1 {
		t.Errorf("%d waiters were woken up, of %d", over, waiters)
	}
	return conn.n - before
}
