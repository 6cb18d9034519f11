package rafttest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lockd/lockd/raft"
)

// scriptDisk is the durable part of a node's log: what a raft.Storage would hold.
type scriptDisk struct {
	hard    raft.HardState
	base    raft.Mark
	entries []raft.Entry
	votes   map[raft.Term]raft.PeerID // ever written; two in one term are a violation
}

func (d *scriptDisk) last() raft.Index { return d.base.Index + raft.Index(len(d.entries)) }

func (d *scriptDisk) load() raft.State {
	s := raft.State{Hard: d.hard, Base: d.base, Last: d.last()}
	for _, e := range d.entries {
		if len(s.Runs) == 0 || s.Runs[len(s.Runs)-1].Term != e.Term() {
			s.Runs = append(s.Runs, raft.TermRun{First: e.Index(), Term: e.Term()})
		}
		if e.Kind() == raft.KindConfig {
			s.Configs = append(s.Configs, e)
		}
	}
	return s
}

// write makes ws durable. The error says which rule of raft.Write they break.
func (d *scriptDisk) write(ws []raft.Write) (err error) {
	for _, w := range ws {
		if w.Reset.Index > 0 {
			d.base, d.entries = w.Reset, nil
		}
		if w.Hard != (raft.HardState{}) {
			err = errors.Join(err, d.vote(w.Hard))
		}
		if w.TruncateFrom > 0 {
			d.entries = d.entries[:max(w.TruncateFrom, d.base.Index+1)-d.base.Index-1]
		}
		for _, e := range w.Entries {
			if e.Index() != d.last()+1 {
				err = errors.Join(err, fmt.Errorf("entry %d is written after %d", e.Index(), d.last()))
			}
			d.entries = append(d.entries, e)
		}
	}
	return err
}

func (d *scriptDisk) vote(h raft.HardState) (err error) {
	if h.Term < d.hard.Term {
		err = fmt.Errorf("term %d is written after %d", h.Term, d.hard.Term)
	}
	if before, ok := d.votes[h.Term]; ok && before != h.Vote {
		err = fmt.Errorf("votes for %v and %v in term %d", before, h.Vote, h.Term)
	}
	if !h.Vote.IsZero() {
		d.votes[h.Term] = h.Vote
	}
	d.hard = h
	return err
}

func (d *scriptDisk) read(lo, hi raft.Index, maxBytes int) ([]raft.Entry, error) {
	if lo <= d.base.Index {
		return nil, fmt.Errorf("read %d: %w", lo, raft.ErrCompacted)
	}
	if hi > d.last() {
		return nil, fmt.Errorf("read %d to %d: the disk ends at %d", lo, hi, d.last())
	}
	all := d.entries[lo-d.base.Index-1 : hi-d.base.Index]
	n, size := 1, all[0].Size()
	for n < len(all) && size+all[n].Size() <= maxBytes {
		size += all[n].Size()
		n++
	}
	return slices.Clone(all[:n]), nil
}

func (d *scriptDisk) compact(upTo raft.Index) raft.Position {
	for len(d.entries) > 0 && d.entries[0].Index() <= upTo {
		e := d.entries[0]
		if e.Kind() == raft.KindConfig {
			d.base.Config, _ = raft.DecodeConfig(e.Index(), e.Data()) // the core has made it
		}
		d.base.Position, d.entries = e.Position(), d.entries[1:]
	}
	return d.base.Position
}

// scriptMachine is a state machine that remembers the commands it was given. It is durable when told so.
type scriptMachine struct {
	state   scriptState
	durable scriptState
}

type scriptState struct {
	mark     raft.Mark
	commands []string
}

func (s scriptState) clone() scriptState {
	s.commands = slices.Clone(s.commands)
	return s
}

func (m *scriptMachine) load() { m.state = m.durable.clone() }

func (m *scriptMachine) apply(entries []raft.Entry, config raft.Config) []any {
	results := make([]any, len(entries))
	for i, e := range entries {
		if e.Kind() == raft.KindCommand {
			m.state.commands = append(m.state.commands, string(e.Data()))
			results[i] = len(m.state.commands)
		}
	}
	m.state.mark = raft.Mark{Position: entries[len(entries)-1].Position(), Config: config}
	return results
}

// scriptSnapshot is a state on its way to, or lying ready beside, a state machine.
type scriptSnapshot struct {
	scriptState
	head raft.SnapshotHeader
	into *scriptMachine
}

// Commit implements raft.Installation.
func (s *scriptSnapshot) Commit() error {
	s.into.state = s.clone()
	s.into.state.mark.Installed = true
	s.into.durable = s.into.state.clone()
	return nil
}

// Discard implements raft.Installation; there is nothing to remove.
func (s *scriptSnapshot) Discard() {}
