package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/lockd/lockd/raft"
)

// ErrCrashed is what a Memory returns once its Media has crashed.
var ErrCrashed = errors.New("checkpoint: crashed")

// Step is a point at which a process that uses a Store may end.
type Step int

// The steps. What has happened at a step is durable, what has not is not.
const (
	BeforeFlush  Step = iota // the set is not durable
	AfterFlush               // it is, and nobody was told
	BeforeStage              // the stream was read; nothing names what it made
	BeforeCommit             // a state is staged, the Store's is current
	AfterCommit              // the staged state is current, and nobody was told
)

// Media is what a Memory leaves to the next one: the disk of a simulated node. Crash may be set before it is used.
type Media struct {
	// Crash, if there is one, is asked at every step whether the process ends there. The call then fails with ErrCrashed
	// and so do all that follow, until the Media is given to another Memory.
	Crash func(Step) bool

	mu      sync.Mutex // guards the fields below
	now     contents
	aside   bool // damaged contents were put aside
	damaged bool
	owner   *Memory
}

// contents is a state; its records are in one map that is copied for readers.
type contents struct {
	head    Head
	records map[string][]byte
}

// Damage spoils what is stored, so that the next Load finds it.
func (m *Media) Damage() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged = true
}

// Memory is a Store without a disk. It does in one step what Disk makes look like one.
type Memory struct {
	media  *Media
	loaded bool  // guarded by Media.mu
	ended  error // guarded by Media.mu: why nothing goes on
}

// OpenMemory starts with what was durable on the media. A Memory that had them before is done for.
func OpenMemory(m *Media) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != nil && m.owner.ended == nil {
		m.owner.ended = ErrCrashed
	}
	m.owner = &Memory{media: m}
	return m.owner
}

func (s *Memory) locked(f func(m *Media) error) error {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	return f(s.media)
}

// at is a step of a call under way.
func (s *Memory) at(step Step) error {
	if s.media.Crash != nil && s.media.Crash(step) {
		s.ended = ErrCrashed
	}
	return s.ended
}

// Head implements State.
func (s *Memory) Head() Head {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	return s.media.now.head
}

