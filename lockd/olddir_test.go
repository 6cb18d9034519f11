package lockd_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/lockd"
)

// oldDirs holds a data directory of each release, NAME.tar.gz, and beside it, NAME.json, what is in it. docs/TESTING.md says how the next
// one is added.
const oldDirs = "testdata/datadirs"

const oldGossipKey = "bG9ja2QgdGVzdCBrZXksIDMyIGJ5dGVzIGxvbmcuLi4="

// kept is what a data directory holds.
type kept struct {
	Cluster  string
	Node     string // id of the peer
	Locks    []client.LockInfo
	Leases   []client.LeaseRef
	Sessions []client.SessionID
	Newest   uint64 // token
}

func oldConfig(dir string) lockd.Config {
	return lockd.Config{
		Name: "n1", DataDir: dir, BootstrapExpect: 1, GossipKey: oldGossipKey, MinFree: 32 << 20,
		ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenGossip: "127.0.0.1:0", ListenHTTP: lockd.Off,
	}
}

// runNode runs a node until it is crashed, or stopped gracefully.
func runNode(t *testing.T, c lockd.Config) (server *lockd.Server, endpoint string, crash, stop func()) {
	t.Helper()
	ready, ended := make(chan lockd.Addresses, 1), make(chan error, 1)
	c.Ready = func(a lockd.Addresses) { ready <- a }
	server, err := lockd.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- server.Run(ctx) }()
	crash = func() {
		_ = server.Close()
		cancel()
	}
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(crash)
	select {
	case a := <-ready:
		return server, a.Client, crash, stop
	case err := <-ended:
		t.Fatal(err)
		return nil, "", nil, nil
	}
}

// look returns what a cluster holds, but for what changes with time.
func look(t *testing.T, server *lockd.Server, c *client.Client, names []string) (k kept) {
	t.Helper()
	s, err := server.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k.Cluster, k.Node = s.Cluster, s.ID
	for _, name := range names {
		info, err := c.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		info.Index, info.Age = 0, 0
		for i := range info.Holders {
			info.Holders[i].Since, info.Holders[i].Left = 0, 0
		}
		for i := range info.Waiters {
			info.Waiters[i].Since, info.Waiters[i].Left = 0, 0
		}
		k.Locks = append(k.Locks, info)
		k.Newest = max(k.Newest, info.Newest)
	}
	for info, err := range c.Sessions(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		k.Sessions = append(k.Sessions, info.ID)
	}
	slices.SortFunc(k.Sessions, func(a, b client.SessionID) int { return bytes.Compare(a[:], b[:]) })
	return k
}

// TestOldDataDirectories opens the data directories of all releases: every lock, lease and session is there, with its token, and works.
func TestOldDataDirectories(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join(oldDirs, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no data directory in %s: %v", oldDirs, err)
	}
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			var want kept
			b, err := os.ReadFile(strings.TrimSuffix(archive, ".tar.gz") + ".json")
			if err == nil {
				err = json.Unmarshal(b, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "data")
			unpack(t, archive, dir)
			for range 2 { // as it was written, and as this build has left it
				openOld(t, dir, want)
			}
			dir = filepath.Join(t.TempDir(), "data")
			unpack(t, archive, dir)
			tables, err := filepath.Glob(filepath.Join(dir, "state", "sm-*", "*.sst"))
			if err != nil || len(tables) == 0 {
				t.Fatalf("the tables of the checkpoint: %v, %v", tables, err)
			}
			for _, path := range tables { // the copy and the log bring all
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			openOld(t, dir, want)
		})
	}
}

