package locktable

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/lockd/lockd/session"
)

// A set of changes is full before it outgrows one transaction of the checkpoint's store (about 1.2 MB), whatever one more entry adds.
const (
	setRecordsMax = 2000
	setBytesMax   = 500 << 10
)

// Record is one record of the state. Both slices are never changed.
type Record struct {
	Key   []byte
	Value []byte // nil = the record is gone
}

// Changes is what changed between two entry boundaries: the records as they are at Index, and what goes with them into the same
// transaction.
type Changes struct {
	Index, Term uint64 // the entry up to which the state is told
	Meta        []byte // clock, counters and the like: the record of [MetaKey], to be written each time
	Records     []Record
	Hash        session.Hash // of the state at Index
	Count       int          // how many records the state has, Meta not counted
}

// row is a record in memory: *holdings, *hold, *wait, *crowd or *memory.
type row interface {
	state() *rowState
	exists() bool
	appendKey(b []byte) []byte
	appendValue(b []byte) []byte
	size() int // about how many bytes it has encoded, never too few
}

// rowState is what the bookkeeping of changes knows of one record.
type rowState struct {
	hash    session.Hash // as it is in changes.sum, if summed
	summed  bool
	unsaved bool // in changes.set
	unsums  bool // in changes.stale
	saved   bool // was in a Cut and was not gone
}

// changes keeps the hash and the set of changed records. It is no part of the state: when Cut and Hash are called depends on the
// node, so nothing here may be read by what decides.
//
// The hash of a record is taken when Cut or Hash asks, not at every change. A hold that came and went in between costs nothing.
type changes struct {
	sum     session.Hash
	count   int
	set     []row // changed since the last Cut
	bytes   int   // about what they take, encoded
	stale   []row // changed since they were summed
	scratch []byte
}

func (c *changes) touch(r row, size int) {
	s := r.state()
	if !s.unsums {
		s.unsums = true
		c.stale = append(c.stale, r)
	}
	if !s.unsaved {
		s.unsaved = true
		c.set = append(c.set, r)
		c.bytes += size
	}
}

// settle brings sum and count up to date.
func (c *changes) settle() {
	for i, r := range c.stale {
		c.stale[i] = nil
		s := r.state()
		s.unsums = false
		if s.summed {
			c.sum = c.sum.Minus(s.hash)
			c.count--
		}
		if s.summed = r.exists(); s.summed {
			c.scratch = r.appendValue(r.appendKey(c.scratch[:0]))
			s.hash = session.Digest(c.scratch)
			c.sum = c.sum.Plus(s.hash)
			c.count++
		}
	}
	c.stale = c.stale[:0]
}

// cut returns the records that changed. One that came and went in between is not among them.
func (c *changes) cut() []Record {
	records := make([]Record, 0, len(c.set))
	for i, r := range c.set {
		c.set[i] = nil
		s := r.state()
		s.unsaved = false
		exists := r.exists()
		if exists {
			records = append(records, encodeRow(r))
		} else if s.saved {
			records = append(records, Record{Key: r.appendKey(nil)})
		}
		s.saved = exists
	}
	c.set, c.bytes = c.set[:0], 0
	return records
}

func encodeRow(r row) Record {
	b := r.appendKey(make([]byte, 0, r.size()))
	n := len(b)
	b = r.appendValue(b)
	return Record{Key: b[:n:n], Value: b[n:]}
}

// Full reports whether the changes should be cut before the next entry.
func (t *Table) Full() bool {
	return len(t.changes.set) >= setRecordsMax || t.changes.bytes >= setBytesMax
}

// Cut closes the set of changed records at the last applied entry, and begins another.
func (t *Table) Cut() Changes {
	t.changes.settle()
	return Changes{
		Index: t.index, Term: t.term, Meta: t.appendMeta(nil), Records: t.changes.cut(), Hash: t.hash(), Count: t.changes.count,
	}
}

// Hash returns the hash of the state at the last applied entry, and how many records it has. It costs the hashing of what changed
// since it was asked last.
func (t *Table) Hash() (hash session.Hash, count int) {
	t.changes.settle()
	return t.hash(), t.changes.count
}

func (t *Table) hash() session.Hash {
	t.changes.scratch = t.appendMeta(append(t.changes.scratch[:0], MetaKey))
	return t.changes.sum.Plus(session.Digest(t.changes.scratch))
}

// touch notes that an entry changed a record, and counts it against the entry's budget. The budget counts every touch, even the
// second of one record: what it counts must not depend on when the changes were cut.
func (t *Table) touch(r row) {
	size := r.size()
	t.changes.touch(r, size)
	t.spent.records++
	t.spent.bytes += size
}

// grown notes that a record grew after it was touched first, so that the set cannot outgrow its bound unseen.
func (t *Table) grown(bytes int) { t.changes.bytes += bytes }

// Keys of records: one byte for the kind, then what names the record.
const (
	MetaKey    byte = 'm'
	keySession byte = 's' // opening index
	keyHold    byte = 'h' // token
	keyWait    byte = 'w' // opening index of the session, seq
	keyLock    byte = 'l' // name
	keyMemory  byte = 'e' // name
)

func appendKey64(b []byte, kind byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind), v)
}

// All returns every record of the state, in the order of the keys: what a checkpoint that begins anew is to hold.
func (t *Table) All() Changes {
	t.changes.settle()
	all := Changes{Index: t.index, Term: t.term, Meta: t.appendMeta(nil), Hash: t.hash(), Count: t.changes.count}
	add := func(r row) { all.Records = append(all.Records, encodeRow(r)) }
	for c := range t.sessions.All() {
		add(&c.Held)
		for h := c.Held.firstHold; h != nil; h = h.next {
			add(h)
		}
		for w := c.Held.firstWait; w != nil; w = w.next {
			add(w)
		}
	}
	for _, a := range t.alarms {
		if a.hold != nil {
			add(a.hold)
		}
	}
	var crowds []*crowd
	for _, l := range t.locks {
		if l.crowd != nil {
			crowds = append(crowds, l.crowd)
		}
	}
	slices.SortFunc(crowds, func(a, b *crowd) int { return strings.Compare(a.lock.name, b.lock.name) })
	for _, c := range crowds {
		add(c)
	}
	for m := range t.memories.order.all {
		add(m)
	}
	slices.SortFunc(all.Records, func(a, b Record) int { return bytes.Compare(a.Key, b.Key) })
	return all
}
