package locktable

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/lockd/lockd/session"
)

// ErrDamaged is what a Loader returns for records that do not make a state.
var ErrDamaged = errors.New("the records are damaged")

// Loader builds a Table from the records of a checkpoint or a snapshot, given in any order.
type Loader struct {
	table *Table
	holds []loadedHold
	waits []loadedWait
}

// loadedHold is a hold whose names are not resolved yet.
type loadedHold struct {
	*hold
	session uint64
	names   []string
}

type loadedWait struct {
	*wait
	session uint64
	names   []string
}

// NewLoader begins with what a checkpoint says of itself: its index, its term and its meta record.
func NewLoader(index, term uint64, meta []byte) (*Loader, error) {
	t := NewTable()
	t.index, t.term = index, term
	c := session.NewCursor(meta)
	if err := version(&c); err != nil {
		return nil, fmt.Errorf("%w: meta: %w", ErrDamaged, err)
	}
	t.clock, t.counter = c.Duration(), c.Uint64()
	c.Fixed(t.incarnation[:])
	t.embargo = c.Duration()
	t.forgot = session.End{How: uint8(readHow(&c)), Index: c.Uint64(), Clock: c.Duration()}
	if err := c.Close(); err != nil {
		return nil, fmt.Errorf("%w: meta: %w", ErrDamaged, err)
	}
	t.now = t.clock
	t.sessions.LoadEndAll(t.forgot)
	return &Loader{table: t}, nil
}

// Expect makes room for so many records, as far as a claim is believed.
func (l *Loader) Expect(records int) {
	const believed = 1 << 20
	records = min(records, believed)
	l.holds = slices.Grow(l.holds, records)
	if len(l.table.locks) == 0 {
		l.table.locks = make(map[string]*lock, records)
	}
}

// Add takes a record. It keeps no part of it.
func (l *Loader) Add(r Record) error {
	row, err := l.read(r)
	if err != nil {
		return fmt.Errorf("%w: record %q: %w", ErrDamaged, r.Key, err)
	}
	t := l.table
	t.changes.scratch = append(append(t.changes.scratch[:0], r.Key...), r.Value...)
	s := row.state()
	s.hash, s.summed, s.saved = session.Digest(t.changes.scratch), true, true
	t.changes.sum = t.changes.sum.Plus(s.hash)
	t.changes.count++
	return nil
}

func (l *Loader) read(r Record) (row, error) {
	if len(r.Key) == 0 {
		return nil, session.ErrShort
	}
	key, c := r.Key[1:], session.NewCursor(r.Value)
	switch r.Key[0] {
	case keySession:
		return l.readSession(key, r.Value)
	case keyHold:
		return l.readHold(key, c)
	case keyWait:
		return l.readWait(key, c)
	case keyLock:
		return l.readLock(string(key), c)
	case keyMemory:
		return l.readMemory(string(key), c)
	}
	return nil, session.ErrRange
}

func numbers(key []byte, n ...*uint64) error {
	if len(key) != 8*len(n) {
		return session.ErrShort
	}
	for i := range n {
		*n[i] = binary.BigEndian.Uint64(key[8*i:])
	}
	return nil
}

func version(c *session.Cursor) error {
	if v := c.Byte(); v != recordVersion && !c.Failed() {
		return fmt.Errorf("version %d is unknown", v)
	}
	return nil
}

func (l *Loader) readSession(key, value []byte) (row, error) {
	var index uint64
	if err := numbers(key, &index); err != nil {
		return nil, err
	}
	s, err := l.table.sessions.LoadRecord(index, value)
	if err != nil {
		return nil, err
	}
	if How(s.End().How) > Forgotten {
		return nil, session.ErrRange
	}
	s.Held.client = s
	return &s.Held, nil
}

// readHow reads what was written as one byte.
func readHow(c *session.Cursor) How { return How(c.Uint(uint64(Forgotten))) }

func readNames(c *session.Cursor) []string {
	n := int(c.Uint(NamesMax))
	names := make([]string, 0, n)
	for range n {
		names = append(names, string(c.Bytes(NameMax)))
	}
	return names
}

