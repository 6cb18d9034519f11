package raft_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
	"github.com/lockd/lockd/raft/wal"
)

// bulk is a state machine whose state is large: a digest of all commands, and so many bytes of ballast that follow from
// the mark and lie in a file once a snapshot has brought them.
type bulk struct {
	dir   string
	bytes int64

	mu     sync.Mutex // guards the fields below
	mark   raft.Mark
	digest uint64
}

func (b *bulk) Apply(batch raft.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range batch.Entries {
		h := fnv.New64a()
		_, _ = fmt.Fprint(h, b.digest)
		_, _ = h.Write(e.Bytes())
		b.digest = h.Sum64()
	}
	b.mark = raft.Mark{Position: batch.Entries[len(batch.Entries)-1].Position(), Config: batch.Config}
}

func (b *bulk) Mark() raft.Mark {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark
}

func (b *bulk) state() (raft.Index, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mark.Index, b.digest
}

type bulkSnapshot struct {
	io.Reader
	mark raft.Mark
}

func (s bulkSnapshot) Mark() raft.Mark { return s.mark }
func (bulkSnapshot) Close() error      { return nil }

func ballast(i raft.Index) io.Reader {
	return rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)})
}

func (b *bulk) Snapshot() (raft.Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	head := strings.NewReader(fmt.Sprintf("%20d", b.digest))
	return bulkSnapshot{io.MultiReader(head, io.LimitReader(ballast(b.mark.Index), b.bytes)), b.mark}, nil
}

// Restore keeps the ballast in a file and checks every byte.
func (b *bulk) Restore(mark raft.Mark, r io.Reader) (raft.Installation, error) {
	head := make([]byte, 20)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	digest, err := strconv.ParseUint(strings.TrimSpace(string(head)), 10, 64)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(b.dir, "ballast"))
	if err != nil {
		return nil, err
	}
	got, want := fnv.New64a(), fnv.New64a()
	n, err := io.Copy(io.MultiWriter(f, got), r)
	err = errors.Join(err, f.Sync(), f.Close())
	if _, e := io.CopyN(want, ballast(mark.Index), b.bytes); e != nil || err != nil {
		return nil, errors.Join(err, e)
	}
	if n != b.bytes || got.Sum64() != want.Sum64() {
		return nil, fmt.Errorf("%d bytes of ballast with sum %x, want %d with %x", n, got.Sum64(), b.bytes, want.Sum64())
	}
	mark.Installed = true
	return bulkInstallation{b, mark, digest}, nil
}

type bulkInstallation struct {
	b      *bulk
	mark   raft.Mark
	digest uint64
}

func (i bulkInstallation) Commit() error {
	i.b.mu.Lock()
	defer i.b.mu.Unlock()
	i.b.mark, i.b.digest = i.mark, i.digest
	return nil
}

func (bulkInstallation) Discard() {}

// bulkNode runs a node on a real disk and real sockets.
type bulkNode struct {
	peer    raft.Peer
	net     *tcp.Transport
	machine *bulk
	node    *raft.Node
}