func openOld(t *testing.T, dir string, want kept) {
	t.Helper()
	server, endpoint, crash, _ := runNode(t, oldConfig(dir))
	defer crash()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range want.Locks {
		names = append(names, l.Name)
	}
	got := look(t, server, c, names)
	got.Leases = want.Leases
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is there is not what was kept (-kept +there):\n%s", diff)
	}
	for _, l := range want.Locks {
		for _, h := range l.Holders {
			if check, err := c.CheckToken(t.Context(), l.Name, h.Token); err != nil || check.Validity != client.TokenValid {
				t.Errorf("token %d of %s: %+v, %v", h.Token, l.Name, check, err)
			}
		}
	}
	for _, ref := range want.Leases {
		if err := c.Lease(ref).Renew(t.Context(), 30*24*time.Hour); err != nil {
			t.Errorf("renew %v: %v", ref, err)
		}
	}
	if members := server.Addresses(); members.Gossip == "" {
		t.Error("it does not gossip")
	}
	lock, err := c.Lock(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	if lock.Token() <= want.Newest {
		t.Errorf("token %d is not above %d, which was granted before", lock.Token(), want.Newest)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWriteDataDirectory writes a data directory by this build, for LOCKD_WRITE_DATADIR=NAME. It never writes over one.
func TestWriteDataDirectory(t *testing.T) {
	name := os.Getenv("LOCKD_WRITE_DATADIR")
	if name == "" {
		t.Skip("it writes testdata: LOCKD_WRITE_DATADIR=NAME")
	}
	dir := filepath.Join(t.TempDir(), "data")
	begin := func(identity string) (server *lockd.Server, c *client.Client, crash, stop func()) {
		server, endpoint, crash, stop := runNode(t, oldConfig(dir))
		c, err := client.New(client.Config{Endpoints: []string{endpoint}, TTL: 10 * time.Minute, Identity: identity})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { // when the node is down: it must not release anything
			ended, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
			cancel()
			_ = c.Close(ended)
		})
		return server, c, crash, stop
	}
	_, c, _, stop := begin("first")
	k := fill(t, c)
	stop() // so that all is in the checkpoint
	if err := os.Remove(filepath.Join(dir, "state", "kept.snapshot")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	server, c, crash, _ := begin("third")
	awaitKept(t, dir) // with all of it
	if _, err := c.Lock(t.Context(), "late", client.Value([]byte("after the snapshot"))); err != nil {
		t.Fatal(err)
	}
	names := []string{"exclusive", "shared", "slots", "several/a", "several/b", "queue", "election", "lease", "lease/shared", "late"}
	now := look(t, server, c, names)
	now.Leases = k.Leases
	crash()
	b, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(oldDirs, name)
	writeNew(t, path+".json", append(b, '\n'))
	writeNew(t, path+".tar.gz", pack(t, dir))
}

// fill takes holds of all kinds, and leaves a queue behind.
func fill(t *testing.T, c *client.Client) (k kept) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, with := range map[string][]client.Option{
		"exclusive": {client.Value([]byte("a value"))}, "shared": {client.Shared()}, "slots": {client.Slots(3)}, "queue": nil,
	} {
		_, err := c.Lock(ctx, name, with...)
		must(err)
	}
	_, err := c.LockAll(ctx, []string{"several/a", "several/b"})
	must(err)
	_, err = c.Campaign(ctx, "election", []byte("the leader"))
	must(err)
	released, err := c.Lock(ctx, "released") // its token is in no record any more
	must(err)
	must(released.Unlock(ctx))
	for name, with := range map[string][]client.Option{"lease": nil, "lease/shared": {client.Shared()}} {
		lease, err := c.AcquireLease(ctx, name, 30*24*time.Hour, with...)
		must(err)
		k.Leases = append(k.Leases, lease.Ref())
	}
	second, err := c.NewSession(ctx, client.SessionConfig{TTL: 10 * time.Minute, Identity: "second"})
	must(err)
	queued := make(chan struct{})
	go func() {
		_, _ = c.Lock(context.WithoutCancel(ctx), "queue", client.InSession(second), client.OnQueued(func(client.Queued) { close(queued) }))
	}()
	<-queued
	return k
}

// awaitKept waits until the node has kept a copy of its checkpoint.
func awaitKept(t *testing.T, dir string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join(dir, "state", "kept.snapshot")); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("no copy was kept")
		}
	}
}

func writeNew(t *testing.T, path string, b []byte) {
	t.Helper()
	const most = 200 << 10
	if len(b) > most {
		t.Fatalf("%s would have %d bytes, more than %d", path, len(b), most)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return w.WriteHeader(&tar.Header{Name: name + "/", Mode: 0o700, Typeflag: tar.TypeDir})
		}
		text, err := os.ReadFile(path)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg})
		}
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	b, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, text, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
