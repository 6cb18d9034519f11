package tcp

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/raft"
)

// TestTrap58LogTrafficIsDroppedFirst: a peer that takes nothing fills its lane; votes and heartbeats get through all the
// same, before the log traffic, and of that an unbroken prefix.
func TestTrap58LogTrafficIsDroppedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.open(t, peerA, func(o *Options) {
			o.Limits = Limits{LogMessages: 100, LogBytes: 1 << 20, UrgentMessages: 50, Write: time.Hour}
		})
		a.begin(t, b.peer)
		stuck, release := make(chan struct{}), make(chan struct{})
		b.onReceive = func([]raft.Message) {
			if stuck != nil {
				close(stuck)
				stuck = nil
				<-release
			}
		}
		wait := stuck
		a.heartbeat(peerB, 0)
		<-wait
		const appends, votes = 1000, 40
		a.heartbeat(peerB, 0)
		synctest.Wait() // the lane is blocked with that one, and takes nothing from its queues
		for i := range raft.Index(appends) {
			a.Send([]raft.Message{command(peerA, peerB, i+1, 5000)})
			if i%(appends/votes) == 0 {
				a.heartbeat(peerB, uint64(i)+1)
			}
		}
		synctest.Wait()
		close(release)
		received := b.seen()[2:]
		heartbeats, last, lastHeartbeat := 0, raft.Index(0), 0
		for i, m := range received {
			switch body := m.Body.(type) {
			case raft.Heartbeat:
				heartbeats++
				lastHeartbeat = i
			case raft.Append:
				if body.Prev.Index != last {
					t.Fatalf("the Append after %d came after %d", body.Prev.Index, last)
				}
				last++
			}
		}
		if heartbeats != votes {
			t.Errorf("%d of %d heartbeats came", heartbeats, votes)
		}
		if stats := a.Stats(); stats.DroppedLog != appends-uint64(last) || stats.DroppedUrgent != 0 || stats.DroppedLog == 0 {
			t.Errorf("%d Appends came; %+v", last, stats)
		}
		if behind := len(received) - lastHeartbeat; behind < 50 {
			t.Errorf("the last heartbeat has overtaken %d messages only", behind)
		}
		closeAll(t, a, b)
	})
}

// TestUrgentQueueKeepsTheNewest: a peer that was stopped for long gets what matters now, not what mattered then.
func TestUrgentQueueKeepsTheNewest(t *testing.T) {
	l := &lane{t: &Transport{o: Options{Self: peerA}}, wake: make(chan struct{}, 1), connected: true}
	l.t.o.Limits = Limits{LogMessages: 10, LogBytes: 10, UrgentMessages: 100}
	const sent = 10_000
	for round := range uint64(sent) {
		l.push([]raft.Message{{From: peerA, To: peerB, Body: raft.Heartbeat{Round: round}}})
	}
	got := l.take(nil)
	if len(got) < 50 || len(got) > 100 {
		t.Fatalf("%d messages are kept, want 50 to 100", len(got))
	}
	for i, m := range got {
		if want := uint64(sent - len(got) + i); body[raft.Heartbeat](m).Round != want {
			t.Fatalf("message %d of %d is %v, want round %d", i, len(got), m.Body, want)
		}
	}
	if dropped := l.t.stats.droppedUrgent.Load(); dropped != sent-uint64(len(got)) {
		t.Errorf("%d dropped, %d kept, %d sent", dropped, len(got), sent)
	}
}

// TestNobodySpeaksForAnother: messages in somebody else's name are not sent.
func TestNobodySpeaksForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		a.Send([]raft.Message{{From: raft.PeerID{Node: 3}, To: peerB, Body: raft.TimeoutNow{}}})
		m := a.heartbeat(peerB, 1)
		if diff := cmp.Diff([]raft.Message{m}, b.seen()); diff != "" {
			t.Error(diff)
		}
		closeAll(t, a, b)
	})
}

