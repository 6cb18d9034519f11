package lockd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// saveTo writes the state of a node to a file.
func saveTo(t *testing.T, b *bare) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lockd.snap")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.state.Save(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// restoreTo makes a home in memory what Restore makes of a directory.
func restoreTo(t *testing.T, h *memoryHome, c Config, path string, noWait bool) {
	t.Helper()
	c = c.filled()
	id := newIdentity(&c)
	id.Nonce[0] = 42
	info, mark, err := inspect(path, func(r io.Reader) io.Reader { return r })
	if err != nil {
		t.Fatal(err)
	}
	id.Restored = &restored{Index: raft.Index(info.Index), Seed: 1 << 30, Wait: -1}
	if noWait {
		id.Restored.Wait = 0
	}
	read := &restoring{ctx: t.Context()}
	err = fill(h, id, func(s checkpoint.Store) error { return stage(s, path, mark, read) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
}

const leaseTTL = time.Hour

// populate opens a session, which takes a lock and a lease.
func populate(t *testing.T, nodes []*bare) (life session.Life, lock, lease uint64) {
	t.Helper()
	opened := do(t, nodes, &locktable.Open{ID: session.ID{7}, TTL: 2 * time.Minute})
	life = session.Life{ID: session.ID{7}, Index: opened.Index}
	held := do(t, nodes, &locktable.Acquire{Request: locktable.Request{Session: life, Seq: 1}, Names: []string{"lock"}, Mode: locktable.Exclusive})
	leased := do(t, nodes, &locktable.Acquire{
		Request: locktable.Request{Session: life, Seq: 2}, Names: []string{"lease"}, Mode: locktable.Exclusive,
		LeaseID: session.ID{9}, LeaseTTL: leaseTTL,
	})
	if held.Code != locktable.Granted || leased.Code != locktable.Granted {
		t.Fatalf("%+v, %+v", held, leased)
	}
	return life, held.Token, leased.Token
}

// try asks for a lock in a session of its own, as at a cluster time.
func try(t *testing.T, nodes []*bare, id byte, at time.Duration, name string) locktable.Reply {
	t.Helper()
	header := locktable.Header{Stamp: at}
	opened := do(t, nodes, &locktable.Open{Header: header, ID: session.ID{id}, TTL: time.Minute})
	seq := uint64(at / time.Second)
	q := locktable.Request{Session: session.Life{ID: session.ID{id}, Index: opened.Index}, Seq: seq + 1, Acked: seq}
	return do(t, nodes, &locktable.Acquire{Header: header, Request: q, Names: []string{name}, Mode: locktable.Exclusive})
}

// TestS11RestoredClusterIsAnotherOne restores a cluster of three on its first node: the others adopt its fresh id, sessions and what
// they held are gone, leases stay, nothing is granted before the longest TTL has passed, and tokens go on far above.
func TestS11RestoredClusterIsAnotherOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		nodes := c.found(t)
		life, lock, lease := populate(t, nodes)
		path := saveTo(t, nodes[0])
		lost := try(t, nodes, 8, 0, "granted after the snapshot")
		old := nodes[0].founded.id.cluster()
		closeAll(t, nodes...)

		for i := range c.homes {
			c.homes[i] = &memoryHome{}
		}
		restoreTo(t, c.homes[0], c.config(0), path, false)
		for i := range nodes { // the others may well be there first
			nodes[2-i], _ = c.node(t.Context(), t, 2-i)
			time.Sleep(2 * time.Second)
		}
		synctest.Wait()
		fresh := nodes[0].founded.id.cluster()
		for i, n := range nodes {
			if n.raft == nil || n.founded.id.cluster() != fresh || fresh == old {
				t.Fatalf("node %d is of the cluster %x, the first of %x; the old one was %x", i, n.founded.id.cluster(), fresh, old)
			}
		}
		if reply := do(t, nodes, &locktable.Release{Request: locktable.Request{Session: life, Seq: 3}, Name: "lock", Token: lock}); reply.Code != locktable.SessionUnknown {
			t.Errorf("a session of the old cluster releases: %v", reply.Code)
		}
		renewed := do(t, nodes, &locktable.RenewLease{Name: "lease", ID: session.ID{9}, Token: lease, TTL: leaseTTL})
		if renewed.Code != locktable.OK {
			t.Errorf("the lease: %v", renewed.Code)
		}
		if reply := try(t, nodes, 1, 119*time.Second, "lock"); reply.Code != locktable.Embargo {
			t.Errorf("before the longest TTL has passed: %+v", reply)
		}
		granted := try(t, nodes, 2, 121*time.Second, "lock")
		if granted.Code != locktable.Granted || granted.Token <= lost.Token+1<<41 || granted.Previous.How != locktable.Forgotten {
			t.Errorf("afterwards: %+v; the old cluster had come to token %d", granted, lost.Token)
		}
		if reply := try(t, nodes, 3, 122*time.Second, "lease"); reply.Code != locktable.Held {
			t.Errorf("the name of the lease: %+v", reply)
		}
		same(t, nodes)
		closeAll(t, nodes...)
	})
}

