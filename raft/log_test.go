package raft

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// logModel says what a raftLog is in the plainest way: a list of terms, and every state that the disk may be in.
type logModel struct {
	base  Position
	terms []Term // of the entries after base
	// disks are the logs that a crash may leave: after the last confirmed write, and after each one issued since.
	disks []diskModel
	reset bool // not issued yet
}

type diskModel struct {
	base  Position
	terms []Term
	reset bool // the write that led here is not confirmed and replaced the log
}

func (m *logModel) last() Index { return m.base.Index + Index(len(m.terms)) }

func (m *logModel) term(i Index) (Term, bool) {
	switch {
	case i == m.base.Index:
		return m.base.Term, true
	case i < m.base.Index || i > m.last():
		return 0, false
	}
	return m.terms[i-m.base.Index-1], true
}

// stable returns how far every state of the disk holds the present log. Entries below a base have been durable.
func (m *logModel) stable() Index {
	if m.reset || slices.ContainsFunc(m.disks, func(d diskModel) bool { return d.reset }) {
		return 0
	}
	s := m.last()
	for _, d := range m.disks {
		i := m.base.Index
		for i < s && i < d.base.Index+Index(len(d.terms)) && (i+1 <= d.base.Index || d.terms[i-d.base.Index] == m.terms[i-m.base.Index]) {
			i++
		}
		s = min(s, i)
	}
	return s
}

// agree walks down entry by entry.
func (m *logModel) agree(p Position) Position {
	for i := min(p.Index, m.last()); i > m.base.Index; i-- {
		if t, _ := m.term(i); t <= p.Term {
			return Position{i, t}
		}
	}
	return m.base
}

// TestLogAgainstModel drives a raftLog and its model through appends, overruled tails, resets, compactions, evictions
// and a disk that lags behind. An entry that was overwritten and overwritten back is not taken for durable. (Trap 23.)
func TestLogAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := Position{Index(rapid.Uint64Range(0, 3).Draw(t, "base")), 1}
		if base.Index == 0 {
			base.Term = 0
		}
		l := newLog(State{Base: Mark{Position: base}, Last: base.Index})
		m := &logModel{base: base, disks: []diskModel{{base: base}}}
		d := &logDriver{l: &l, m: m}
		t.Repeat(map[string]func(*rapid.T){
			"append":   d.append,
			"truncate": d.truncate,
			"reset":    d.reset,
			"write":    d.write,
			"confirm":  d.confirm,
			"compact":  d.compact,
			"evict":    func(t *rapid.T) { l.evict(rapid.IntRange(0, 200).Draw(t, "bytes")) },
			"":         d.check,
		})
	})
}

type logDriver struct {
	l      *raftLog
	m      *logModel
	seq    uint64
	issued []uint64
}

func (d *logDriver) append(t *rapid.T) {
	last := d.l.lastPosition().Term
	at := Position{d.m.last() + 1, max(last, 1) + Term(rapid.Uint64Range(0, 1).Draw(t, "rise"))}
	d.l.append(NewEntry(at, KindCommand, nil))
	d.m.terms = append(slices.Clone(d.m.terms), at.Term)
}

func (d *logDriver) truncate(t *rapid.T) {
	if len(d.m.terms) == 0 {
		t.Skip("nothing to truncate")
	}
	i := d.m.base.Index + 1 + Index(rapid.IntRange(0, len(d.m.terms)-1).Draw(t, "from"))
	d.l.truncateFrom(i)
	d.m.terms = slices.Clone(d.m.terms[:i-d.m.base.Index-1])
}

func (d *logDriver) reset(t *rapid.T) {
	p := Position{d.m.base.Index + Index(rapid.Uint64Range(1, 5).Draw(t, "ahead")), d.l.lastPosition().Term + 1}
	d.l.resetTo(p)
	d.m.base, d.m.terms, d.m.reset = p, nil, true
}

// write also replays what the Write says, as a Storage would.
func (d *logDriver) write(t *rapid.T) {
	if !d.l.pending() {
		t.Skip("nothing to write")
	}
	d.seq++
	w := Write{Seq: d.seq}
	if d.m.reset {
		w.Reset = Mark{Position: d.l.base}
	}
	d.l.write(&w, 0)
	disk := d.m.disks[len(d.m.disks)-1]
	disk.reset = d.m.reset
	if w.Reset.Index > 0 {
		disk.base, disk.terms = w.Reset.Position, nil
	}
	if w.TruncateFrom > 0 {
		disk.terms = slices.Clone(disk.terms[:max(w.TruncateFrom, disk.base.Index+1)-disk.base.Index-1])
	}
	for _, e := range w.Entries {
		if e.Index() != disk.base.Index+Index(len(disk.terms))+1 {
			t.Fatalf("entry %d is written after %d", e.Index(), disk.base.Index+Index(len(disk.terms)))
		}
		disk.terms = append(slices.Clone(disk.terms), e.Term())
	}
	d.m.disks, d.m.reset = append(d.m.disks, disk), false
	d.issued = append(d.issued, d.seq)
	if len(disk.terms) != len(d.m.terms) && disk.base == d.m.base || !d.endsAlike(disk) {
		t.Fatalf("after write %d the disk holds %v after %v, the log %v after %v", d.seq, disk.terms, disk.base, d.m.terms, d.m.base)
	}
}

