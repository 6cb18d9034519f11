package locktable

import (
	"encoding/binary"
	"time"

	"github.com/lockd/lockd/session"
)

// recordVersion is the first byte of every record.
const recordVersion = 1

func (s *holdings) state() *rowState { return &s.row }
func (s *holdings) exists() bool     { return !s.gone }
func (s *holdings) size() int        { return s.client.RecordSize() }

func (s *holdings) appendKey(b []byte) []byte {
	return appendKey64(b, keySession, s.client.Life().Index)
}

func (s *holdings) appendValue(b []byte) []byte { return s.client.AppendRecord(b) }

func (h *hold) state() *rowState          { return &h.row }
func (h *hold) exists() bool              { return !h.gone }
func (h *hold) appendKey(b []byte) []byte { return appendKey64(b, keyHold, h.token) }

func (h *hold) size() int {
	n := 140 + len(h.lock.name)
	if x := h.extra; x != nil {
		n += len(x.value) + len(x.metadata)
		for _, l := range x.rest {
			n += len(l.name) + 2
		}
	}
	return n
}

func (h *hold) appendValue(b []byte) []byte {
	x := h.more()
	b = append(b, recordVersion, byte(h.mode))
	b = binary.AppendUvarint(b, h.index)
	b = binary.AppendUvarint(b, sessionIndex(h.client))
	b = binary.AppendUvarint(b, h.owner)
	b = session.AppendDuration(b, h.since)
	b = binary.AppendUvarint(b, uint64(h.levels))
	b = binary.AppendUvarint(b, uint64(1+len(x.rest)))
	for l := range h.locks {
		b = session.AppendBytes(b, l.name)
	}
	b = session.AppendBool(b, h.extra != nil)
	if h.extra == nil {
		return b
	}
	b = session.AppendDuration(b, x.delay)
	b = append(b, x.lease[:]...)
	b = session.AppendDuration(b, x.ttl)
	b = session.AppendDuration(b, x.until)
	b = binary.AppendUvarint(b, x.takenFrom)
	b = append(b, byte(x.nobody))
	b = session.AppendBytes(b, x.value)
	return session.AppendBytes(b, x.metadata)
}

func sessionIndex(c *client) uint64 {
	if c == nil {
		return 0
	}
	return c.Life().Index
}

func (w *wait) state() *rowState { return &w.row }
func (w *wait) exists() bool     { return !w.gone }

func (w *wait) appendKey(b []byte) []byte {
	return binary.BigEndian.AppendUint64(appendKey64(b, keyWait, w.client.Life().Index), w.seq)
}

func (w *wait) size() int {
	n := 160 + len(w.value) + len(w.meta)
	for _, l := range w.locks {
		n += len(l.name) + 2
	}
	return n
}

func (w *wait) appendValue(b []byte) []byte {
	b = append(b, recordVersion)
	b = binary.AppendUvarint(b, w.place)
	b = session.AppendBool(b, w.outcome.Code != 0)
	if w.outcome.Code != 0 {
		return appendOutcome(b, &w.outcome)
	}
	b = append(b, byte(w.mode))
	b = binary.AppendUvarint(b, w.owner)
	b = session.AppendDuration(b, w.since)
	b = session.AppendDuration(b, w.until)
	b = session.AppendDuration(b, w.delay)
	b = append(b, w.lease[:]...)
	b = session.AppendDuration(b, w.ttl)
	b = session.AppendBytes(b, w.value)
	b = session.AppendBytes(b, w.meta)
	b = binary.AppendUvarint(b, uint64(len(w.locks)))
	for _, l := range w.locks {
		b = session.AppendBytes(b, l.name)
	}
	return b
}

func (c *crowd) state() *rowState { return &c.row }
func (c *crowd) exists() bool     { return !c.lock.gone }
func (c *crowd) size() int        { return 48 + len(c.lock.name) }

func (c *crowd) appendKey(b []byte) []byte { return append(append(b, keyLock), c.lock.name...) }

func (c *crowd) appendValue(b []byte) []byte {
	b = append(b, recordVersion)
	b = binary.AppendUvarint(b, uint64(c.lock.limit))
	b = binary.AppendUvarint(b, c.floor)
	b = binary.AppendUvarint(b, c.newest)
	b = append(b, byte(c.last.How))
	b = binary.AppendUvarint(b, c.last.Token)
	return binary.AppendUvarint(b, c.left)
}

func (m *memory) state() *rowState          { return &m.row }
func (m *memory) exists() bool              { return !m.gone }
func (m *memory) size() int                 { return 32 + len(m.name) }
func (m *memory) appendKey(b []byte) []byte { return append(append(b, keyMemory), m.name...) }

func (m *memory) appendValue(b []byte) []byte {
	b = append(b, recordVersion, byte(m.ending.How))
	b = binary.AppendUvarint(b, m.ending.Token)
	return binary.AppendUvarint(b, m.key)
}

func (t *Table) appendMeta(b []byte) []byte {
	b = append(b, recordVersion)
	b = session.AppendDuration(b, t.clock)
	b = binary.AppendUvarint(b, t.counter)
	b = append(b, t.incarnation[:]...)
	b = session.AppendDuration(b, t.embargo)
	b = append(b, t.forgot.How)
	b = binary.AppendUvarint(b, t.forgot.Index)
	return session.AppendDuration(b, t.forgot.Clock)
}

// appendOutcome writes what a repeat of the request is answered: at most session.ResultMax bytes. How many wait is read from the
// state when it is asked for.
func appendOutcome(b []byte, r *Reply) []byte {
	b = append(b, byte(r.Code), byte(r.Previous.How))
	b = binary.AppendUvarint(b, r.Index)
	b = binary.AppendUvarint(b, r.Token)
	b = binary.AppendUvarint(b, r.Floor)
	b = session.AppendDuration(b, r.Deadline)
	return binary.AppendUvarint(b, r.Previous.Token)
}

func readOutcome(c *session.Cursor) (r Reply) {
	r.Code, r.Previous.How = Code(c.Byte()), How(c.Byte())
	r.Index, r.Token, r.Floor = c.Uint64(), c.Uint64(), c.Uint64()
	r.Deadline, r.Previous.Token = c.Duration(), c.Uint64()
	return r
}

func storeReply(r *Reply) session.Result {
	var b [session.ResultMax]byte
	return session.NewResult(appendOutcome(b[:0], r))
}

func loadReply(stored session.Result) Reply {
	c := session.NewCursor(stored.Bytes())
	return readOutcome(&c)
}

// addUntil returns when a time that begins at from is over, Forever if that is beyond all time.
func addUntil(from, length time.Duration) time.Duration {
	if length >= Forever-from {
		return Forever
	}
	return from + length
}
