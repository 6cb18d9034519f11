package lockd_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
)

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// A lock goes from one session to another, over different nodes; all nodes tell the same.
func exercise(t *testing.T, dial func(context.Context, string) (net.Conn, error), endpoints []string) {
	t.Helper()
	first, last := connect(t, dial, endpoints[0]), connect(t, dial, endpoints[len(endpoints)-1])
	a, b := first.open(1, 10*time.Second), last.open(2, 10*time.Second)
	held := first.acquire(a, 1, "jobs/nightly", 0)
	if held.Code != wire.Granted || held.Token == 0 {
		t.Fatalf("the first Acquire got %+v, want a grant with a token", held)
	}
	if got := last.acquire(b, 1, "jobs/nightly", 0); got.Code != wire.Held {
		t.Fatalf("a try for a held lock got %v, want held", got.Code)
	}
	if got := last.acquire(b, 2, "jobs/nightly", wire.Forever); got.Code != wire.Queued {
		t.Fatalf("a wait for a held lock got %v, want queued", got.Code)
	}
	for i, address := range endpoints {
		c := connect(t, dial, address)
		if got := c.get("jobs/nightly"); !got.Found || len(got.Lock.Holders) != 1 || got.Lock.Holders[0].Token != held.Token || got.Lock.Queue != 1 {
			t.Errorf("node %d tells %+v, want one holder with token %d and one waiter", i, got.Lock, held.Token)
		}
	}
	if answer := first.keepAlive(a); answer.Verdict != 1 {
		t.Errorf("a KeepAlive was answered with verdict %d, want renewed", answer.Verdict)
	}
	if answer := last.keepAlive(b); answer.Verdict != 1 {
		t.Errorf("a KeepAlive over the last node was answered with verdict %d, want renewed", answer.Verdict)
	}
	if code := first.release(a, 2, "jobs/nightly", held.Token); code != wire.OK {
		t.Fatalf("Release: %v", code)
	}
	over, _ := last.push(10*time.Second, func(m wire.Message) bool { _, ok := m.(*wire.WaitOver); return ok }).(*wire.WaitOver)
	if over.Outcome.Code != wire.Granted || over.Outcome.Token <= held.Token {
		t.Errorf("the wait ended with %+v, want a grant with a token above %d", over.Outcome, held.Token)
	}
}

func TestSingleNodeNeedsNoList(t *testing.T) {
	c := testcluster.Start(t, 1)
	exercise(t, dialTCP, c.Endpoints())
}

func TestThreeNodesServeAlike(t *testing.T) {
	c := testcluster.Start(t, 3)
	for i := range 3 {
		if got, want := c.Server(i).Addresses(), c.Addresses(i); got != want {
			t.Errorf("node %d listens at %+v, not %+v", i, got, want)
		}
	}
	exercise(t, dialTCP, c.Endpoints())
}

func TestThreeNodesServeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		exercise(t, c.Net.Host("client").Dial, c.Endpoints())
	})
}

// What was granted is there after all nodes have crashed at once.
func TestGrantsSurviveACrashOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		client := connect(t, c.Net.Host("client").Dial, c.Endpoints()[1])
		life := client.open(1, time.Minute)
		held := client.acquire(life, 1, "a", 0)
		for i := range 3 {
			c.Crash(i)
		}
		for i := range 3 {
			c.Run(i)
		}
		c.WaitReady()
		again := connect(t, c.Net.Host("client").Dial, c.Endpoints()[2])
		if got := again.get("a"); !got.Found || got.Lock.Holders[0].Token != held.Token {
			t.Fatalf("after the crash the lock is %+v, want its holder with token %d", got, held.Token)
		}
		if answer := again.keepAlive(life); answer.Verdict != 1 {
			t.Errorf("the session's KeepAlive is answered with %d, want renewed: each leader gives a full TTL", answer.Verdict)
		}
		if again.welcome.Cluster != client.welcome.Cluster || again.welcome.Incarnation != client.welcome.Incarnation {
			t.Error("the cluster has another name after a crash")
		}
	})
}

// A silent client's lock goes on within its TTL and a second, and not before its TTL.
func TestSilentSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 5 * time.Second
		c := testcluster.StartBubble(t, 3)
		dial := c.Net.Host("client").Dial
		silent, waits := connect(t, dial, c.Endpoints()[0]), connect(t, dial, c.Endpoints()[1])
		a, b := silent.open(1, ttl), waits.open(2, time.Minute)
		opened := time.Now()
		silent.acquire(a, 1, "x", 0)
		waits.acquire(b, 1, "x", wire.Forever)
		over, _ := waits.push(ttl+2*time.Second, func(m wire.Message) bool { _, ok := m.(*wire.WaitOver); return ok }).(*wire.WaitOver)
		if took := time.Since(opened); took < ttl-100*time.Millisecond || took > ttl+300*time.Millisecond {
			t.Errorf("the lock went on after %v, want the TTL of %v and at most 300 ms", took, ttl)
		}
		if over.Outcome.Code != wire.Granted || over.Outcome.Previous.How != wire.Expired {
			t.Errorf("the wait ended with %+v, want a grant after an expired hold", over.Outcome)
		}
	})
}

