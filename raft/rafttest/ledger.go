package rafttest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/lockd/lockd/raft"
)

// Ledger is a log and hard state in memory that is durable at once: the Storage of a simulated node, or the record of
// what another Storage has made durable.
type Ledger struct {
	hard    raft.HardState
	base    raft.Mark
	entries []raft.Entry
	chains  []uint64 // of each entry: a sum of the whole log up to it
	origin  uint64   // the same of the base
	chainOf func(raft.Position) uint64
	// changed, if set, is called for every entry that is added, with its sum, and after every Write.
	added   func(e raft.Entry, chain uint64)
	changed func(raft.Write)
}

var _ raft.Storage = (*Ledger)(nil)

func (l *Ledger) last() raft.Index { return l.base.Index + raft.Index(len(l.entries)) }

// term returns the term of an entry; false if the ledger does not hold it.
func (l *Ledger) term(i raft.Index) (raft.Term, bool) {
	switch {
	case i == l.base.Index:
		return l.base.Term, true
	case i < l.base.Index || i > l.last():
		return 0, false
	}
	return l.entries[i-l.base.Index-1].Term(), true
}

func (l *Ledger) lastPosition() raft.Position {
	t, _ := l.term(l.last())
	return raft.Position{Index: l.last(), Term: t}
}

// covers reports whether an entry with this position is durable here, or was before it was compacted.
func (l *Ledger) covers(p raft.Position) bool {
	t, ok := l.term(p.Index)
	return p.Index < l.base.Index || ok && t == p.Term
}

// Load returns what the ledger holds.
func (l *Ledger) Load() (raft.State, error) {
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

// Write takes effect at once.
func (l *Ledger) Write(ws []raft.Write) error {
	for _, w := range ws {
		if err := l.apply(w); err != nil {
			return err
		}
		if l.changed != nil {
			l.changed(w)
		}
	}
	return nil
}

func (l *Ledger) apply(w raft.Write) error {
	if w.Reset.Index > 0 {
		l.base, l.entries, l.chains = w.Reset, nil, nil
		l.base.Installed = false
		if l.chainOf != nil {
			l.origin = l.chainOf(w.Reset.Position)
		}
	}
	if w.Hard != (raft.HardState{}) {
		l.hard = w.Hard
	}
	if i := w.TruncateFrom; i > 0 {
		if i <= l.base.Index || i > l.last()+1 {
			return fmt.Errorf("rafttest: truncate from %d: the log holds %d to %d", i, l.base.Index+1, l.last())
		}
		n := i - l.base.Index - 1
		l.entries, l.chains = slices.Clip(l.entries[:n]), l.chains[:n]
	}
	for _, e := range w.Entries {
		if e.Index() != l.last()+1 {
			return fmt.Errorf("rafttest: entry %d follows %d", e.Index(), l.last())
		}
		chain := l.chain(e)
		l.entries = append(l.entries, e)
		l.chains = append(l.chains, chain)
		if l.added != nil {
			l.added(e, chain)
		}
	}
	return nil
}

// chain returns the sum of the log with e at its end.
func (l *Ledger) chain(e raft.Entry) uint64 {
	before := l.origin
	if n := len(l.chains); n > 0 {
		before = l.chains[n-1]
	}
	return mix(mix(before, entrySum(e)), uint64(e.Term()))
}

// entrySum returns the checksum that an entry carries, which covers all of it.
func entrySum(e raft.Entry) uint64 { return uint64(binary.LittleEndian.Uint32(e.Bytes()[4:])) }

// Read returns entries.
func (l *Ledger) Read(lo, hi raft.Index, maxBytes int) ([]raft.Entry, error) {
	if lo <= l.base.Index {
		return nil, fmt.Errorf("rafttest: read entry %d, the first is %d: %w", lo, l.base.Index+1, raft.ErrCompacted)
	}
	if hi < lo || lo > l.last() {
		return nil, fmt.Errorf("rafttest: read entries %d to %d of a log that ends at %d", lo, hi, l.last())
	}
	all := l.entries[lo-l.base.Index-1 : min(hi, l.last())-l.base.Index]
	n, size := 1, all[0].Size()
	for n < len(all) && size+all[n].Size() <= maxBytes {
		size += all[n].Size()
		n++
	}
	return all[:n:n], nil
}

// Compact drops entries up to an index.
func (l *Ledger) Compact(upTo raft.Index) (raft.Position, error) {
	upTo = min(upTo, l.last())
	if upTo <= l.base.Index {
		return l.base.Position, nil
	}
	n := upTo - l.base.Index
	for _, e := range l.entries[:n] {
		if e.Kind() != raft.KindConfig {
			continue
		}
		config, err := raft.DecodeConfig(e.Index(), e.Data())
		if err != nil {
			return raft.Position{}, fmt.Errorf("rafttest: entry %d: %w", e.Index(), err)
		}
		l.base.Config = config
	}
	l.base.Position = l.entries[n-1].Position()
	l.origin = l.chains[n-1]
	l.entries, l.chains = l.entries[n:], l.chains[n:]
	return l.base.Position, nil
}

// Close does nothing.
func (l *Ledger) Close() error { return nil }

// config returns the configuration in force at the end of the log.
func (l *Ledger) config() (raft.Config, error) { return l.configBefore(l.last() + 1) }

// configBefore returns the configuration in force just before an entry.
func (l *Ledger) configBefore(i raft.Index) (raft.Config, error) {
	for _, e := range slices.Backward(l.entries) {
		if e.Kind() == raft.KindConfig && e.Index() < i {
			return raft.DecodeConfig(e.Index(), e.Data())
		}
	}
	return l.base.Config, nil
}

// sum returns a sum of the whole log.
func (l *Ledger) sum() uint64 {
	if n := len(l.chains); n > 0 {
		return l.chains[n-1]
	}
	return l.origin
}
