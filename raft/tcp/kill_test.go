package tcp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// victimEnv holds the address of the survivor in the process that is to be killed.
const victimEnv = "LOCKD_TCP_VICTIM_OF"

func TestMain(m *testing.M) {
	if survivor := os.Getenv(victimEnv); survivor != "" {
		victim(survivor)
	}
	os.Exit(m.Run())
}

// survivorNode tells of the first message and of hints.
type survivorNode struct {
	connected chan struct{}
	hints     chan time.Time
	log       chan raft.Hint
}

func (s *survivorNode) Receive([]raft.Message) {
	select {
	case s.connected <- struct{}{}:
	default:
	}
}

func (s *survivorNode) Hint(h raft.Hint) {
	now := time.Now()
	select {
	case s.hints <- now:
		s.log <- h
	default:
	}
}

func (*survivorNode) ReceiveSnapshot(context.Context, raft.SnapshotHeader, io.Reader) error {
	return nil
}

func newNode(self raft.PeerID) (*tcp.Transport, *survivorNode, error) {
	n := &survivorNode{make(chan struct{}, 1), make(chan time.Time, 2), make(chan raft.Hint, 2)}
	tr, err := tcp.New(tcp.Options{Cluster: [16]byte{1}, Self: self, Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, nil, err
	}
	return tr, n, tr.Start(n)
}

var survivorID, victimID = raft.PeerID{Node: 1}, raft.PeerID{Node: 2}

// victim exchanges a message with the survivor, and waits for the end.
func victim(survivor string) {
	tr, n, err := newNode(victimID)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tr.SetPeers([]raft.Peer{{ID: survivorID, Address: survivor}})
	fmt.Println(tr.Addr())
	tr.Send([]raft.Message{{From: victimID, To: survivorID, Term: 1, Body: raft.TimeoutNow{}}})
	<-n.connected
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
	os.Exit(0)
}

// TestKillGivesHints: kill -9 of a process is seen on both connections with it.
func TestKillGivesHints(t *testing.T) {
	tr, n, err := newNode(survivorID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), victimEnv+"="+tr.Addr().String())
	child.Stderr = os.Stderr
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the victim says nothing")
	}
	tr.SetPeers([]raft.Peer{{ID: victimID, Address: strings.TrimSpace(lines.Text())}})
	<-n.connected
	tr.Send([]raft.Message{{From: survivorID, To: victimID, Term: 1, Body: raft.TimeoutNow{}}})
	if !lines.Scan() || lines.Text() != "connected" {
		t.Fatalf("the victim says %q", lines.Text())
	}
	killed := time.Now()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		at, hint := <-n.hints, <-n.log
		if hint.Peer != victimID {
			t.Errorf("hint %v", hint)
		}
		t.Logf("%v after kill -9: %v", at.Sub(killed), hint)
	}
	_ = child.Wait()
}
