package session

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// recordVersion is the first byte of a session's record.
const recordVersion = 1

// AppendRecord appends the session's record. The opening index is its key and not in it.
func (s *Session[H]) AppendRecord(b []byte) []byte {
	b = append(b, recordVersion)
	b = append(b, s.terms.Life.ID[:]...)
	b = AppendDuration(b, s.terms.TTL)
	b = AppendDuration(b, s.terms.Grace)
	b = AppendBytes(b, s.metadata)
	end := s.end
	if s.inEndAll {
		end = End{}
	}
	b = append(b, end.How)
	b = binary.AppendUvarint(b, end.Index)
	b = AppendDuration(b, end.Clock)
	b = binary.AppendUvarint(b, s.window.acked)
	b = binary.AppendUvarint(b, uint64(len(s.window.results)))
	for i := range s.window.results {
		k := &s.window.results[i]
		b = binary.AppendUvarint(b, k.seq-s.window.acked)
		b = AppendBytes(b, k.result.Bytes())
	}
	return b
}

// RecordSize returns about how many bytes the session's record has, never too few.
func (s *Session[H]) RecordSize() int {
	return 96 + len(s.metadata) + len(s.window.results)*(ResultMax+4)
}

// LoadRecord puts the session of this opening index and record into the Table. After the last one, call LoadDone.
func (t *Table[H]) LoadRecord(index uint64, record []byte) (*Session[H], error) {
	c := NewCursor(record)
	if v := c.Byte(); v != recordVersion && !c.Failed() {
		return nil, fmt.Errorf("session %d: record version %d is unknown", index, v)
	}
	s := &Session[H]{}
	s.terms.Life.Index = index
	c.Fixed(s.terms.Life.ID[:])
	s.terms.TTL, s.terms.Grace = c.Duration(), c.Duration()
	s.metadata = slices.Clone(c.Bytes(MetadataMax))
	s.end = End{How: c.Byte(), Index: c.Uint64(), Clock: c.Duration()}
	s.window.acked = c.Uint64()
	last := uint64(0)
	for range c.Uint(WindowMax) {
		above := c.Uint(WindowMax)
		if c.Failed() || above <= last {
			break
		}
		last = above
		s.window.results = append(s.window.results, kept{s.window.acked + above, NewResult(c.Bytes(ResultMax))})
	}
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("session %d: record: %w", index, err)
	}
	return s, t.insert(s)
}

func (t *Table[H]) insert(s *Session[H]) error {
	l := s.terms.Life
	if t.lives[l.Index] != nil {
		return fmt.Errorf("session %d: two records", l.Index)
	}
	if s.Alive() && l.Index < t.endAll.Index {
		s.end, s.inEndAll = t.endAll, true
	}
	if !s.Alive() {
		t.dead = append(t.dead, s)
	} else if t.living[l.ID] != nil {
		return fmt.Errorf("session %d: its id lives in session %d", l.Index, t.living[l.ID].terms.Life.Index)
	} else {
		t.living[l.ID] = s
	}
	t.lives[l.Index] = s
	return nil
}

// At returns the session of this opening index, dead or alive, or nil: what a record that belongs to a session names.
func (t *Table[H]) At(index uint64) *Session[H] { return t.lives[index] }

// LoadDone ends the loading: it puts the dead in the order in which they died.
func (t *Table[H]) LoadDone() { t.sortDead() }

// LoadEndAll tells, before any record is loaded, how all sessions ended that were opened before end.Index.
func (t *Table[H]) LoadEndAll(end End) { t.endAll = end }
