package checkpoint

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/lockd/lockd/raft"
)

// Defaults of Options.
const (
	DefaultDeadline = 10 * time.Second
	// DefaultReserve is what badger may need at once for memory tables, their flush and two compactions.
	DefaultReserve = 128 << 20
)

// ErrInUse tells that another process has the directory.
var ErrInUse = errors.New("checkpoint: another process uses the directory")

// Options configure a Disk.
type Options struct {
	// Dir is a directory of the checkpoint's own; it is made, with mode 0700, if there is none.
	Dir string
	// Logger gets what badger has to say. Nothing is logged without it.
	Logger *slog.Logger
	// Deadline bounds each commit and the closing of badger; one that takes longer fails, for good. DefaultDeadline if zero.
	Deadline time.Duration
	// Reserve is how many bytes must be free on the file system for a Flush or a Restore; less is raft.ErrDiskFull. Badger
	// maps its files, so that on a full disk it dies instead of failing. Open wants 32 MiB, or Reserve if that is less.
	// DefaultReserve if zero.
	Reserve uint64

	trace func(step string)
}

// Disk is a Store on a disk, in badger.
type Disk struct {
	opt     Options
	files   files
	lock    *os.File
	turn    chan struct{} // has room for one: who holds it may change the state
	keeping chan struct{} // likewise, for Keep
	busy    sync.WaitGroup

	mu     sync.Mutex // guards the fields below; never held for longer than they take to read or write
	used   *generation
	head   Head
	loaded bool
	closed bool
	broken error          // first failure of the disk; final
	damage *DamagedError  // what Open has found, for Load
	open   map[ender]bool // readers and staged states that Close has to end
}

// ender is what must end before its badger store does.
type ender interface{ end() }

// generation is a badger store in a directory of its own.
type generation struct {
	db    *badger.DB
	name  string
	users int  // guarded by Disk.mu
	old   bool // guarded by Disk.mu; removed with its last user
}

// Open opens the store in a directory, or makes an empty one. Damage is no error here: Load tells of it.
func Open(o Options) (_ *Disk, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	d := &Disk{opt: o, files: files{o.Dir, o.trace}, turn: make(chan struct{}, 1), keeping: make(chan struct{}, 1), open: map[ender]bool{}}
	if d.lock, err = os.Open(o.Dir); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if err = lockDir(d.lock); err == nil {
		err = d.find()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint: open %s: %w", o.Dir, err), unlockDir(d.lock))
	}
	return d, nil
}

// begin admits a call; end lets Close go on.
func (d *Disk) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return ErrClosed
	case d.broken != nil:
		return d.broken
	}
	d.busy.Add(1)
	return nil
}

func (d *Disk) end() { d.busy.Done() }

// beginTurn is begin for what changes the state.
func (d *Disk) beginTurn() error {
	d.turn <- struct{}{}
	if err := d.begin(); err != nil {
		<-d.turn
		return err
	}
	return nil
}

func (d *Disk) endTurn() {
	d.end()
	<-d.turn
}

// fail makes an error final: after a failed write nobody knows what is on the disk.
func (d *Disk) fail(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken == nil {
		d.broken = err
	}
	return d.broken
}

// room reports whether the file system has room for more.
func (d *Disk) room() error { return d.free(d.opt.Reserve) }

// free returns an error if fewer bytes are free.
func (d *Disk) free(least uint64) error {
	free, err := FreeSpace(d.opt.Dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err == nil && free < least {
		err = fmt.Errorf("checkpoint: %w: %d bytes are free, fewer than %d", raft.ErrDiskFull, free, least)
	}
	return err
}

// Head implements State.
func (d *Disk) Head() Head {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.head
}

// Flush implements Store.
func (d *Disk) Flush(s Set) error {
	if err := d.beginTurn(); err != nil {
		return err
	}
	defer d.endTurn()
	if err := d.mayFlush(s); err != nil {
		return err
	}
	txn := d.used.db.NewTransaction(true)
	err := txn.Set(headKey, s.encode(false))
	for i := 0; err == nil && i < len(s.Records); i++ {
		if r := s.Records[i]; r.Value == nil {
			err = txn.Delete(r.Key)
		} else {
			err = txn.Set(r.Key, r.Value)
		}
	}
	if err != nil { // our limits are within those of badger
		txn.Discard()
		return d.fail(fmt.Errorf("checkpoint: set of entry %d: %w", s.Index, err))
	}
	// A commit that has not ended in time still has the transaction: only Commit itself discards it.
	if err := within(d.opt.Deadline, "commit", txn.Commit); err != nil {
		return d.fail(fmt.Errorf("checkpoint: set of entry %d: %w", s.Index, err))
	}
	s.Installed = false
	s.Meta = append([]byte(nil), s.Meta...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.head = s.Head
	return nil
}

func (d *Disk) mayFlush(s Set) error {
	d.mu.Lock()
	head, loaded := d.head, d.loaded
	d.mu.Unlock()
	if !loaded {
		return fmt.Errorf("%w: Flush before Load", ErrOrder)
	}
	if err := s.check(head.Mark); err != nil {
		return err
	}
	return d.room()
}

// Snapshot implements Store.
func (d *Disk) Snapshot() (raft.Snapshot, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.end()
	d.mu.Lock()
	g, loaded := d.used, d.loaded
	g.users++
	d.mu.Unlock()
	txn := g.db.NewTransaction(false)
	head, err := readHead(txn)
	if err == nil && (!loaded || head.Index == 0) {
		err = fmt.Errorf("%w: there is no loaded state to take a snapshot of", ErrOrder)
	}
	if err != nil {
		txn.Discard()
		d.release(g)
		return nil, err
	}
	r := &reading{disk: d}
	r.records = newStream(head, newScan(txn, func() { d.release(g) }))
	d.attach(r)
	return r, nil
}

// reading is a snapshot that is being read.
type reading struct {
	records *stream
	disk    *Disk
	once    sync.Once
}

// Mark implements raft.Snapshot.
func (r *reading) Mark() raft.Mark { return r.records.Mark() }

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	if err := r.disk.begin(); err != nil {
		return 0, err
	}
	defer r.disk.end()
	return r.records.Read(p)
}

// Close implements io.Closer.
func (r *reading) Close() error {
	r.disk.detach(r)
	r.end()
	return nil
}

func (r *reading) end() { r.once.Do(r.records.close) }

func (d *Disk) attach(e ender) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[e] = true
}

func (d *Disk) detach(e ender) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, e)
}

// release gives up the use of a generation; the last user of an old one removes it.
func (d *Disk) release(g *generation) {
	d.mu.Lock()
	g.users--
	last := g.old && g.users == 0
	d.mu.Unlock()
	if last {
		d.drop(g)
	}
}

// drop removes a generation that nobody needs. What it leaves behind, the next start removes.
func (d *Disk) drop(g *generation) {
	err := within(d.opt.Deadline, "close", g.db.Close)
	if err = errors.Join(err, d.files.remove(g.name)); err != nil {
		d.opt.Logger.Warn("checkpoint: an old state stays until the next start", slog.String("dir", g.name), slog.Any("error", err))
	}
}

// Close implements Store. Readers of snapshots get ErrClosed, staged states are removed.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	err := within(d.opt.Deadline, "close", func() error {
		d.busy.Wait()
		d.mu.Lock()
		left := slices.Collect(maps.Keys(d.open))
		d.mu.Unlock()
		for _, e := range left {
			e.end()
		}
		return d.used.db.Close()
	})
	return errors.Join(err, unlockDir(d.lock))
}
