package memlog

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lockd/lockd/raft"
)

// ErrClosed is returned by the methods of a Log after Close.
var ErrClosed = errors.New("memlog: closed")

// Log is a log and a hard state in memory.
type Log struct {
	mu      sync.Mutex // guards the fields below
	hard    raft.HardState
	base    raft.Mark    // precedes entries[0]
	entries []raft.Entry // the slice is shared with nobody
	closed  bool
}

var _ raft.Storage = (*Log)(nil)

// New returns an empty log.
func New() *Log { return &Log{} }

// Reopen closes l and returns a log that holds what l held: what a process finds that starts again.
func (l *Log) Reopen() *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return &Log{hard: l.hard, base: l.base, entries: slices.Clone(l.entries)}
}

// last is called with mu held.
func (l *Log) last() raft.Index { return l.base.Index + raft.Index(len(l.entries)) }

// Load implements raft.Storage.
func (l *Log) Load() (raft.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return raft.State{}, ErrClosed
	}
	s := raft.State{Hard: l.hard, Base: l.base, Last: l.last()}
	for _, e := range l.entries {
		if n := len(s.Runs); n == 0 || s.Runs[n-1].Term != e.Term() {
			s.Runs = append(s.Runs, raft.TermRun{First: e.Index(), Term: e.Term()})
		}
		if e.Kind() == raft.KindConfig {
			s.Configs = append(s.Configs, e)
		}
	}
	return s, nil
}

// Write implements raft.Storage.
func (l *Log) Write(ws []raft.Write) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	for _, w := range ws {
		if err := l.write(w); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) write(w raft.Write) error {
	if w.Reset.Index > 0 {
		l.base, l.entries = w.Reset, nil
		l.base.Installed = false
	}
	if w.Hard != (raft.HardState{}) {
		l.hard = w.Hard
	}
	if from := w.TruncateFrom; from > 0 {
		if from <= l.base.Index || from > l.last()+1 {
			return fmt.Errorf("memlog: truncation from %d is outside the log from %d to %d", from, l.base.Index+1, l.last())
		}
		keep := from - l.base.Index - 1
		clear(l.entries[keep:])
		l.entries = l.entries[:keep]
	}
	for _, e := range w.Entries {
		if e.Index() != l.last()+1 {
			return fmt.Errorf("memlog: entry %d after entry %d", e.Index(), l.last())
		}
		l.entries = append(l.entries, e)
	}
	return nil
}

// Read implements raft.Storage.
func (l *Log) Read(lo, hi raft.Index, maxBytes int) ([]raft.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, ErrClosed
	case lo <= l.base.Index:
		return nil, fmt.Errorf("memlog: entry %d: %w: it begins after %d", lo, raft.ErrCompacted, l.base.Index)
	case lo > hi || hi > l.last():
		return nil, fmt.Errorf("memlog: entries %d to %d of a log that ends at %d", lo, hi, l.last())
	}
	all := l.entries[lo-l.base.Index-1 : hi-l.base.Index]
	n, size := 1, all[0].Size()
	for n < len(all) && size+all[n].Size() <= maxBytes {
		size += all[n].Size()
		n++
	}
	return slices.Clone(all[:n]), nil
}

// Compact implements raft.Storage.
func (l *Log) Compact(upTo raft.Index) (raft.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return raft.Position{}, ErrClosed
	}
	if upTo = min(upTo, l.last()); upTo <= l.base.Index {
		return l.base.Position, nil
	}
	n := upTo - l.base.Index
	for _, e := range l.entries[:n] {
		if e.Kind() != raft.KindConfig {
			continue
		}
		config, err := raft.DecodeConfig(e.Index(), e.Data())
		if err != nil {
			return raft.Position{}, fmt.Errorf("memlog: entry %d: %w", e.Index(), err)
		}
		l.base.Config = config
	}
	l.base.Position = l.entries[n-1].Position()
	l.entries = slices.Clone(l.entries[n:])
	return l.base.Position, nil
}

// Close implements raft.Storage.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
