package wal

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/lockd/lockd/raft"
)

// trail is what one must know of a log to write on.
type trail struct {
	hard raft.HardState
	base raft.Position
	last raft.Index
	runs []raft.TermRun
	// configs are the configuration in force at base and those of the entries after it, never empty.
	configs []config
}

// config is the data of an entry of KindConfig. The zero config is none.
type config struct {
	index raft.Index
	data  []byte
}

func (c config) equal(d config) bool { return c.index == d.index && bytes.Equal(c.data, d.data) }

// mark is a position and the configuration in force there.
type mark struct {
	raft.Position
	config config
}

func (m mark) equal(n mark) bool { return m.Position == n.Position && m.config.equal(n.config) }

// newMark takes what the log keeps of a raft.Mark.
func newMark(m raft.Mark) (mark, error) {
	if len(m.Config.Voters) == 0 {
		return mark{Position: m.Position}, nil
	}
	if err := m.Config.Validate(); err != nil {
		return mark{}, err
	}
	return mark{m.Position, config{m.Config.Index, m.Config.AppendBinary(nil)}}, nil
}

// exported is the reverse of newMark.
func (m mark) exported() (raft.Mark, error) {
	if len(m.config.data) == 0 {
		return raft.Mark{Position: m.Position}, nil
	}
	c, err := raft.DecodeConfig(m.config.index, m.config.data)
	return raft.Mark{Position: m.Position, Config: c}, err
}

func newTrail(hard raft.HardState, base mark) trail {
	t := trail{hard: hard}
	t.reset(base)
	return t
}

func (t *trail) copyFrom(u *trail) {
	runs, configs := append(t.runs[:0], u.runs...), append(t.configs[:0], u.configs...)
	*t = *u
	t.runs, t.configs = runs, configs
}

// term returns the term at an index from base to last.
func (t *trail) term(i raft.Index) raft.Term {
	n := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].First > i })
	if n == 0 {
		return t.base.Term
	}
	return t.runs[n-1].Term
}

// end returns the mark of the last entry.
func (t *trail) end() mark {
	return mark{raft.Position{Index: t.last, Term: t.term(t.last)}, t.configs[len(t.configs)-1]}
}

func (t *trail) append(e raft.Entry) error {
	at, end := e.Position(), t.end()
	if at.Index != end.Index+1 || at.Term < end.Term || at.Term == 0 {
		return fmt.Errorf("entry %d of term %d cannot follow entry %d of term %d", at.Index, at.Term, end.Index, end.Term)
	}
	if at.Term != end.Term || len(t.runs) == 0 {
		t.runs = append(t.runs, raft.TermRun{First: at.Index, Term: at.Term})
	}
	t.last = at.Index
	if e.Kind() == raft.KindConfig {
		if len(e.Data()) > configBytesMax {
			return fmt.Errorf("entry %d is a configuration of more than %d bytes", at.Index, configBytesMax)
		}
		t.configs = append(t.configs, config{at.Index, bytes.Clone(e.Data())})
	}
	return nil
}

// truncate removes the entries from an index on that is above base.
func (t *trail) truncate(from raft.Index) {
	t.last = min(t.last, from-1)
	n := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].First >= from })
	t.runs = t.runs[:n]
	for n := len(t.configs); n > 1 && t.configs[n-1].index >= from; n-- {
		t.configs = t.configs[:n-1]
	}
}

// reset empties the log; it goes on after a mark.
func (t *trail) reset(base mark) {
	t.base, t.last, t.runs = base.Position, base.Index, t.runs[:0]
	t.configs = append(t.configs[:0], base.config)
}

// compact removes the entries up to an index from base to last.
func (t *trail) compact(upTo raft.Index) {
	t.base = raft.Position{Index: upTo, Term: t.term(upTo)}
	passed := sort.Search(len(t.configs)-1, func(k int) bool { return t.configs[k+1].index > upTo })
	t.configs = slices.Delete(t.configs, 0, passed)
	if upTo == t.last {
		t.runs = t.runs[:0]
		return
	}
	n := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].First > upTo+1 })
	t.runs = slices.Delete(t.runs, 0, n-1)
	t.runs[0].First = upTo + 1
}

// state returns what Load tells.
func (t *trail) state() (raft.State, error) {
	base, err := mark{t.base, t.configs[0]}.exported()
	if err != nil {
		return raft.State{}, fmt.Errorf("wal: configuration before the first entry: %w", err)
	}
	s := raft.State{Hard: t.hard, Base: base, Last: t.last, Runs: slices.Clone(t.runs)}
	for _, c := range t.configs[1:] {
		at := raft.Position{Index: c.index, Term: t.term(c.index)}
		s.Configs = append(s.Configs, raft.NewEntry(at, raft.KindConfig, c.data))
	}
	return s, nil
}
