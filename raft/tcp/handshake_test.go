package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/raft"
)

// greet dials a node by hand, says h and returns the answer; the connection lives on.
func greet(t *testing.T, n *pipeNet, name string, raw []byte) (net.Conn, answer) {
	t.Helper()
	conn, err := n.dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(raw); err != nil {
		t.Fatalf("say hello: %v", err)
	}
	body, err := readPreamble(conn, maxAnswerBytes)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	a, err := decodeAnswer(body)
	if err != nil {
		t.Fatal(err)
	}
	return conn, a
}

// TestTrap59HandshakeRefusesStrangers, and trap 36: what a wiped or foreign node says is never delivered, and both sides
// say why.
func TestTrap59HandshakeRefusesStrangers(t *testing.T) {
	otherVersion := (&hello{purpose: forMessages, cluster: testCluster, from: peerA, to: peerB, boot: 1}).encode()
	binary.LittleEndian.PutUint16(otherVersion[len(magic):], version+1)
	tests := []struct {
		name  string
		hello hello
		raw   []byte
		want  Code
	}{
		{"cluster", hello{forMessages, otherCluster, peerA, peerB, 1, ""}, nil, CodeCluster},
		{"incarnation", hello{forMessages, testCluster, peerA, raft.PeerID{Node: 2, Incarnation: 0xbad}, 1, ""}, nil, CodeIdentity},
		{"node", hello{forMessages, testCluster, peerA, raft.PeerID{Node: 3, Incarnation: 0xb}, 1, ""}, nil, CodeIdentity},
		{"nobody", hello{forMessages, testCluster, raft.PeerID{}, peerB, 1, ""}, nil, CodeBad},
		{"snapshot of another cluster", hello{forSnapshot, otherCluster, peerA, peerB, 1, ""}, nil, CodeCluster},
		{"version", hello{}, otherVersion, CodeVersion},
		{"welcome", hello{forMessages, testCluster, peerA, peerB, 1, ""}, nil, codeWelcome},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newPipeNet()
				b := net.start(t, peerB)
				raw := test.raw
				if raw == nil {
					raw = test.hello.encode()
				}
				conn, a := greet(t, net, b.peer.Address, raw)
				if a.code != test.want {
					t.Errorf("code %d (%s), want %d", a.code, a.reason, test.want)
				}
				m := raft.Message{Term: 1, Body: raft.Vote{}}
				frame, _ := appendMessage(nil, &m)
				_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = conn.Write(frame)
				if got, want := len(b.seen()), test.want; (got > 0) != (want == codeWelcome) {
					t.Errorf("%d messages were delivered", got)
				}
				if test.want != codeWelcome && b.logged("refused a connection", fmt.Sprintf("code=%d", test.want)) != 1 {
					t.Errorf("not logged once: %s", b.log.String())
				}
				_ = conn.Close()
				closeAll(t, b)
			})
		})
	}
}

// TestTrap36WipedPeerIsNotThePeer: a node that names an incarnation which is gone is refused, says so, and its messages
// do not reach the new one.
func TestTrap36WipedPeerIsNotThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		wiped := net.start(t, raft.PeerID{Node: 2, Incarnation: 0xc})
		a := net.start(t, peerA, raft.Peer{ID: peerB, Address: wiped.peer.Address})
		a.heartbeat(peerB, 1)
		time.Sleep(time.Minute)
		if got := wiped.seen(); len(got) > 0 {
			t.Errorf("the new incarnation received %v", got)
		}
		reason := "this is node 2.c, not 2.b"
		if n := wiped.logged("refused a connection", reason); n < 1 || n > 3 {
			t.Errorf("the refusing side logged it %d times in a minute: %s", n, wiped.log.String())
		}
		if n := a.logged("cannot reach peer", reason); n < 1 || n > 3 {
			t.Errorf("the refused side logged it %d times in a minute: %s", n, a.log.String())
		}
		if _, refusals := a.told(); len(refusals) == 0 || refusals[0].Code != CodeIdentity || refusals[0].By.ID != wiped.peer.ID {
			t.Errorf("events of the refused side: %+v", refusals)
		}
		closeAll(t, a, wiped)
	})
}