func (l *Loader) readHold(key []byte, c session.Cursor) (row, error) {
	h := &hold{}
	if err := cmp.Or(numbers(key, &h.token), version(&c)); err != nil {
		return nil, err
	}
	loaded := loadedHold{hold: h}
	h.mode, h.index = Mode(c.Byte()), c.Uint64()
	loaded.session, h.owner, h.since = c.Uint64(), c.Uint64(), c.Duration()
	h.levels = uint32(c.Uint(math.MaxUint32))
	loaded.names = readNames(&c)
	if c.Bool() {
		x := &extra{delay: c.Duration()}
		c.Fixed(x.lease[:])
		x.ttl, x.until, x.takenFrom, x.nobody = c.Duration(), c.Duration(), c.Uint64(), readHow(&c)
		x.value, x.metadata = bytes.Clone(c.Bytes(ValueMax)), bytes.Clone(c.Bytes(session.MetadataMax))
		h.extra = x
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	alone := h.extra == nil || h.extra.ttl == 0 && h.extra.nobody == NotEnded
	if len(loaded.names) == 0 || alone != (loaded.session != 0) {
		return nil, session.ErrRange
	}
	l.holds = append(l.holds, loaded)
	return h, nil
}

func (l *Loader) readWait(key []byte, c session.Cursor) (row, error) {
	w := &wait{}
	loaded := loadedWait{wait: w}
	if err := cmp.Or(numbers(key, &loaded.session, &w.seq), version(&c)); err != nil {
		return nil, err
	}
	w.place = c.Uint64()
	if decided := c.Bool(); decided {
		w.outcome = readOutcome(&c)
	} else {
		w.mode, w.owner, w.since, w.until, w.delay = Mode(c.Byte()), c.Uint64(), c.Duration(), c.Duration(), c.Duration()
		c.Fixed(w.lease[:])
		w.ttl, w.value, w.meta = c.Duration(), bytes.Clone(c.Bytes(ValueMax)), bytes.Clone(c.Bytes(session.MetadataMax))
		if loaded.names = readNames(&c); len(loaded.names) == 0 && !c.Failed() {
			return nil, session.ErrRange
		}
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	l.waits = append(l.waits, loaded)
	return w, nil
}

func (l *Loader) readLock(name string, c session.Cursor) (row, error) {
	if err := version(&c); err != nil {
		return nil, err
	}
	k := &lock{name: name, limit: uint32(c.Uint(SlotsMax))}
	k.crowd = &crowd{lock: k, floor: c.Uint64(), newest: c.Uint64(), last: Ending{How: readHow(&c), Token: c.Uint64()}, left: c.Uint64()}
	if err := c.Close(); err != nil {
		return nil, err
	}
	if l.table.locks[name] != nil {
		return nil, session.ErrRange
	}
	l.table.locks[name] = k
	return k.crowd, nil
}

func (l *Loader) readMemory(name string, c session.Cursor) (row, error) {
	if err := version(&c); err != nil {
		return nil, err
	}
	m := &memory{name: name, ending: Ending{How: readHow(&c), Token: c.Uint64()}, key: c.Uint64()}
	if err := c.Close(); err != nil {
		return nil, err
	}
	if l.table.memories.byName[name] != nil {
		return nil, session.ErrRange
	}
	l.table.memories.byName[name] = m
	return m, nil
}

// Done returns the Table, if its hash and the number of its records are what the checkpoint says.
func (l *Loader) Done(hash session.Hash, count int) (*Table, error) {
	t := l.table
	t.sessions.LoadDone()
	if got, n := t.Hash(); got != hash || n != count {
		return nil, fmt.Errorf("%w: hash %s of %d records, not %s of %d", ErrDamaged, got, n, hash, count)
	}
	slices.SortFunc(l.holds, func(a, b loadedHold) int { return cmp.Compare(a.token, b.token) })
	for _, h := range l.holds {
		if err := l.placeHold(h); err != nil {
			return nil, fmt.Errorf("%w: hold %d: %w", ErrDamaged, h.token, err)
		}
	}
	slices.SortFunc(l.waits, func(a, b loadedWait) int { return cmp.Compare(a.place, b.place) })
	for _, w := range l.waits {
		if err := l.placeWait(w); err != nil {
			return nil, fmt.Errorf("%w: wait %d of session %d: %w", ErrDamaged, w.seq, w.session, err)
		}
	}
	return t, l.finish()
}

var (
	errNoSession = errors.New("its session has no record")
	errNoLock    = errors.New("its lock has no record")
)

func (l *Loader) placeHold(loaded loadedHold) error {
	h, t := loaded.hold, l.table
	if loaded.session != 0 {
		if h.client = t.sessions.At(loaded.session); h.client == nil {
			return errNoSession
		}
		h.client.Held.chain(h)
	} else {
		t.alarmHold(h, h.extra.until)
	}
	for i, name := range loaded.names {
		k := t.locks[name]
		if k == nil {
			k = &lock{name: name}
			t.locks[name] = k
		}
		if k.crowd == nil && (k.sole != nil || h.mode != Exclusive) {
			return errNoLock
		}
		if i == 0 {
			h.lock = k
		} else if h.extra == nil {
			return session.ErrRange
		} else {
			h.extra.rest = append(h.extra.rest, k)
		}
		k.add(h)
	}
	l.table.holds++
	return nil
}

func (l *Loader) placeWait(loaded loadedWait) error {
	w := loaded.wait
	if w.client = l.table.sessions.At(loaded.session); w.client == nil {
		return errNoSession
	}
	w.client.Held.chainWait(w)
	if w.outcome.Code != 0 {
		return nil
	}
	for _, name := range loaded.names {
		k := l.table.locks[name]
		if k == nil || k.crowd == nil {
			return errNoLock
		}
		w.locks = append(w.locks, k)
		k.crowd.enqueue(w)
	}
	l.table.waits++
	l.table.alarmWait(w)
	return nil
}

// finish puts into order what has an order of its own.
func (l *Loader) finish() error {
	t := l.table
	all := make([]*lock, 0, len(t.locks))
	for _, k := range t.locks {
		all = append(all, k)
	}
	slices.SortFunc(all, byName)
	t.catalog.fill(all)
	var left []*crowd
	for _, k := range all {
		if k.crowd != nil && (k.crowd.left != 0 || k.empty()) {
			left = append(left, k.crowd)
		}
	}
	slices.SortFunc(left, func(a, b *crowd) int {
		return cmp.Or(cmp.Compare(a.left, b.left), strings.Compare(a.lock.name, b.lock.name))
	})
	for _, c := range left {
		if c.lock.empty() {
			return fmt.Errorf("%w: lock %q: nothing is in it", ErrDamaged, c.lock.name)
		}
		t.left.push(c.left, c)
	}
	kept := make([]*memory, 0, len(t.memories.byName))
	for _, m := range t.memories.byName {
		kept = append(kept, m)
	}
	slices.SortFunc(kept, func(a, b *memory) int { return cmp.Compare(a.key, b.key) })
	for _, m := range kept {
		t.memories.order.push(m.key, m)
	}
	return nil
}
