package lockd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/raft/wal"
)

// beyond is more than any disk has free.
const beyond = 1 << 60

// running runs one node on loopback until the test ends or stop is called, and returns where it serves clients.
func running(t *testing.T, c lockd.Config) (client string, stop func() error) {
	t.Helper()
	ready := make(chan lockd.Addresses, 1)
	c.ListenClient, c.ListenRaft, c.ListenHTTP = "127.0.0.1:0", "127.0.0.1:0", lockd.Off
	c.Ready = func(a lockd.Addresses) { ready <- a }
	s, err := lockd.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ran
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case a := <-ready:
		return a.Client, stop
	case err := <-ran:
		ran <- nil
		t.Fatalf("the node has stopped: %v", err)
		return "", stop
	}
}

// failure wants a refusal by the node.
func (c *raw) failure(request func(id uint64) wire.Message) *wire.Failure {
	c.t.Helper()
	m, err := c.ask(request)
	if err != nil {
		c.t.Fatal(err)
	}
	f, ok := m.(*wire.Failure)
	if !ok {
		c.t.Fatalf("the answer is %+v, want a Failure", m)
	}
	return f
}

func acquiring(life wire.Life, seq uint64, name string) func(id uint64) wire.Message {
	return func(id uint64) wire.Message {
		return &wire.Acquire{
			ID: id, Request: wire.Request{Life: life, Seq: seq, Acked: seq - 1}, Names: []string{name}, Mode: wire.Exclusive, Owner: seq,
		}
	}
}

// Below the mark only what grows the state is refused.
func TestFullDiskRefusesGrowthAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	address, stop := running(t, lockd.Config{DataDir: dir})
	c := connect(t, dialTCP, address)
	life := c.open(1, time.Minute)
	held := c.acquire(life, 1, "a", 0)
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	address, _ = running(t, lockd.Config{DataDir: dir, MinFree: beyond})
	c = connect(t, dialTCP, address)
	refused := c.failure(acquiring(life, 2, "b"))
	if refused.Code != wire.DiskFull || !refused.Known || !strings.Contains(refused.Text, "lockd-1") {
		t.Errorf("Acquire on a full disk got %+v, want DiskFull, that it had no effect, and whose disk it is", refused)
	}
	if answer := c.keepAlive(life); answer.Verdict != 1 {
		t.Errorf("a KeepAlive got verdict %d, want renewed", answer.Verdict)
	}
	if got := c.get("a"); !got.Found || got.Lock.Holders[0].Token != held.Token {
		t.Errorf("Get tells %+v, want the holder with token %d", got, held.Token)
	}
	if code := c.release(life, 2, "a", held.Token); code != wire.OK {
		t.Errorf("Release on a full disk: %v", code)
	}
}

// A leader with room goes by the disks of the others: without them nothing is stored safely.
func TestLeaderHeedsTheDisksOfTheVoters(t *testing.T) {
	c := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		if i > 0 {
			c.MinFree = beyond
		}
	})
	client := connect(t, dialTCP, c.Endpoints()[0]) // the one that has room
	for n := uint64(1); ; n++ {
		m, err := client.ask(func(id uint64) wire.Message {
			return &wire.Open{ID: id, Session: wire.ID{byte(n), byte(n >> 8), 1}, TTL: time.Minute}
		})
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := m.(*wire.Failure); ok {
			if f.Code != wire.DiskFull {
				t.Errorf("Open got %+v, want DiskFull", f)
			}
			return
		}
		if n > 1<<16 {
			t.Fatal("nothing is refused although two of three disks are full")
		}
	}
}

func TestDamagedLogIsRefusedWithWhatHelps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	address, stop := running(t, lockd.Config{DataDir: dir})
	c := connect(t, dialTCP, address)
	life := c.open(1, time.Minute)
	for seq := range uint64(20) {
		c.acquire(life, seq+1, string(rune('a'+seq)), 0)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(dir, "log"))
	s, err := lockd.New(lockd.Config{DataDir: dir, ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenHTTP: lockd.Off})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	if !errors.Is(err, wal.ErrRetired) {
		t.Fatalf("a node with a damaged log: %v, want ErrRetired", err)
	}
	for _, want := range []string{dir, "lockd snapshot restore", "kept.snapshot"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q:\n%v", want, err)
		}
	}
}

// spoil changes a byte of the first record of a log of several batches.
func spoil(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", dir, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const firstRecord = 4096 + 24
	b[firstRecord] ^= 0xff
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A copy of a data directory is the same voter twice: the second process must not run.
func TestCopyOfADataDirectoryIsRefused(t *testing.T) {
	original := filepath.Join(t.TempDir(), "data")
	var config lockd.Config
	c := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		if i == 0 {
			c.DataDir = original
			config = *c
		}
	})
	c.Stop(0)
	clone := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(clone, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	c.Run(0)
	c.WaitReady()

	config.DataDir, config.Listen = clone, nil
	config.ListenClient, config.ListenRaft, config.ListenHTTP = "127.0.0.1:0", "127.0.0.1:0", lockd.Off
	second, err := lockd.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); !errors.Is(err, lockd.ErrClone) {
		t.Errorf("the copy has ended with %v, want ErrClone", err)
	}
}