// endsAlike reports whether the disk holds all of the log, though its base may lie before.
func (d *logDriver) endsAlike(disk diskModel) bool {
	more := d.m.base.Index - disk.base.Index
	return Index(len(disk.terms)) >= more && slices.Equal(disk.terms[more:], d.m.terms)
}

func (d *logDriver) confirm(t *rapid.T) {
	if len(d.issued) == 0 {
		t.Skip("nothing is on its way")
	}
	n := rapid.IntRange(1, len(d.issued)).Draw(t, "writes")
	d.l.confirm(d.issued[n-1])
	d.issued = d.issued[n:]
	d.m.disks = slices.Clone(d.m.disks[n:])
	d.m.disks[0].reset = false
}

func (d *logDriver) compact(t *rapid.T) {
	stable := d.l.stable()
	if stable <= d.m.base.Index {
		t.Skip("nothing to compact")
	}
	i := d.m.base.Index + 1 + Index(rapid.Uint64Range(0, uint64(stable-d.m.base.Index-1)).Draw(t, "up to"))
	term, _ := d.m.term(i)
	d.l.compactTo(Position{i, term})
	d.m.terms = d.m.terms[i-d.m.base.Index:]
	d.m.base = Position{i, term}
}

func (d *logDriver) check(t *rapid.T) {
	if d.l.last != d.m.last() || d.l.base != d.m.base {
		t.Fatalf("the log is (%v, %d], want (%v, %d]", d.l.base, d.l.last, d.m.base, d.m.last())
	}
	for i := Index(0); i <= d.m.last()+2; i++ {
		got, ok := d.l.term(i)
		want, known := d.m.term(i)
		if ok != known || got != want {
			t.Fatalf("entry %d has term %d (%v), want %d (%v)", i, got, ok, want, known)
		}
		if d.l.holds(Position{i, want + 1}) || d.l.holds(Position{i, want}) != known {
			t.Fatalf("holds of entry %d is wrong", i)
		}
		for term := Term(0); term <= d.l.lastPosition().Term+1; term++ {
			p := Position{i, term}
			if i >= d.m.base.Index && d.l.agree(p) != d.m.agree(p) {
				t.Fatalf("%v agrees at %v, want %v", p, d.l.agree(p), d.m.agree(p))
			}
		}
	}
	if got, most := d.l.stable(), d.m.stable(); got > most {
		t.Fatalf("stable up to %d, but a crash may leave the log only up to %d", got, most)
	}
	if got := d.l.stable(); len(d.issued) == 0 && !d.l.pending() && got != d.m.last() {
		t.Fatalf("all is written, and stable is %d, not %d", got, d.m.last())
	}
	d.checkCache(t)
}

// checkCache requires that every entry not on disk is in memory, and that slices are what they say.
func (d *logDriver) checkCache(t *rapid.T) {
	for i := d.m.base.Index + 1; i <= d.m.last(); i++ {
		entries := d.l.slice(i, d.m.last(), 1)
		if entries == nil {
			if i > d.m.stable() {
				t.Fatalf("entry %d is neither durable nor in memory", i)
			}
			continue
		}
		if term, _ := d.m.term(i); len(entries) != 1 || entries[0].Position() != (Position{i, term}) {
			t.Fatalf("slice at %d is %v", i, entries)
		}
	}
	size := 0
	for _, e := range d.l.cache {
		size += e.Size()
	}
	if size != d.l.cacheBytes {
		t.Fatalf("the cache counts %d bytes and has %d", d.l.cacheBytes, size)
	}
}

// TestOverwrittenAndBack is A, B, A on one index: the confirmation of the first A says nothing about the last. (Trap 23.)
func TestOverwrittenAndBack(t *testing.T) {
	l := newLog(State{})
	seq := uint64(0)
	put := func(term Term) {
		if l.last >= 1 {
			l.truncateFrom(1)
		}
		l.append(NewEntry(Position{1, term}, KindNoop, nil))
		seq++
		w := Write{Seq: seq}
		l.write(&w, 0)
	}
	put(2)
	put(3)
	put(2)
	for confirmed, want := range []Index{0, 0, 0, 1} {
		l.confirm(uint64(confirmed))
		if got := l.stable(); got != want {
			t.Errorf("after %d confirmed writes stable is %d, want %d", confirmed, got, want)
		}
	}
}

// TestSliceBounds: at least one entry, no more than fit, none beyond the end.
func TestSliceBounds(t *testing.T) {
	l := newLog(State{})
	for i := Index(1); i <= 5; i++ {
		l.append(NewEntry(Position{i, 1}, KindCommand, make([]byte, 100)))
	}
	size := 100 + EntryHeaderBytes
	for _, c := range []struct {
		lo, hi Index
		bytes  int
		want   int
	}{
		{1, 5, 0, 1}, {1, 5, size, 1}, {1, 5, 2*size - 1, 1}, {1, 5, 2 * size, 2}, {2, 3, 100 * size, 2}, {4, 9, 100 * size, 2}, {6, 9, 1, 0},
	} {
		if got := len(l.slice(c.lo, c.hi, c.bytes)); got != c.want {
			t.Errorf("slice(%d, %d, %d) has %d entries, want %d", c.lo, c.hi, c.bytes, got, c.want)
		}
	}
}