// same waits until all nodes have applied the same, and compares their states.
func same(t *testing.T, nodes []*bare) {
	t.Helper()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	var want session.Hash
	for i, n := range nodes {
		head := n.store.Head()
		if i == 0 {
			want = head.Hash
		}
		if head.Hash != want || head.Index != nodes[0].store.Head().Index {
			t.Errorf("node %d: hash %v at entry %d, not %v at entry %d", i, head.Hash, head.Index, want, nodes[0].store.Head().Index)
		}
	}
}

// A node that still holds the old cluster's data is not taken along, and the restored one does not begin beside it.
func TestS11RestoredClusterBeginsWithEmptyNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		nodes := c.found(t)
		populate(t, nodes)
		path := saveTo(t, nodes[0])
		nodes[0].close(t)
		nodes[2].close(t)
		c.homes[0], c.homes[2] = &memoryHome{}, &memoryHome{}
		restoreTo(t, c.homes[0], c.config(0), path, false)
		first, started := c.node(t.Context(), t, 0)
		if err := <-started; err == nil || !strings.Contains(err.Error(), "begins with empty nodes") {
			t.Errorf("beside a node of the old cluster: %v", err)
		}
		closeAll(t, first, nodes[1])
	})
}

// Who knows that the old cluster is dead need not wait.
func TestRestoreWithoutWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio()
		nodes := c.found(t)
		populate(t, nodes)
		path := saveTo(t, nodes[0])
		closeAll(t, nodes...)
		for i := range c.homes {
			c.homes[i] = &memoryHome{}
		}
		restoreTo(t, c.homes[0], c.config(0), path, true)
		nodes = c.found(t)
		if reply := try(t, nodes, 1, 0, "lock"); reply.Code != locktable.Granted {
			t.Errorf("%+v", reply)
		}
		closeAll(t, nodes...)
	})
}

// onDisk is a cluster of one node on a real disk, with all it needs of the system on loopback.
func onDisk(t *testing.T, dir string) *bare {
	t.Helper()
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bare{}
	if err := b.open(Config{Name: DefaultName, DataDir: dir, ListenRaft: "127.0.0.1:0"}, d); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bare) mustStart(t *testing.T) *bare {
	t.Helper()
	if err := b.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRestoreMakesADirectory goes the operator's way, on a disk: save, inspect, restore, start.
func TestRestoreMakesADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "old")
	b := onDisk(t, dir).mustStart(t)
	_, _, lease := populate(t, []*bare{b})
	path := saveTo(t, b)
	b.close(t)

	info, err := Inspect(path)
	if err != nil || info.Locks != 2 || info.Sessions != 1 || info.Token != lease || len(info.Voters) != 1 || info.Bytes == 0 {
		t.Fatalf("inspect: %+v, %v", info, err)
	}
	o := RestoreOptions{Snapshot: path, Name: DefaultName, DataDir: dir}
	if _, err := Restore(t.Context(), o); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("into a directory that is used: %v", err)
	}
	o.DataDir = filepath.Join(t.TempDir(), "new")
	var read, total int64
	o.Progress = func(r, of int64) { read, total = r, of }
	done, err := Restore(t.Context(), o)
	if err != nil || done.Seed < info.Token+1<<42 || !done.Wait || done.Index != info.Index || read != total || total != 2*info.Bytes {
		t.Fatalf("restore: %+v, read %d of %d, %v", done, read, total, err)
	}
	n := onDisk(t, o.DataDir).mustStart(t)
	if reply := try(t, []*bare{n}, 1, 0, "new"); reply.Code != locktable.Embargo {
		t.Errorf("at once: %+v", reply)
	}
	if reply := try(t, []*bare{n}, 2, time.Hour/2, "new"); reply.Code != locktable.Granted || reply.Token <= done.Seed {
		t.Errorf("later: %+v, seed %d", reply, done.Seed)
	}
	n.close(t)
	n = onDisk(t, o.DataDir).mustStart(t)
	n.state.View(func(table *locktable.Table) {
		if check := table.CheckToken("lease", lease); check.Validity != locktable.Valid {
			t.Errorf("the lease at the start after: %+v", check)
		}
	})
	n.close(t)
}

