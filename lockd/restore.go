package lockd

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// SnapshotInfo is what a snapshot says of itself.
type SnapshotInfo struct {
	Bytes       int64
	Saved       time.Time // when the file was written
	Index, Term uint64    // of the last entry in it
	Records     int
	Locks       int
	Sessions    int           // that lived
	Clock       time.Duration // cluster time
	Token       uint64        // the last one that was granted
	Incarnation [16]byte
	Voters      []string // addresses of their Raft ports
}

// RestoreOptions say which node is to begin a cluster with the state of a snapshot.
type RestoreOptions struct {
	Snapshot string // the file
	// Name, ClusterName, DataDir and InitialCluster are those that the node will be started with, as in Config. It must be the
	// first of the list in the order of names; the others start with empty directories. DataDir must not exist, or be empty.
	Name, ClusterName string
	DataDir           string
	InitialCluster    []Member
	// TokenFloor is the first token, instead of one from the wall clock. It must be above all that were ever granted.
	TokenFloor uint64
	// NoWait lets locks be granted at once. Otherwise nothing is granted for the longest TTL of the sessions in the snapshot, and
	// at least a minute: who held a lock in the old cluster may not know yet that it is no more.
	NoWait bool
	Logger *slog.Logger
	// Progress, if not nil, is told how much has been read, of all that will be: the file is read more than once.
	Progress func(read, total int64)
}

// Restored is what Restore has made ready.
type Restored struct {
	SnapshotInfo
	Seed uint64 // tokens begin above it
	Wait bool   // whether nothing is granted for a while after the start
}

// Inspect reads a snapshot, checks all of it, and tells what is in it. It needs memory for the whole state.
func Inspect(path string) (SnapshotInfo, error) {
	info, _, err := inspect(path, func(r io.Reader) io.Reader { return r })
	return info, err
}

const snapshotBuffer = 256 << 10

func inspect(path string, through func(io.Reader) io.Reader) (SnapshotInfo, raft.Mark, error) {
	f, err := os.Open(path)
	if err != nil {
		return SnapshotInfo{}, raft.Mark{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	stat, err := f.Stat()
	if err != nil {
		return SnapshotInfo{}, raft.Mark{}, err
	}
	var loader *locktable.Loader
	head, err := checkpoint.ReadStream(through(bufio.NewReaderSize(f, snapshotBuffer)), func(h checkpoint.Head) (err error) {
		loader, err = locktable.NewLoader(uint64(h.Index), uint64(h.Term), h.Meta)
		return err
	}, func(r checkpoint.Record) error { return loader.Add(locktable.Record(r)) })
	if err != nil {
		return SnapshotInfo{}, raft.Mark{}, fmt.Errorf("read %s: %w", path, err)
	}
	table, err := loader.Done(head.Hash, head.Count)
	if err != nil {
		return SnapshotInfo{}, raft.Mark{}, fmt.Errorf("read %s: %w", path, err)
	}
	info := SnapshotInfo{
		Bytes: stat.Size(), Saved: stat.ModTime(), Index: uint64(head.Index), Term: uint64(head.Term), Records: head.Count,
		Clock: table.Clock(), Token: table.Counter(),
	}
	info.Locks, info.Sessions, _ = table.Len()
	info.Incarnation, _ = table.Incarnation()
	for _, v := range head.Config.Voters {
		info.Voters = append(info.Voters, v.Address)
	}
	return info, head.Mark, nil
}

// Restore makes the data directory of the first node of a new cluster, which begins with the state of a snapshot: with its leases
// and its tokens, but without its sessions and what they held. It is offline: the node is started afterwards, the others with empty
// directories. On an error nothing is left in it.
func Restore(ctx context.Context, o RestoreOptions) (_ Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("lockd: restore: %w", err)
		}
	}()
	c := Config{Name: o.Name, ClusterName: o.ClusterName, DataDir: o.DataDir, InitialCluster: o.InitialCluster, TokenFloor: o.TokenFloor, Logger: o.Logger}
	if err := c.Validate(); err != nil {
		return Restored{}, err
	}
	c = c.filled()
	id := newIdentity(&c)
	if !id.founds() {
		return Restored{}, fmt.Errorf("a restored cluster begins on %q, the first of its list; start %q with an empty data directory",
			id.first().Name, id.Name)
	}
	_, _ = rand.Read(id.Nonce[:]) // never fails: another cluster than the one that was
	const passes = 2
	read := &restoring{ctx: ctx, tell: o.Progress}
	if stat, err := os.Stat(o.Snapshot); err == nil {
		read.total = passes * stat.Size()
	}
	done := Restored{Seed: o.TokenFloor, Wait: !o.NoWait}
	var mark raft.Mark
	if done.SnapshotInfo, mark, err = inspect(o.Snapshot, read.through); err != nil {
		return Restored{}, err
	}
	if done.Seed == 0 {
		if done.Seed, err = locktable.TokenSeed(time.Now(), builtAt(), done.Saved, done.Token); err != nil {
			return Restored{}, fmt.Errorf("%w; set the clock, or give a token floor above all tokens there ever were", err)
		}
	}
	id.Restored = &restored{Index: raft.Index(done.Index), Saved: done.Saved, Seed: done.Seed, Wait: -1}
	if o.NoWait {
		id.Restored.Wait = 0
	}
	return done, restoreDir(&c, id, func(s checkpoint.Store) error { return stage(s, o.Snapshot, mark, read) })
}

