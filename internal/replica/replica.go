package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// Options are what a Replica is made of.
type Options struct {
	// Store holds the checkpoint. It is opened and not yet loaded. The Replica does not close it.
	Store checkpoint.Store
	// Logger: nothing is logged without it.
	Logger *slog.Logger
	Events Events
	// FlushEvery is how long changes gather before they are written. Zero: between 0.1 and 1 s, longer when writing takes long.
	FlushEvery time.Duration
	// Applied is called after every entry, in the goroutine of Apply and with the table locked: it must not block, nor call View.
	Applied func(Applied)
	// Installed is called when a snapshot has replaced the state, in the goroutine of Apply, with nothing locked. Whatever follows
	// the state by Applied has missed what happened in between, and must look for itself.
	Installed func()
}

// Events tell how a Replica fares. Nil functions are left out. They must not block.
type Events struct {
	// Flushed: a set of changes is durable.
	Flushed func(records int, took time.Duration)
	// Delayed: Apply has waited so long for the disk.
	Delayed func(time.Duration)
	// Kept: a copy of the checkpoint was kept, or could not be.
	Kept func(took time.Duration, err error)
	// Failed: the state cannot go on; the node must stop. Run returns the same error.
	Failed func(error)
}

// Applied is what one entry did.
type Applied struct {
	Index   raft.Index
	Term    raft.Term
	Noop    bool               // it is no command: a new leader's first entry or a configuration
	Data    []byte             // the command; valid during the call
	Effects []locktable.Effect // valid during the call
	Timings []locktable.Timing // the same
	Table   *locktable.Table   // as it is after the entry; to be read during the call
}

// Outcome is what became of a command, as the result of its proposal.
type Outcome struct {
	Reply locktable.Reply
	// Began and Ended tell when the entries were applied among which it was.
	Began, Ended time.Time
}

// keeper is a Store that can keep a copy of its state.
type keeper interface {
	Keep() (raft.Mark, error)
	Kept() (raft.Snapshot, error)
}

// Replica is the state of one node. See the package's documentation for how it is driven.
type Replica struct {
	opt    Options
	log    *slog.Logger
	store  checkpoint.Store
	keeper keeper // nil: the store cannot
	damage error

	flushing chan struct{} // has room for one: who holds it moves sets to the store
	backlog  backlog
	waits    waits
	changed  chan struct{} // has room for one: something was applied
	keepNow  chan struct{} // has room for one: a copy should be kept at once
	broken   chan struct{} // closed when failure is set

	mu      sync.RWMutex // guards the fields below
	table   *locktable.Table
	mark    raft.Mark  // of table
	cutAt   raft.Index // of the last set that was cut, or of what was loaded
	begun   bool       // Apply or Commit has been called
	kept    raft.Mark  // of the copy; zero: none is known to be good
	logged  int64      // bytes applied since
	failure error
}

var _ raft.StateMachine = (*Replica)(nil)

// Open loads the state. A damaged checkpoint is no error, see Damaged: the state is then that of the kept copy, or empty, and the
// log or the leader must bring the rest. An error means that the state cannot be read: the disk failed, or a newer version of
// lockd has written it.
func Open(o Options) (*Replica, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Replica{
		opt: o, log: o.Logger, store: o.Store, flushing: make(chan struct{}, 1), changed: make(chan struct{}, 1),
		keepNow: make(chan struct{}, 1), broken: make(chan struct{}), backlog: newBacklog(),
	}
	r.keeper, _ = o.Store.(keeper)
	table, head, err := load(o.Store)
	if errors.Is(err, checkpoint.ErrDamaged) {
		r.damage = err
		table, head, err = r.rebuild()
	}
	if err != nil {
		return nil, fmt.Errorf("replica: load the state: %w", err)
	}
	r.table, r.mark, r.cutAt = table, head.Mark, head.Index
	r.waits.advance(head.Index)
	return r, nil
}

// load builds the table of a state.
func load(s checkpoint.State) (*locktable.Table, checkpoint.Head, error) {
	head := s.Head()
	if head.Index == 0 {
		return locktable.NewTable(), head, s.Load(func(checkpoint.Record) error { return locktable.ErrDamaged })
	}
	loader, err := locktable.NewLoader(uint64(head.Index), uint64(head.Term), head.Meta)
	if err != nil {
		return nil, head, err
	}
	loader.Expect(head.Count)
	if err := s.Load(func(r checkpoint.Record) error { return loader.Add(locktable.Record(r)) }); err != nil {
		return nil, head, err
	}
	table, err := loader.Done(head.Hash, head.Count)
	return table, head, err
}