// TestS12SeedIsAboveAllTokens covers what Restore does with clocks that cannot be right.
func TestS12SeedIsAboveAllTokens(t *testing.T) {
	b := onDisk(t, filepath.Join(t.TempDir(), "old")).mustStart(t)
	populate(t, []*bare{b})
	path := saveTo(t, b)
	b.close(t)
	later := time.Now().Add(48 * time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	o := RestoreOptions{Snapshot: path, Name: DefaultName, DataDir: filepath.Join(t.TempDir(), "new")}
	if _, err := Restore(t.Context(), o); !errors.Is(err, locktable.ErrWallClock) || !strings.Contains(err.Error(), "token floor") {
		t.Errorf("a snapshot from the future: %v", err)
	}
	o.TokenFloor = 1 << 52
	done, err := Restore(t.Context(), o)
	if err != nil || done.Seed != 1<<52 {
		t.Fatalf("with a token floor: %+v, %v", done, err)
	}
	n := onDisk(t, o.DataDir).mustStart(t)
	if reply := try(t, []*bare{n}, 1, time.Hour, "new"); reply.Code != locktable.Granted || reply.Token <= 1<<52 {
		t.Errorf("granted %+v", reply)
	}
	n.close(t)
}

// What is no whole snapshot is refused, and leaves a directory that can be used.
func TestRestoreRefusesBadSnapshots(t *testing.T) {
	b := onDisk(t, filepath.Join(t.TempDir(), "old")).mustStart(t)
	populate(t, []*bare{b})
	path := saveTo(t, b)
	b.close(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(string(whole))
	flipped[len(flipped)/2] ^= 1
	o := RestoreOptions{Snapshot: path, Name: DefaultName, DataDir: filepath.Join(t.TempDir(), "new")}
	for name, bad := range map[string][]byte{"cut": whole[:len(whole)-1], "flipped": flipped, "empty": nil, "text": []byte("no snapshot at all, but a text")} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Inspect(path); !errors.Is(err, checkpoint.ErrBadStream) || !strings.Contains(err.Error(), path) {
			t.Errorf("inspect %s: %v", name, err)
		}
		if _, err := Restore(t.Context(), o); !errors.Is(err, checkpoint.ErrBadStream) {
			t.Errorf("restore %s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	o.Progress = func(read, total int64) {
		if read > total/2 {
			cancel(enough)
		}
	}
	if _, err := Restore(ctx, o); !errors.Is(err, enough) {
		t.Errorf("interrupted: %v", err)
	}
	o.InitialCluster = []Member{{"a", "h:1"}, {DefaultName, "h:2"}}
	if _, err := Restore(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the first of its list") {
		t.Errorf("on the second of a list: %v", err)
	}
	o.InitialCluster = nil
	if _, err := Restore(t.Context(), o); err != nil {
		t.Errorf("in the end: %v", err)
	}
}

// spoil flips bits in badger's tables and logs.
func spoil(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"*.sst", "MANIFEST"} {
		files, err := filepath.Glob(filepath.Join(dir, stateDirName, "sm-*", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for _, path := range files {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 0xff
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestL13SingleNodeRebuildsItself damages the checkpoint of a single node on a disk. With its copy and its log it comes back with
// everything; without the copy it says what helps, and damages nothing more.
func TestL13SingleNodeRebuildsItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	b := onDisk(t, dir).mustStart(t)
	life, lock, lease := populate(t, []*bare{b})
	b.close(t)
	spoil(t, dir)
	b = onDisk(t, dir)
	if err := b.state.Damaged(); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatalf("damaged: %v", err)
	}
	b.mustStart(t)
	if reply := do(t, []*bare{b}, &locktable.Release{Request: locktable.Request{Session: life, Seq: 3}, Name: "lock", Token: lock}); reply.Code != locktable.OK {
		t.Errorf("release of what was held before: %+v", reply)
	}
	b.state.View(func(table *locktable.Table) {
		if check := table.CheckToken("lease", lease); check.Validity != locktable.Valid {
			t.Errorf("the lease: %+v", check)
		}
	})
	b.close(t)

	spoil(t, dir)
	kept := filepath.Join(dir, stateDirName, "kept.snapshot")
	if err := os.Rename(kept, kept+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b = onDisk(t, dir)
		err := b.start(t.Context())
		if !errors.Is(err, errStateLost) || !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), "snapshot restore") {
			t.Fatalf("without the copy: %v", err)
		}
		b.raft = nil
		b.close(t)
	}
	if err := os.Rename(kept+".away", kept); err != nil {
		t.Fatal(err)
	}
	b = onDisk(t, dir).mustStart(t)
	if reply := try(t, []*bare{b}, 1, 0, "lease"); reply.Code != locktable.Held {
		t.Errorf("with the copy again: %+v", reply)
	}
	b.close(t)
}

// A node that finds no log though it has one is not to vote again.
func TestS14MissingLogIsSeen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	b := onDisk(t, dir).mustStart(t)
	b.close(t)
	if err := os.RemoveAll(filepath.Join(dir, logDirName)); err != nil {
		t.Fatal(err)
	}
	b = onDisk(t, dir)
	if err := b.start(t.Context()); err == nil || !strings.Contains(err.Error(), "is its disk mounted") {
		t.Errorf("without its log: %v", err)
	}
	b.close(t)
}
