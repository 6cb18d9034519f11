package raft

import (
	"slices"
	"sort"
	"time"
)

// raftLog is a node's log as the core sees it: the term of every entry, the newest entries themselves, and how far the
// disk has come.
//
// Invariants: base.Index <= last; cache holds [first, last]; stable() < first is impossible for entries that are not in
// the cache: what has left the cache is durable, so it can be read from the Storage.
type raftLog struct {
	base Position // precedes the first entry
	last Index
	runs []TermRun // terms of (base, last]

	cache      []Entry // never changed in place: writes and messages refer to it
	first      Index   // index of cache[0]; last+1 when the cache is empty
	cacheBytes int

	next     Index // first entry not yet part of a Write
	truncate Index // what the next Write must remove first
	reset    bool  // the next Write begins with a reset to base
	durable  Index // end of the log after all confirmed writes
	issued   []issuedWrite
	cuts     int // how many of them took entries away
}

// minCache is how many entries there is room for at least.
const minCache = 64

// issuedWrite is what a Write did to the log, until the disk confirms it.
type issuedWrite struct {
	seq      uint64
	at       time.Duration
	reset    bool
	base     Index // the base after a reset
	truncate Index
	last     Index // zero without entries
}

func (w issuedWrite) cuts() bool { return w.reset || w.truncate > 0 }

func newLog(s State) raftLog {
	return raftLog{
		base: s.Base.Position, last: s.Last, runs: slices.Clone(s.Runs),
		first: s.Last + 1, next: s.Last + 1, durable: s.Last,
	}
}

// term returns the term of the entry at i; false if the log does not know it.
func (l *raftLog) term(i Index) (Term, bool) {
	if i == l.base.Index {
		return l.base.Term, true
	}
	if i < l.base.Index || i > l.last {
		return 0, false
	}
	n := sort.Search(len(l.runs), func(k int) bool { return l.runs[k].First > i })
	return l.runs[n-1].Term, true
}

func (l *raftLog) lastPosition() Position {
	t, _ := l.term(l.last)
	return Position{l.last, t}
}

// holds reports whether the log has exactly this entry.
func (l *raftLog) holds(p Position) bool {
	t, ok := l.term(p.Index)
	return ok && t == p.Term
}

// append adds e at the end.
func (l *raftLog) append(e Entry) {
	l.last++
	if t := e.Term(); len(l.runs) == 0 || l.runs[len(l.runs)-1].Term != t {
		l.runs = append(l.runs, TermRun{l.last, t})
	}
	if len(l.cache) == cap(l.cache) { // its front was cut off: append would grow it by little, again and again
		l.cache = append(make([]Entry, 0, 2*len(l.cache)+minCache), l.cache...)
	}
	l.cache = append(l.cache, e)
	l.cacheBytes += e.Size()
}

// truncateFrom removes the entries from i on.
func (l *raftLog) truncateFrom(i Index) {
	keep := max(i, l.first) - l.first
	for _, e := range l.cache[keep:] {
		l.cacheBytes -= e.Size()
	}
	l.cache = slices.Clone(l.cache[:keep])
	l.last = i - 1
	l.first = min(l.first, i)
	for len(l.runs) > 0 && l.runs[len(l.runs)-1].First >= i {
		l.runs = l.runs[:len(l.runs)-1]
	}
	if i < l.next {
		l.next = i
		if l.truncate == 0 || i < l.truncate {
			l.truncate = i
		}
	}
}

// resetTo makes the log empty, beginning after p.
func (l *raftLog) resetTo(p Position) {
	*l = raftLog{
		base: p, last: p.Index, first: p.Index + 1, next: p.Index + 1,
		reset: true, durable: l.durable, issued: l.issued, cuts: l.cuts,
	}
}

// compactTo moves the base forward to p, which the log must hold.
func (l *raftLog) compactTo(p Position) {
	if p.Index <= l.base.Index {
		return
	}
	n := sort.Search(len(l.runs), func(k int) bool { return l.runs[k].First > p.Index+1 })
	if n > 0 && p.Index < l.last {
		l.runs[n-1].First = p.Index + 1
		l.runs = slices.Delete(l.runs, 0, n-1)
	} else {
		l.runs = slices.Delete(l.runs, 0, n)
	}
	l.base = p
	if p.Index >= l.first {
		l.drop(int(min(p.Index, l.last) - l.first + 1))
	}
}