// Load implements State.
func (s *Memory) Load(add func(Record) error) error {
	var now contents
	var spoilt bool
	err := s.locked(func(m *Media) error {
		if s.loaded {
			return fmt.Errorf("%w: Load after Load", ErrOrder)
		}
		now, spoilt = m.now, m.damaged
		return nil
	})
	if err != nil {
		return err
	}
	if spoilt {
		err = &DamagedError{Aside: "nothing", Err: errors.New("spoilt")}
	} else {
		err = readAll(now.list(), now.head, add)
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	return s.locked(func(m *Media) error {
		s.loaded = true
		switch {
		case err != nil:
			m.now, m.damaged, m.aside = contents{}, false, true
		case m.now.head.Index > 0:
			m.aside = false
		case m.aside:
			return &DamagedError{Aside: "nothing", Err: errors.New("found at an earlier start")}
		}
		return err
	})
}

// Flush implements Store.
func (s *Memory) Flush(set Set) error {
	return s.locked(func(m *Media) error {
		if !s.loaded {
			return fmt.Errorf("%w: Flush before Load", ErrOrder)
		}
		if err := set.check(m.now.head.Mark); err != nil {
			return err
		}
		if err := s.at(BeforeFlush); err != nil {
			return err
		}
		if m.now.records == nil {
			m.now.records = map[string][]byte{}
		}
		for _, r := range set.Records {
			if r.Value == nil {
				delete(m.now.records, string(r.Key))
			} else {
				m.now.records[string(r.Key)] = append([]byte{}, r.Value...)
			}
		}
		set.Installed, set.Meta = false, bytes.Clone(set.Meta)
		m.now.head = set.Head
		return s.at(AfterFlush)
	})
}

// Snapshot implements Store.
func (s *Memory) Snapshot() (raft.Snapshot, error) {
	var snapshot *memorySnapshot
	err := s.locked(func(m *Media) error {
		if !s.loaded || m.now.head.Index == 0 {
			return fmt.Errorf("%w: there is no loaded state to take a snapshot of", ErrOrder)
		}
		snapshot = &memorySnapshot{stream: newStream(m.now.head, m.now.list()), store: s}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return snapshot, nil
}

type memorySnapshot struct {
	*stream
	store *Memory
}

// Read implements io.Reader.
func (r *memorySnapshot) Read(p []byte) (n int, err error) {
	if err := r.store.locked(func(*Media) error { return nil }); err != nil {
		return 0, err
	}
	return r.stream.Read(p)
}

// Close implements io.Closer.
func (r *memorySnapshot) Close() error {
	r.close()
	return nil
}

// Restore implements Store.
func (s *Memory) Restore(mark raft.Mark, r io.Reader) (Staged, error) {
	if err := s.locked(func(*Media) error { return nil }); err != nil {
		return nil, err
	}
	in, err := newReaderOf(mark, r)
	if err != nil {
		return nil, err
	}
	made := contents{head: in.head, records: map[string][]byte{}}
	made.head.Installed = true
	err = in.records(func(r Record) error {
		made.records[string(r.Key)] = append([]byte{}, r.Value...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.locked(func(*Media) error { return s.at(BeforeStage) }); err != nil {
		return nil, err
	}
	return &memoryStaged{store: s, made: made}, nil
}

// Close implements Store.
func (s *Memory) Close() error {
	s.media.mu.Lock()
	defer s.media.mu.Unlock()
	if s.ended == nil {
		s.ended = ErrClosed
	}
	return nil
}

// memoryStaged is a state beside the one on the media. Its flags are guarded by Media.mu.
type memoryStaged struct {
	store         *Memory
	made          contents
	loaded, ended bool
}

// Head implements State.
func (s *memoryStaged) Head() Head { return s.made.head }

// Load implements State.
func (s *memoryStaged) Load(add func(Record) error) error {
	err := s.store.locked(func(*Media) error {
		if s.ended {
			return fmt.Errorf("%w: Load after Commit or Discard", ErrOrder)
		}
		return nil
	})
	if err == nil {
		err = readAll(s.made.list(), s.made.head, add)
	}
	if err != nil {
		return err
	}
	return s.store.locked(func(*Media) error {
		s.loaded = true
		return nil
	})
}

// Commit implements raft.Installation.
func (s *memoryStaged) Commit() error {
	return s.store.locked(func(m *Media) error {
		switch {
		case !s.loaded, s.ended:
			return fmt.Errorf("%w: Commit before Load, after Commit or after Discard", ErrOrder)
		case s.made.head.Index < m.now.head.Index:
			return fmt.Errorf("%w: a state of entry %d in the place of one of entry %d", ErrOrder, s.made.head.Index, m.now.head.Index)
		}
		if err := s.store.at(BeforeCommit); err != nil {
			return err
		}
		m.now, m.aside, m.damaged = s.made, false, false
		s.ended, s.store.loaded = true, true
		return s.store.at(AfterCommit)
	})
}

// Discard implements raft.Installation.
func (s *memoryStaged) Discard() {
	s.store.media.mu.Lock()
	defer s.store.media.mu.Unlock()
	s.ended = true
}

// listing is a source from memory.
type listing struct {
	keys    []string
	records map[string][]byte
	ended   bool
}

// list copies the map; values are replaced, never changed.
func (c contents) list() *listing {
	return &listing{keys: slices.Sorted(maps.Keys(c.records)), records: maps.Clone(c.records)}
}

func (l *listing) next() (Record, bool, error) {
	if l.ended {
		return Record{}, false, ErrClosed
	}
	if len(l.keys) == 0 {
		return Record{}, false, nil
	}
	k := l.keys[0]
	l.keys = l.keys[1:]
	return Record{Key: []byte(k), Value: l.records[k]}, true, nil
}

func (l *listing) close() { l.ended = true }