func newBulkNode(t *testing.T, id raft.NodeID, bytes int64) *bulkNode {
	t.Helper()
	n := &bulkNode{machine: &bulk{dir: t.TempDir(), bytes: bytes}}
	var err error
	n.peer.ID = raft.PeerID{Node: id, Incarnation: 1}
	if n.net, err = tcp.New(tcp.Options{Cluster: [16]byte{3}, Self: n.peer.ID, Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	n.peer.Address = n.net.Addr().String()
	return n
}

func (n *bulkNode) start(t *testing.T, config *raft.Config, snapshots *atomic.Int32) {
	t.Helper()
	disk, err := wal.DirFS(filepath.Join(n.machine.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Create(wal.Options{FS: disk, SegmentBytes: 1 << 20, Identity: wal.Identity{Cluster: [16]byte{3}, Peer: n.peer.ID}})
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		if err := raft.Bootstrap(log, *config); err != nil {
			t.Fatal(err)
		}
	}
	n.node, err = raft.Start(raft.NodeOptions{
		Core:    raft.Options{ID: n.peer.ID, Seed: uint64(n.peer.ID.Node), CacheBytes: 1 << 20},
		Engine:  raft.EngineOptions{KeepEntries: 1000, KeepBytes: 1 << 20},
		Storage: log, Transport: n.net, Machine: n.machine,
		Events: raft.Events{Snapshot: func(peer raft.PeerID, sent bool, err error) {
			t.Logf("snapshot with %v, sent %v: %v", peer, sent, err)
			if sent {
				snapshots.Add(1)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.node.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestL10LearnerCatchesUpUnderLoad gives a newcomer a state that takes much longer to send than the log is kept for
// anybody else, while proposals go on. One snapshot must do: the log after it waits for the newcomer, which then becomes a
// voter. LOCKD_SNAPSHOT_BYTES asks for a larger state than every run sends; sender and receiver are this one process,
// whose memory is told.
func TestL10LearnerCatchesUpUnderLoad(t *testing.T) {
	size := int64(48 << 20)
	if s := os.Getenv("LOCKD_SNAPSHOT_BYTES"); s != "" {
		var err error
		if size, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var snapshots atomic.Int32
	var config raft.Config
	nodes := make([]*bulkNode, 3)
	for i := range nodes {
		nodes[i] = newBulkNode(t, raft.NodeID(i+1), size)
		config.Voters = append(config.Voters, nodes[i].peer)
	}
	for _, n := range nodes {
		n.start(t, &config, &snapshots)
	}
	if _, err := nodes[0].node.Read(ctx); err != nil {
		t.Fatal(err)
	}
	s, _, err := nodes[0].node.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	leader := nodes[s.Leader.Node-1]

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var proposed atomic.Int64
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := leader.node.Propose(ctx, raft.Proposal{Data: make([]byte, 128)}); err != nil {
					t.Error(err)
					return
				}
				proposed.Add(1)
			}
		})
	}
	waitStatus(ctx, t, leader.node, "compaction", func(s raft.Status) bool { return s.Base.Index > 0 })
	before := resetPeak(t)
	began, at := time.Now(), proposed.Load()
	newcomer := newBulkNode(t, 4, size)
	newcomer.start(t, nil, &snapshots)
	s = waitStatus(ctx, t, leader.node, "readiness", func(s raft.Status) bool { return s.Ready })
	next := s.Config
	next.Learners = []raft.Peer{newcomer.peer}
	if _, err := leader.node.Reconfigure(ctx, s.Config.Index, next); err != nil {
		t.Fatal(err)
	}
	promote(ctx, t, leader.node, newcomer.peer)
	took, during := time.Since(began), proposed.Load()-at
	peak := peakMemory(t)
	close(stop)
	wg.Wait()
	waitSame(ctx, t, slices.Concat(nodes, []*bulkNode{newcomer}))
	if n := snapshots.Load(); n != 1 {
		t.Errorf("%d snapshots were sent, want 1", n)
	}
	t.Logf("%d MiB and the log after it in %v, beside %d proposals; resident memory rose by %d MiB at most",
		size>>20, took.Round(time.Millisecond), during, (peak-before)>>20)
}

// promote makes a learner a voter as soon as it has caught up.
func promote(ctx context.Context, t *testing.T, leader *raft.Node, peer raft.Peer) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		s, _, err := leader.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		next := s.Config
		next.Voters, next.Learners = append(slices.Clip(next.Voters), peer), nil
		_, err = leader.Reconfigure(ctx, s.Config.Index, next)
		if err == nil {
			return
		}
		if !errors.Is(err, raft.ErrNotCaughtUp) && !errors.Is(err, raft.ErrConfigPending) {
			t.Fatal(err)
		}
		<-poll.C
	}
}

func waitStatus(ctx context.Context, t *testing.T, n *raft.Node, what string, good func(raft.Status) bool) raft.Status {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		s, _, err := n.Status(ctx)
		if err != nil {
			t.Fatalf("wait for %s: %v", what, err)
		}
		if good(s) {
			return s
		}
		<-poll.C
	}
}

// waitSame waits until all nodes have applied the same entries, which after a change of voters includes one that the
// leader proposes by itself, and compares their digests.
func waitSame(ctx context.Context, t *testing.T, nodes []*bulkNode) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		i0, d0 := nodes[0].machine.state()
		same := true
		for _, n := range nodes {
			i, d := n.machine.state()
			same = same && i == i0
			if i == i0 && d != d0 {
				t.Fatalf("node %v has another digest than the first node after entry %d: %x, %x", n.peer.ID, i, d, d0)
			}
		}
		s, _, err := nodes[0].node.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if same && s.Commit == i0 && !s.Config.Joint() {
			return
		}
		<-poll.C
	}
}

// resetPeak forgets the process's peak of resident memory and returns its present size.
func resetPeak(t *testing.T) int64 {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil {
		t.Logf("the peak of memory cannot be reset: %v", err)
	}
	return memoryField(t, "VmRSS:")
}

func peakMemory(t *testing.T) int64 { return memoryField(t, "VmHWM:") }

// memoryField reads a size from the kernel; zero where there is none to read.
func memoryField(t *testing.T, field string) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Logf("the kernel does not tell the process's memory: %v", err)
		return 0
	}
	_, rest, _ := strings.Cut(string(b), field)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