// A leader that is stopped hands over first; who waits does not notice.
func TestGracefulStopOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		leader := leaderOf(t, c)
		client := connect(t, c.Net.Host("client").Dial, c.Endpoints()[(leader+1)%3])
		life := client.open(1, time.Minute)
		before := time.Now()
		c.Stop(leader)
		if got := client.acquire(life, 1, "a", 0); got.Code != wire.Granted {
			t.Errorf("Acquire after the leader has gone: %v", got.Code)
		}
		if took := time.Since(before); took > 700*time.Millisecond {
			t.Errorf("it took %v to stop the leader and be served by the next one; it was to hand over", took)
		}
	})
}

// TestHandOver asks nodes to give leadership away: the leader does, at once, and the others have none to give.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		leader := leaderOf(t, c)
		before := time.Now()
		for i := range 3 {
			if i != leader {
				if err := c.Server(i).HandOver(t.Context()); err != nil {
					t.Errorf("%s, a follower: %v", c.Name(i), err)
				}
			}
		}
		if got := leaderOf(t, c); got != leader {
			t.Fatalf("%s leads after followers were asked to hand over", c.Name(got))
		}
		if err := c.Server(leader).HandOver(t.Context()); err != nil {
			t.Error(err)
		}
		if got := leaderOf(t, c); got == leader {
			t.Errorf("%s leads still", c.Name(got))
		}
		if took := time.Since(before); took > 300*time.Millisecond {
			t.Errorf("it took %v, as long as an election", took)
		}
		alone := testcluster.StartBubble(t, 1)
		if err := alone.Server(0).HandOver(t.Context()); err != nil {
			t.Errorf("a cluster of one: %v", err)
		}
		server, err := lockd.New(lockd.Config{Memory: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.HandOver(t.Context()); !errors.Is(err, lockd.ErrNotRunning) {
			t.Errorf("a node that does not run: %v", err)
		}
	})
}

func TestClientsAreToldGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 1)
		client := connect(t, c.Net.Host("client").Dial, c.Endpoints()[0])
		c.Stop(0)
		bye, _ := client.push(time.Second, func(m wire.Message) bool { _, ok := m.(*wire.Goodbye); return ok }).(*wire.Goodbye)
		if bye.Code != wire.ShuttingDown {
			t.Errorf("the last word was %v, want that it is shutting down", bye.Code)
		}
	})
}

func leaderOf(t *testing.T, c *testcluster.Cluster) int {
	t.Helper()
	for i := range 3 {
		s, err := c.Server(i).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Role == "leader" {
			return i
		}
	}
	t.Fatal("nobody leads")
	return 0
}

func TestCloseEndsARunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := lockd.New(lockd.Config{
			Name: "n1", Memory: true, ListenHTTP: lockd.Off, Listen: nowhere, InitialCluster: []lockd.Member{{"n1", "n1:1"}, {"n2", "n2:1"}},
			ListenClient: "n1:2", ListenRaft: "n1:1",
			Dial: func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- s.Run(t.Context()) }()
		time.Sleep(time.Second) // it waits for n2
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ran; !errors.Is(err, lockd.ErrClosed) {
			t.Errorf("Run returned %v, want ErrClosed", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
		if err := s.Run(t.Context()); err == nil {
			t.Error("a Server runs twice")
		}
	})
}

// silence is a listener that nobody reaches.
type silence struct{ closed chan struct{} }

func nowhere(context.Context, string) (net.Listener, error) { return silence{make(chan struct{})}, nil }

func (s silence) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }

func (s silence) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func (silence) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func TestSecondDaemonIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	testcluster.Start(t, 1, func(_ int, c *lockd.Config) { c.DataDir = dir })
	second, err := lockd.New(lockd.Config{Name: "n1", DataDir: dir, ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenHTTP: lockd.Off})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, lockd.ErrDataDirInUse) {
		t.Errorf("a second process on one data directory got %v, want ErrDataDirInUse", err)
	}
}

func TestSnapshotIsSaved(t *testing.T) {
	c := testcluster.Start(t, 1)
	var b bytes.Buffer
	if err := c.Server(0).SaveSnapshot(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b.Bytes(), []byte("lockdsnp")) {
		t.Errorf("the snapshot begins with %q", b.Bytes()[:min(8, b.Len())])
	}
}

// A leader that falls silent without a word, its connections open: the other two serve again within a few election timeouts, and
// renew what was opened before.
func TestSilentLeaderIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testcluster.StartBubble(t, 3)
		leader := leaderOf(t, c)
		dial := c.Net.Host("client").Dial
		var clients []*raw
		var lives []wire.Life
		for i := range 3 {
			if i != leader {
				client := connect(t, dial, c.Endpoints()[i])
				clients, lives = append(clients, client), append(lives, client.open(uint64(i+1), time.Minute))
			}
		}
		for i := range 3 {
			if i != leader {
				c.Net.Cut(c.Name(leader), c.Name(i))
			}
		}
		cut := time.Now()
		for i, client := range clients {
			client.renews(lives[i], 500*time.Millisecond)
			t.Logf("KeepAlive answered after %v", time.Since(cut))
		}
		for i, client := range clients {
			if got := client.acquire(lives[i], 1, c.Name(i), 0); got.Code != wire.Granted {
				t.Errorf("Acquire: %v", got.Code)
			}
			t.Logf("Acquire answered after %v", time.Since(cut))
		}
		if took := time.Since(cut); took > 3*time.Second {
			t.Errorf("it took %v to renew and to grant again", took)
		}
	})
}

// Close may come before the goroutine that is to call Run.
func TestCloseBeforeRun(t *testing.T) {
	s, err := lockd.New(lockd.Config{Memory: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, lockd.ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}