// restoreDir makes a data directory with a state.
func restoreDir(c *Config, id identity, stage func(checkpoint.Store) error) (err error) {
	d, err := openDataDir(c.DataDir)
	if err != nil {
		return err
	}
	there, err := d.load()
	switch {
	case err != nil:
	case there.exists():
		err = fmt.Errorf("%s holds the node %q of the cluster %q already: move it away, or choose another directory", c.DataDir,
			there.Name, there.ClusterName)
	default:
		if err = fill(d, id, stage, c.Logger); err != nil {
			err = errors.Join(err, os.RemoveAll(d.statePath()))
		}
	}
	return errors.Join(err, d.close())
}

// fill makes a home with a state. The identity comes last: without it the home is nobody's.
func fill(h home, id identity, stage func(checkpoint.Store) error, log *slog.Logger) error {
	store, err := h.openStore(id, log)
	if err != nil {
		return err
	}
	if err := errors.Join(stage(store), store.Close()); err != nil {
		return err
	}
	return h.save(id)
}

// stage makes the snapshot the checkpoint.
func stage(store checkpoint.Store, snapshot string, mark raft.Mark, read *restoring) error {
	nothing := func(checkpoint.Record) error { return nil } // inspect has looked at them
	if err := store.Load(nothing); err != nil {
		return err
	}
	f, err := os.Open(snapshot)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	staged, err := store.Restore(mark, read.through(bufio.NewReaderSize(f, snapshotBuffer)))
	if err != nil {
		return err
	}
	if err = staged.Load(nothing); err == nil {
		err = staged.Commit()
	}
	if err != nil {
		staged.Discard()
	}
	return err
}

// restoring tells of the progress of several passes over one file, and ends them with its context.
type restoring struct {
	ctx         context.Context //nolint:containedctx // it lives as long as one call of Restore
	tell        func(read, total int64)
	read, total int64
}

func (r *restoring) through(from io.Reader) io.Reader { return &pass{r, from} }

// pass is one reading of the file.
type pass struct {
	of   *restoring
	from io.Reader
}

// Read implements io.Reader.
func (p *pass) Read(b []byte) (int, error) {
	if p.of.ctx.Err() != nil {
		return 0, context.Cause(p.of.ctx)
	}
	n, err := p.from.Read(b)
	p.of.read += int64(n)
	if p.of.tell != nil {
		p.of.tell(p.of.read, p.of.total)
	}
	return n, err
}