// TestFirstMessagesWaitForTheConnection: the first vote of a node that has just started is not lost.
func TestFirstMessagesWaitForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA, raft.Peer{ID: peerB, Address: peerB.String()})
		var want []raft.Message
		for i := range uint64(2 * idleMessages) {
			m := a.heartbeat(peerB, i)
			want = append(want, m)
		}
		b := net.start(t, peerB)
		time.Sleep(a.o.Limits.MaxBackoff)
		got := b.seen()
		if len(got) < idleMessages/2 || len(got) > idleMessages {
			t.Fatalf("%d messages came", len(got))
		}
		if diff := cmp.Diff(want[len(want)-len(got):], got); diff != "" {
			t.Error(diff)
		}
		closeAll(t, a, b)
	})
}

// TestHintAtOnce: the end of a process is known to its peers in the same instant, again with each refused dial, and
// dials are few.
func TestHintAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		a.heartbeat(peerB, 1)
		time.Sleep(time.Hour)
		died := time.Now()
		closeAll(t, b)
		hints := a.hinted()
		if len(hints) == 0 || hints[0].what.Peer != peerB || hints[0].at != died {
			t.Fatalf("hints at the death of the peer: %v", hints)
		}
		before := net.dialed(b.peer.Address)
		time.Sleep(time.Minute)
		dials := net.dialed(b.peer.Address) - before
		if refused := len(a.hinted()) - len(hints); refused != dials {
			t.Errorf("%d hints for %d refused dials", refused, dials)
		}
		if dials < 60 || dials > 140 {
			t.Errorf("%d dials in a minute", dials)
		}
		closeAll(t, a)
	})
}

// TestHintFromAnAcceptedConnection: who never sends to a peer hears of its end as well.
func TestHintFromAnAcceptedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		b := net.start(t, peerB, a.peer)
		time.Sleep(time.Hour)
		died := time.Now()
		closeAll(t, b)
		if hints := a.hinted(); len(hints) != 1 || hints[0].what.Peer != peerB || hints[0].at != died {
			t.Errorf("hints: %v", hints)
		}
		closeAll(t, a)
	})
}

// TestLostDialIsGivenUpSoon: what the network loses is not awaited for as long as the kernel would, so that a way that opens again is found soon.
func TestLostDialIsGivenUpSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials int
		a := newPipeNet().open(t, peerA, func(o *Options) {
			o.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				dials++
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
		})
		a.begin(t, raft.Peer{ID: peerB, Address: peerB.String()})
		time.Sleep(time.Minute)
		synctest.Wait()
		if each := a.o.Limits.Connect + a.o.Limits.MaxBackoff; dials < int(time.Minute/each) {
			t.Errorf("%d dials in a minute", dials)
		}
		closeAll(t, a)
	})
}

// TestPeerThatReturnsIsDialedAtOnce: who hears of a peer does not wait for the end of its back-off.
func TestPeerThatReturnsIsDialedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA, raft.Peer{ID: peerB, Address: peerB.String()})
		time.Sleep(time.Hour)
		synctest.Wait()
		back := time.Now()
		b := net.start(t, peerB, a.peer)
		m := a.heartbeat(peerB, 1)
		if diff := cmp.Diff([]raft.Message{m}, b.seen()); diff != "" || time.Now() != back {
			t.Errorf("after %v: %s", time.Since(back), diff)
		}
		closeAll(t, a, b)
	})
}

// TestNewAddressIsDialedAtOnce, and the old one no more.
func TestNewAddressIsDialedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA, raft.Peer{ID: peerB, Address: "old"})
		time.Sleep(time.Hour)
		b := net.start(t, peerB)
		moved := time.Now()
		a.SetPeers([]raft.Peer{a.peer, b.peer})
		m := a.heartbeat(peerB, 1)
		if diff := cmp.Diff([]raft.Message{m}, b.seen()); diff != "" || time.Now() != moved {
			t.Errorf("after %v: %s", time.Since(moved), diff)
		}
		before := net.dialed("old")
		time.Sleep(time.Hour)
		if n := net.dialed("old") - before; n > 0 {
			t.Errorf("the old address was dialed %d more times", n)
		}
		closeAll(t, a, b)
	})
}

