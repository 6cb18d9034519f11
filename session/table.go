package session

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"
)

// Terms are what the Keeper has to know of a session.
type Terms struct {
	Life  Life
	TTL   time.Duration
	Grace time.Duration // 0 = a closed connection means nothing
}

// Session is one life of a session. H is what the owner of the Table hangs on it.
type Session[H any] struct {
	Held H

	terms    Terms
	metadata []byte
	end      End
	inEndAll bool // it ended with all others, which its record does not tell
	window   window
}

// End tells how and when a life ended. The zero value means that it has not.
type End struct {
	How   uint8         // the owner's reason, not zero
	Index uint64        // entry that ended it
	Clock time.Duration // cluster time of that entry
}

// Terms returns the session's name, TTL and grace.
func (s *Session[H]) Terms() Terms { return s.terms }

// Life returns the name of this life.
func (s *Session[H]) Life() Life { return s.terms.Life }

// Metadata returns what the client said of itself. It must not be changed.
func (s *Session[H]) Metadata() []byte { return s.metadata }

// Alive reports whether the session has not ended.
func (s *Session[H]) Alive() bool { return s.end.How == 0 }

// End returns how the session ended.
func (s *Session[H]) End() End { return s.end }

// Table holds the lives of sessions: the living by id, and the dead until their records are collected.
type Table[H any] struct {
	living map[ID]*Session[H]
	lives  map[uint64]*Session[H] // by opening index, the dead included
	dead   []*Session[H]          // in order of (End.Index, opening index)
	endAll End                    // of the last EndAll
}

// NewTable returns an empty Table.
func NewTable[H any]() *Table[H] {
	return &Table[H]{living: make(map[ID]*Session[H]), lives: make(map[uint64]*Session[H])}
}

// Open returns the living session of this id, or makes one whose life is named by index; fresh tells which. The metadata is kept
// as it is. An index opens one life at most.
func (t *Table[H]) Open(index uint64, id ID, ttl, grace time.Duration, metadata []byte) (s *Session[H], fresh bool) {
	if s := t.living[id]; s != nil {
		return s, false
	}
	s = &Session[H]{terms: Terms{Life: Life{ID: id, Index: index}, TTL: ttl, Grace: grace}, metadata: metadata}
	t.living[id], t.lives[index] = s, s
	return s, true
}

// Find returns the living session of this life, or nil. A life has both its names or it is unknown.
func (t *Table[H]) Find(l Life) *Session[H] {
	s := t.lives[l.Index]
	if s == nil || s.terms.Life != l || !s.Alive() {
		return nil
	}
	return s
}

// End ends a living session. It stays among the dead until Forget.
func (t *Table[H]) End(s *Session[H], end End) {
	s.end, s.window = end, window{}
	delete(t.living, s.terms.Life.ID)
	t.dead = append(t.dead, s)
	for i := len(t.dead) - 1; i > 0 && later(t.dead[i-1], s); i-- {
		t.dead[i-1], t.dead[i] = s, t.dead[i-1]
	}
}

func (t *Table[H]) sortDead() {
	slices.SortFunc(t.dead, func(a, b *Session[H]) int {
		if later(a, b) {
			return 1
		}
		return -1
	})
}

// later reports whether a is to be collected after b.
func later[H any](a, b *Session[H]) bool {
	return cmp.Or(cmp.Compare(a.end.Index, b.end.Index), cmp.Compare(a.terms.Life.Index, b.terms.Life.Index)) > 0
}

// EndAll ends every living session at once. Their records do not change: that they are dead follows from end, which the owner
// keeps among its own and gives to the Table before it loads records.
func (t *Table[H]) EndAll(end End) {
	t.endAll = end
	for _, s := range t.dead {
		if s.inEndAll {
			s.end = end
		}
	}
	for s := range t.Living() {
		s.end, s.inEndAll = end, true
		t.dead = append(t.dead, s)
	}
	clear(t.living)
	t.sortDead()
}

// Dead returns the session that died first among those not yet forgotten, or nil.
func (t *Table[H]) Dead() *Session[H] {
	if len(t.dead) == 0 {
		return nil
	}
	return t.dead[0]
}

// Forget drops the session that Dead returned. Nothing may refer to it any more.
func (t *Table[H]) Forget() {
	s := t.dead[0]
	t.dead[0] = nil
	t.dead = t.dead[1:]
	delete(t.lives, s.terms.Life.Index)
}

// Len returns how many sessions live, and how many are dead and not yet forgotten.
func (t *Table[H]) Len() (living, dead int) { return len(t.living), len(t.dead) }

// Living iterates over the living sessions in the order in which they were opened. The Table may be changed on the way.
func (t *Table[H]) Living() iter.Seq[*Session[H]] {
	ordered := slices.SortedFunc(maps.Values(t.living), func(a, b *Session[H]) int {
		return cmp.Compare(a.terms.Life.Index, b.terms.Life.Index)
	})
	return slices.Values(ordered)
}

// Lives iterates over the terms of the living sessions in the order in which they were opened, for [Keeper.Start].
func (t *Table[H]) Lives() iter.Seq[Terms] {
	return func(yield func(Terms) bool) {
		for s := range t.Living() {
			if !yield(s.terms) {
				return
			}
		}
	}
}

// All iterates over all sessions, the dead too, in the order in which they were opened.
func (t *Table[H]) All() iter.Seq[*Session[H]] {
	return func(yield func(*Session[H]) bool) {
		for _, index := range slices.Sorted(maps.Keys(t.lives)) {
			if !yield(t.lives[index]) {
				return
			}
		}
	}
}