// TestA11CloneIsRefused: of two living processes with one PeerID the second is refused, and everybody hears of it.
func TestA11CloneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		b := net.open(t, peerB, func(o *Options) { o.Boot = 1 })
		b.begin(t, a.peer)
		first := b.heartbeat(peerA, 1)
		if diff := cmp.Diff([]raft.Message{first}, a.seen()); diff != "" {
			t.Fatal(diff)
		}
		clone := net.open(t, peerB, func(o *Options) {
			o.Boot = 2
			o.Listener = net.listen("elsewhere")
		})
		clone.begin(t, a.peer)
		clone.heartbeat(peerA, 666)
		time.Sleep(10 * time.Second)
		second := b.heartbeat(peerA, 2)
		if diff := cmp.Diff([]raft.Message{first, second}, a.seen()); diff != "" {
			t.Error(diff)
		}
		if clones, _ := a.told(); len(clones) == 0 || clones[0].Peer != peerB || clones[0].Boot != 1 || clones[0].Second != 2 {
			t.Errorf("clones reported to the observer: %+v", clones)
		}
		if _, refusals := clone.told(); len(refusals) == 0 || refusals[0].Code != CodeClone {
			t.Errorf("refusals reported to the clone: %+v", refusals)
		}
		if hints := a.hinted(); len(hints) > 0 {
			t.Errorf("hints against a living peer: %v", hints)
		}
		closeAll(t, a, b, clone)
	})
}

// TestA11CloneOfTheNodeItself: a clone dials the one it was copied from.
func TestA11CloneOfTheNodeItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		conn, got := greet(t, net, a.peer.Address, (&hello{forMessages, testCluster, peerA, peerA, a.o.Boot + 1, ""}).encode())
		if clones, _ := a.told(); got.code != CodeClone || len(clones) != 1 {
			t.Errorf("code %d (%s), clones %+v", got.code, got.reason, clones)
		}
		_ = conn.Close()
		conn, got = greet(t, net, a.peer.Address, (&hello{forMessages, testCluster, peerA, peerA, a.o.Boot, ""}).encode())
		if clones, _ := a.told(); got.code != CodeIdentity || len(clones) != 1 {
			t.Errorf("the node itself: code %d (%s), clones %+v", got.code, got.reason, clones)
		}
		_ = conn.Close()
		closeAll(t, a)
	})
}

// TestA11RestartIsNoClone: what a dead process left behind does not answer, so its successor is welcome after a moment.
func TestA11RestartIsNoClone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		dead, _ := greet(t, net, a.peer.Address, (&hello{forMessages, testCluster, peerB, peerA, 1, ""}).encode())
		go func() { _, _ = io.Copy(io.Discard, dead) }() // the kernel of its host still takes what is sent
		began := time.Now()
		next, got := greet(t, net, a.peer.Address, (&hello{forMessages, testCluster, peerB, peerA, 2, ""}).encode())
		if clones, _ := a.told(); got.code != codeWelcome || len(clones) > 0 {
			t.Errorf("code %d (%s), clones %+v", got.code, got.reason, clones)
		}
		if took, want := time.Since(began), a.o.Limits.CloneCheck; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		m := raft.Message{From: peerB, To: peerA, Term: 1, Body: raft.TimeoutNow{}}
		frame, _ := appendMessage(nil, &m)
		_, _ = next.Write(frame)
		if diff := cmp.Diff([]raft.Message{m}, a.seen()); diff != "" {
			t.Error(diff)
		}
		_, _ = dead.Close(), next.Close()
		closeAll(t, a)
	})
}