// rebuild takes the kept copy for the state, if there is a good one; else the state is empty.
func (r *Replica) rebuild() (*locktable.Table, checkpoint.Head, error) {
	table, head, err := r.takeCopy(0)
	switch {
	case errors.Is(err, errNoCopy):
		r.log.Warn("the checkpoint is damaged", slog.Any("damage", r.damage), slog.Any("copy", err))
		return locktable.NewTable(), checkpoint.Head{}, nil
	case err == nil:
		r.log.Warn("the checkpoint is damaged; the state is that of the kept copy, and the log has the rest",
			slog.Any("damage", r.damage), slog.Uint64("copy", uint64(head.Index)))
	}
	return table, head, err
}

var errNoCopy = errors.New("there is no copy to use")

// takeCopy makes the kept copy the state of the store, if there is a good one from after an entry.
func (r *Replica) takeCopy(after raft.Index) (*locktable.Table, checkpoint.Head, error) {
	if r.keeper == nil {
		return nil, checkpoint.Head{}, errNoCopy
	}
	copied, err := r.keeper.Kept()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, checkpoint.ErrBadStream) {
		return nil, checkpoint.Head{}, fmt.Errorf("%w: %w", errNoCopy, err)
	}
	if err != nil {
		return nil, checkpoint.Head{}, err
	}
	mark := copied.Mark()
	if mark.Index <= after {
		return nil, checkpoint.Head{}, errors.Join(fmt.Errorf("%w: it is of entry %d", errNoCopy, mark.Index), copied.Close())
	}
	staged, err := r.store.Restore(mark, copied)
	if err = errors.Join(err, copied.Close()); err != nil {
		return nil, checkpoint.Head{}, err
	}
	table, head, err := load(staged)
	if err == nil {
		err = staged.Commit()
	}
	if err != nil {
		staged.Discard()
		return nil, checkpoint.Head{}, err
	}
	r.kept = mark
	return table, head, nil
}

// Recover takes the kept copy for the state, if that is newer, and reports whether it did: for a state that the log does not
// continue. The store may have lost its latest sets without a word. It is called before anything else but Open.
func (r *Replica) Recover() (bool, error) {
	table, head, err := r.takeCopy(r.AppliedIndex())
	if errors.Is(err, errNoCopy) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("replica: recover: %w", err)
	}
	r.log.Warn("the checkpoint is older than the log; the state is that of the kept copy", slog.Uint64("copy", uint64(head.Index)))
	r.mu.Lock()
	r.table, r.mark, r.cutAt = table, head.Mark, head.Index
	r.mu.Unlock()
	r.waits.advance(head.Index)
	return true, nil
}

// Damaged returns what was wrong with the checkpoint at Open, nil if nothing was.
func (r *Replica) Damaged() error { return r.damage }

// View lets f read the table. Many do so at once; Apply waits for them, so f must be quick and must not block. What f gets from
// the table's methods may be kept.
func (r *Replica) View(f func(t *locktable.Table)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	f(r.table)
}

// Mark implements raft.StateMachine. Of the only voter it is no later than the kept copy once the node runs.
func (r *Replica) Mark() raft.Mark {
	durable := r.store.Head().Mark
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.begun && r.keeper != nil && onlyVoter(r.mark.Config) && r.kept.Index < durable.Index {
		return r.kept
	}
	return durable
}

func onlyVoter(c raft.Config) bool { return len(c.Voters) == 1 && !c.Joint() }

// Snapshot implements raft.StateMachine: it is the checkpoint as it is now.
func (r *Replica) Snapshot() (raft.Snapshot, error) { return r.store.Snapshot() }

// fail ends everything: the state is not to be trusted beyond what is applied.
func (r *Replica) fail(err error) {
	r.mu.Lock()
	first := r.failure == nil
	if first {
		r.failure = err
		close(r.broken)
	}
	r.mu.Unlock()
	if !first {
		return
	}
	r.backlog.end()
	r.waits.fail(err)
	r.log.Error("the state cannot go on", slog.Any("error", err))
	if r.opt.Events.Failed != nil {
		r.opt.Events.Failed(err)
	}
}

func (r *Replica) failed() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.failure
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is on its way
	}
}