// drop takes n entries off the front of the cache.
func (l *raftLog) drop(n int) {
	for _, e := range l.cache[:n] {
		l.cacheBytes -= e.Size()
	}
	l.cache = l.cache[n:]
	l.first += Index(n)
}

// evict shortens the cache to limit bytes, but keeps what only memory holds.
func (l *raftLog) evict(limit int) {
	stable, n, excess := l.stable(), 0, l.cacheBytes-limit
	for n < len(l.cache) && excess > 0 && l.first+Index(n) <= stable {
		excess -= l.cache[n].Size()
		n++
	}
	l.drop(n)
}

// slice returns cached entries from lo on, at least one and no more than up to hi or about maxBytes. It returns nil if
// lo is not in the cache.
func (l *raftLog) slice(lo, hi Index, maxBytes int) []Entry {
	if lo < l.first || lo > l.last {
		return nil
	}
	all := l.cache[lo-l.first : min(hi, l.last)-l.first+1]
	size := all[0].Size()
	n := 1
	for n < len(all) && size+all[n].Size() <= maxBytes {
		size += all[n].Size()
		n++
	}
	return all[:n:n]
}

// write fills in the log's part of w and notes it as issued.
func (l *raftLog) write(w *Write, now time.Duration) {
	note := issuedWrite{seq: w.Seq, at: now, reset: l.reset, base: l.base.Index, truncate: l.truncate}
	w.TruncateFrom = l.truncate
	if l.next <= l.last {
		w.Entries = l.cache[l.next-l.first:]
		w.Entries = slices.Clip(w.Entries)
		note.last = l.last
	}
	l.next, l.truncate, l.reset = l.last+1, 0, false
	l.issued = append(l.issued, note)
	if note.cuts() {
		l.cuts++
	}
}

// pending reports whether the next Write has something to do.
func (l *raftLog) pending() bool { return l.reset || l.truncate > 0 || l.next <= l.last }

// confirm notes that the disk has finished all writes up to seq.
func (l *raftLog) confirm(seq uint64) {
	n := 0
	for ; n < len(l.issued) && l.issued[n].seq <= seq; n++ {
		w := l.issued[n]
		if w.cuts() {
			l.cuts--
		}
		if w.reset {
			l.durable = w.base
		}
		if w.truncate > 0 {
			l.durable = min(l.durable, w.truncate-1)
		}
		if w.last > 0 {
			l.durable = w.last
		}
	}
	l.issued = slices.Delete(l.issued, 0, n)
}

// stable returns the index up to which the log as it is now is on disk. It is judged by the numbers of the writes
// alone, never by index and term: an entry that was overwritten, and overwritten back, cannot be taken for durable.
func (l *raftLog) stable() Index {
	if l.cuts == 0 && !l.reset && l.truncate == 0 {
		return l.durable
	}
	s := l.durable
	for _, w := range l.issued {
		if w.reset {
			return 0
		}
		if w.truncate > 0 {
			s = min(s, w.truncate-1)
		}
	}
	if l.reset {
		return 0
	}
	if l.truncate > 0 {
		s = min(s, l.truncate-1)
	}
	return s
}

// oldestWrite returns when the oldest unconfirmed write was issued.
func (l *raftLog) oldestWrite() (at time.Duration, ok bool) {
	if len(l.issued) == 0 {
		return 0, false
	}
	return l.issued[0].at, true
}

// agree returns the last position at or below p.Index whose term is not above p.Term: nothing after it can be in both
// logs. So a search for the point where two logs part takes one step for each term, not for each entry.
func (l *raftLog) agree(p Position) Position {
	i := min(p.Index, l.last)
	for i > l.base.Index {
		n := sort.Search(len(l.runs), func(k int) bool { return l.runs[k].First > i }) - 1
		if l.runs[n].Term <= p.Term {
			return Position{i, l.runs[n].Term}
		}
		i = l.runs[n].First - 1
	}
	return Position{i, l.base.Term}
}
