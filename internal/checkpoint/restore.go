package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/lockd/lockd/raft"
)

// writeBytes is how much is handed to badger's stream writer at once.
const writeBytes = 1 << 20

// newReaderOf begins a stream that must have this mark.
func newReaderOf(mark raft.Mark, r io.Reader) (*reader, error) {
	in, err := newReader(r)
	if err == nil && !bytes.Equal(mark.AppendBinary(nil), in.head.AppendBinary(nil)) {
		err = fmt.Errorf("%w: it is of entry %d of term %d, not of entry %d of term %d, or of another configuration", ErrBadStream,
			in.head.Index, in.head.Term, mark.Index, mark.Term)
	}
	return in, err
}

// Restore implements Store.
func (d *Disk) Restore(mark raft.Mark, r io.Reader) (_ Staged, err error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.end()
	in, err := newReaderOf(mark, r)
	if err != nil {
		return nil, err
	}
	name := newName(mark.Index)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("checkpoint: restore: %w", err), d.files.remove(name))
		}
	}()
	if err := d.fill(name, in); err != nil {
		return nil, err
	}
	if err := d.files.syncTree(name); err != nil {
		return nil, err
	}
	db, err := openBadger(badgerOptions(d.files.path(name), d.opt.Logger))
	if err != nil {
		return nil, err
	}
	s := &staged{disk: d, made: &generation{db: db, name: name}, head: in.head}
	s.head.Installed = true
	d.attach(s)
	return s, nil
}

// fill writes a stream to a new store. Nothing of it is synced before the end: nothing names it.
func (d *Disk) fill(name string, in *reader) error {
	d.files.step("fill", name)
	db, err := openBadger(badgerOptions(d.files.path(name), d.opt.Logger).WithSyncWrites(false))
	if err != nil {
		return err
	}
	w := streamWriter{disk: d, to: db.NewStreamWriter(), buf: z.NewBuffer(writeBytes, "checkpoint")}
	err = w.to.Prepare()
	if err == nil {
		err = w.put(headKey, in.head.encode(true))
	}
	if err == nil {
		err = in.records(func(r Record) error { return w.put(r.Key, r.Value) })
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = w.to.Flush()
	} else {
		w.to.Cancel()
	}
	return errors.Join(err, w.buf.Release(), within(d.opt.Deadline, "close", db.Close))
}

// streamWriter fills badger's tables directly, with keys that come in order.
type streamWriter struct {
	disk *Disk
	to   *badger.StreamWriter
	buf  *z.Buffer
	kv   pb.KV
}

func (w *streamWriter) put(key, value []byte) error {
	w.kv.Key, w.kv.Value, w.kv.Version, w.kv.StreamId = key, value, streamedVersion, 1
	badger.KVToBuffer(&w.kv, w.buf)
	if w.buf.LenNoPadding() < writeBytes {
		return nil
	}
	return w.flush()
}

func (w *streamWriter) flush() error {
	if err := w.disk.room(); err != nil {
		return err
	}
	defer w.buf.Reset()
	return w.to.Write(w.buf)
}

// staged is a store that CURRENT does not name yet.
type staged struct {
	disk *Disk
	made *generation
	head Head

	mu     sync.Mutex // guards the fields below
	loaded bool
	ended  bool
	users  sync.WaitGroup // calls of Load
}

// Head implements State.
func (s *staged) Head() Head { return s.head }

// Load implements State.
func (s *staged) Load(add func(Record) error) error {
	if err := s.disk.begin(); err != nil {
		return err
	}
	defer s.disk.end()
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.users.Add(1)
	}
	s.mu.Unlock()
	if ended {
		return fmt.Errorf("%w: Load after Commit or Discard", ErrOrder)
	}
	defer s.users.Done()
	if err := loadBadger(s.made.db, s.head, add); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loaded = true
	return nil
}

// Commit implements raft.Installation.
func (s *staged) Commit() error {
	d := s.disk
	if err := d.beginTurn(); err != nil {
		return err
	}
	defer d.endTurn()
	if err := s.mayCommit(); err != nil {
		return err
	}
	d.detach(s)
	if err := d.point(s.made.name); err != nil {
		return d.fail(fmt.Errorf("checkpoint: make %s current: %w", s.made.name, err))
	}
	d.adopt(s)
	return nil
}

// mayCommit ends s, if it can be committed.
func (s *staged) mayCommit() error {
	head := s.disk.Head()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return fmt.Errorf("%w: Commit after Commit or Discard", ErrOrder)
	case !s.loaded:
		return fmt.Errorf("%w: Commit before Load", ErrOrder)
	case s.head.Index < head.Index:
		return fmt.Errorf("%w: a state of entry %d in the place of one of entry %d", ErrOrder, s.head.Index, head.Index)
	}
	s.ended = true
	return nil
}

// adopt goes on with what CURRENT names now.
func (d *Disk) adopt(s *staged) {
	d.mu.Lock()
	before := d.used
	before.old = true
	unused := before.users == 0
	d.used, d.head, d.loaded = s.made, s.head, true
	d.mu.Unlock()
	if unused {
		d.drop(before)
	}
	if err := d.removeAsides(); err != nil {
		d.opt.Logger.Warn("checkpoint: remove what was damaged", slog.Any("error", err))
	}
}

// Discard implements raft.Installation.
func (s *staged) Discard() {
	s.disk.detach(s)
	s.end()
}

func (s *staged) end() {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if !ended {
		s.users.Wait()
		s.disk.drop(s.made)
	}
}