// TestRemovalIsNoDeath: the peers that a configuration change parts get no hint of it.
func TestRemovalIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		b.SetPeers([]raft.Peer{a.peer})
		a.heartbeat(peerB, 1)
		b.heartbeat(peerA, 1)
		if len(a.seen()) != 1 || len(b.seen()) != 1 {
			t.Fatal("the two are not connected")
		}
		a.SetPeers(nil)
		time.Sleep(time.Minute)
		for _, nd := range []*node{a, b} {
			if hints := nd.hinted(); len(hints) > 0 {
				t.Errorf("node %v: %v", nd.peer.ID, hints)
			}
		}
		closeAll(t, a, b)
	})
}

// TestPeerThatTakesNothingIsGivenUp: a stopped process with a full socket does not hold its lane for ever.
func TestPeerThatTakesNothingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipes := newPipeNet()
		listener := pipes.listen("stopped")
		var conns []net.Conn
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conns = append(conns, conn)
				_, _ = readPreamble(conn, maxHelloBytes)
				welcome := answer{by: Identity{Cluster: testCluster, ID: peerB}}
				_, _ = conn.Write(welcome.encode())
			}
		}()
		a := pipes.start(t, peerA, raft.Peer{ID: peerB, Address: "stopped"})
		synctest.Wait()
		began := time.Now()
		a.heartbeat(peerB, 1)
		time.Sleep(a.o.Limits.Write)
		hints := a.hinted()
		if len(hints) != 1 || hints[0].at.Sub(began) != a.o.Limits.Write {
			t.Errorf("hints: %v", hints)
		}
		closeAll(t, a)
		_ = listener.Close()
		<-done
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
}

// TestHeartbeatsPassASnapshot: a snapshot whose receiver is stuck keeps nothing else waiting.
func TestHeartbeatsPassASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.start(t, peerB)
		a := net.start(t, peerA, b.peer)
		release := make(chan struct{})
		b.onSnapshot = func(_ context.Context, r io.Reader) error {
			<-release
			_, err := io.Copy(io.Discard, r)
			return err
		}
		sent := make(chan error, 1)
		go func() { sent <- a.SendSnapshot(t.Context(), testHead, io.LimitReader(zeros{}, 10<<20)) }()
		time.Sleep(time.Minute)
		m := a.heartbeat(peerB, 1)
		if diff := cmp.Diff([]raft.Message{m}, b.seen()); diff != "" {
			t.Error(diff)
		}
		close(release)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		closeAll(t, a, b)
	})
}

func TestQueue(t *testing.T) {
	var q queue
	next, want := uint64(0), uint64(0)
	push := func(n int) {
		for range n {
			q.push(&raft.Message{Body: raft.Heartbeat{Round: next}}, 3)
			next++
		}
	}
	pop := func(n int) {
		t.Helper()
		for range n {
			m, size := q.pop()
			if got := body[raft.Heartbeat](m).Round; got != want || size != 3 {
				t.Fatalf("got %d of size %d, want %d", got, size, want)
			}
			want++
		}
	}
	for range 1000 {
		push(7)
		pop(5)
		push(1)
		pop(3)
	}
	push(100)
	q.dropOldest(40)
	want += 40
	if q.len() != 60 || q.bytes != 180 {
		t.Errorf("%d messages of %d bytes, want 60 of 180", q.len(), q.bytes)
	}
	pop(60)
	if cap(q.items) > 512 {
		t.Errorf("a queue of at most 100 has room for %d", cap(q.items))
	}
}