// TestA10ProbeTellsWhoListens: a founder learns incarnations and emptiness of all listed nodes, before anybody is started.
func TestA10ProbeTellsWhoListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		founder := net.open(t, peerA, nil)
		b := net.open(t, peerB, func(o *Options) { o.Boot = 7 })
		want := Identity{Cluster: testCluster, ID: peerB, Boot: 7}
		got, err := founder.Probe(t.Context(), b.peer.Address)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("before SetStatus a node must not look empty: %v, error %v", cmp.Diff(want, got), err)
		}
		want.Status = Status{Empty: true, Detail: []byte("2 of 3")}
		b.SetStatus(want.Status)
		got, err = founder.Probe(t.Context(), b.peer.Address)
		if err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%v, error %v", cmp.Diff(want, got), err)
		}
		b.SetPeers([]raft.Peer{founder.peer})
		b.SetPeers(nil)
		b.SetStatus(want.Status)
		if got, err := founder.Probe(t.Context(), b.peer.Address); err != nil || got.Status.Empty {
			t.Errorf("a node that has had peers says it is empty: %+v, error %v", got, err)
		}
		stranger := net.open(t, raft.PeerID{Node: 3}, func(o *Options) { o.Cluster = otherCluster })
		if got, err := founder.Probe(t.Context(), stranger.peer.Address); err != nil || got.Cluster != otherCluster {
			t.Errorf("probe of another cluster: %+v, error %v", got, err)
		}
		if _, err := founder.Probe(t.Context(), "nowhere"); !errors.Is(err, raft.ErrUnreachable) {
			t.Errorf("probe of nobody: error %v", err)
		}
		closeAll(t, founder, b, stranger)
	})
}

// TestNotStartedRefuses: a node that only answers probes takes no messages, and gets them as soon as it is started.
func TestNotStartedRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		b := net.open(t, peerB, nil)
		a := net.start(t, peerA, b.peer)
		time.Sleep(time.Second)
		if _, refusals := a.told(); len(refusals) == 0 || refusals[0].Code != CodeNotReady {
			t.Errorf("refusals: %+v", refusals)
		}
		b.begin(t)
		m := a.heartbeat(peerB, 1)
		time.Sleep(a.o.Limits.MaxBackoff)
		if diff := cmp.Diff([]raft.Message{m}, b.seen()); diff != "" {
			t.Error(diff)
		}
		closeAll(t, a, b)
	})
}

// TestSilentStrangersAreBounded: connections that say nothing do not pile up, and do not keep a peer out for long.
func TestSilentStrangersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		const strangers = 1000
		ended := 0
		for range strangers {
			conn, err := net.dial(t.Context(), a.peer.Address)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				a.with(func() { ended++ })
			}()
		}
		synctest.Wait()
		a.with(func() {
			if ended != strangers-maxHandshakes {
				t.Errorf("%d of %d connections were closed at once, want all but %d", ended, strangers, maxHandshakes)
			}
		})
		time.Sleep(a.o.Limits.Handshake + 2*time.Second)
		b := net.start(t, peerB, a.peer)
		m := b.heartbeat(peerA, 1)
		if diff := cmp.Diff([]raft.Message{m}, a.seen()); diff != "" {
			t.Error(diff)
		}
		if n := a.logged("refused a connection"); n > 4 {
			t.Errorf("%d lines in the log", n)
		}
		closeAll(t, a, b)
	})
}

// TestGarbageIsNoPeer: bytes that are no handshake, and frames that are no messages, end the connection and nothing else.
func TestGarbageIsNoPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newPipeNet()
		a := net.start(t, peerA)
		conn, err := net.dial(t.Context(), a.peer.Address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")) }()
		if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
			t.Errorf("the answer to garbage was %q, error %v", b, err)
		}
		_ = conn.Close()
		if a.logged("refused a connection", "GET / HT") != 1 {
			t.Errorf("not logged: %s", a.log.String())
		}
		for _, bad := range [][]byte{
			{0, 0, 0, 0, 1}, // no type
			{255, 255, 255, 255, byte(frameHeartbeat)}, // 4 GiB
			{2, 0, 0, 0, byte(frameHeartbeat), 7},      // too short
			{1, 0, 0, 0, 200},                          // unknown
			{1, 0, 0, 0, byte(framePing)},              // not this way
		} {
			conn, _ := greet(t, net, a.peer.Address, (&hello{forMessages, testCluster, peerB, peerA, 1, ""}).encode())
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, _ = conn.Write(bad)
			if b, err := io.ReadAll(conn); len(b) > 0 || err != nil {
				t.Errorf("frame %v: answer %q, error %v", bad, b, err)
			}
			_ = conn.Close()
		}
		if n := a.logged("closed the connection of a peer", "bad frame"); n != 5 {
			t.Errorf("%d bad frames logged: %s", n, a.log.String())
		}
		if hints := a.hinted(); len(hints) > 0 {
			t.Errorf("bad frames gave hints: %v", hints)
		}
		closeAll(t, a)
	})
}
