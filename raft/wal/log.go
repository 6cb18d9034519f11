package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/lockd/lockd/raft"
)

// Log is a node's log and hard state on disk.
type Log struct {
	fs       FS
	identity Identity
	events   Events
	spares   *spares

	// Of the writer alone.
	batch     batch
	next      trail // the trail as a Write will leave it
	lastBatch uint64

	mu sync.Mutex
	// guards the fields below and the index in the segments. The writer alone changes them, but for failed, and may
	// read what it alone changes without mu.
	now      trail
	segments []*segment // ascending; the last one is written to
	failed   error
}

func newLog(o Options) *Log {
	return &Log{
		fs:       o.FS,
		identity: o.Identity,
		events:   o.Events,
		now:      newTrail(raft.HardState{}, mark{}),
		spares:   &spares{fs: o.FS, size: o.SegmentBytes, background: o.Background, failed: o.Events.SpareFailed},
	}
}

// Identity returns whose log it is.
func (l *Log) Identity() Identity { return l.identity }

// Load returns what the log held when it was opened. It is called once, before anything else.
func (l *Log) Load() (raft.State, error) {
	if err := l.err(); err != nil {
		return raft.State{}, err
	}
	return l.now.state()
}

// Write makes ws durable with one write and one flush, now and then with a change of segment. All of ws is durable
// after a crash, or none of it. When the next segment is needed and there is no room for it the error wraps
// raft.ErrDiskFull and nothing has happened; each new try fills the disk's last room with zeros and gives it back, so let
// some time pass between two. Any other error is final, and all that is called later returns it.
func (l *Log) Write(ws []raft.Write) error {
	if err := l.err(); err != nil {
		return err
	}
	l.next.copyFrom(&l.now)
	ws, fresh, err := l.skipToReset(ws)
	if err != nil {
		return l.fail(err)
	}
	before := header{base: l.next.end(), hard: l.next.hard, origin: fresh}
	l.batch.reset()
	if err := l.batch.encode(ws, &l.next); err != nil {
		return l.fail(err)
	}
	records := l.batch.buf
	switch {
	case fresh:
		return l.restart(before, ws)
	case len(records) == 0:
		return nil
	case !l.active().fits(len(records)):
		return l.roll(before, ws)
	}
	s := l.active()
	l.batch.finish(s.sums, l.lastBatch+1)
	if err := s.append(records); err != nil {
		return l.fail(err)
	}
	l.publish(ws, s.end)
	return nil
}

// skipToReset looks for the last Write that replaces the log, if any. Of what comes before it only the hard state is
// of any consequence. The log in l.next is replaced.
func (l *Log) skipToReset(ws []raft.Write) (rest []raft.Write, fresh bool, err error) {
	for i, w := range slices.Backward(ws) {
		if w.Reset.Index == 0 {
			continue
		}
		base, err := newMark(w.Reset)
		if err != nil {
			return nil, false, fmt.Errorf("wal: reset to entry %d: %w", w.Reset.Index, err)
		}
		for _, w := range ws[:i] {
			if w.Hard != (raft.HardState{}) {
				l.next.hard = w.Hard
			}
		}
		l.next.reset(base)
		return ws[i:], true, nil
	}
	return ws, false, nil
}

// roll goes on in a new segment. The one it leaves is sealed, so that the loss of the new one would show.
func (l *Log) roll(before header, ws []raft.Write) error {
	left, seal := l.active(), l.lastBatch+1
	if err := l.enter(before); err != nil {
		return err
	}
	if err := left.append(sealRecord(left.sums, seal, left.number+1)); err != nil {
		return l.fail(err)
	}
	l.publish(ws, l.active().end)
	l.spares.prepare()
	return nil
}

// restart goes on in a new segment and drops all others; that one is durable first, with the hard state in it.
func (l *Log) restart(before header, ws []raft.Write) error {
	old := len(l.segments)
	if err := l.enter(before); err != nil {
		return err
	}
	l.publish(ws, l.active().end)
	l.mu.Lock()
	dead := slices.Clone(l.segments[:old])
	l.segments = slices.Delete(l.segments, 0, old)
	l.mu.Unlock()
	for _, s := range dead {
		if err := l.discard(s); err != nil {
			return l.fail(err)
		}
	}
	l.spares.prepare()
	return nil
}

// enter begins the next segment with the batch that has been built.
func (l *Log) enter(h header) error {
	h.number = l.active().number + 1
	err := l.begin(h)
	if errors.Is(err, raft.ErrDiskFull) {
		return err
	}
	return l.fail(err)
}

// begin makes a segment: header and first batch are written and durable before the file gets its name.
func (l *Log) begin(h header) error {
	records := l.batch.buf
	h.identity, h.batch, h.proven = l.identity, l.lastBatch, len(records) > 0
	f, err := l.spares.take(align(h.length() + int64(len(records)) + sealBytes))
	if err != nil && noSpace(err) {
		return fmt.Errorf("wal: no room for the next segment: %w: %w", raft.ErrDiskFull, err)
	}
	if err != nil {
		return fmt.Errorf("wal: next segment: %w", err)
	}
	s := &segment{header: h, file: f.file, sums: h.seed(), size: f.size, end: h.length()}
	l.batch.finish(s.sums, h.batch+1)
	if _, err = f.file.WriteAt(h.encode(), 0); err == nil {
		err = s.append(records)
	}
	if err == nil {
		err = l.fs.Rename(f.name, s.name())
	}
	if err == nil {
		err = l.fs.SyncDir()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("wal: begin %s: %w", s.name(), err), f.file.Close())
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	return nil
}

// append makes records durable at the end of the segment, which is not moved yet.
func (s *segment) append(records []byte) error {
	if _, err := s.file.WriteAt(records, s.end); err != nil {
		return fmt.Errorf("wal: write %s: %w", s.name(), err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("wal: flush %s: %w", s.name(), err)
	}
	return nil
}

// publish lets readers see the batch, which is durable at an offset of the active segment.
func (l *Log) publish(ws []raft.Write, at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, offsets := l.active(), l.batch.offsets
	for i := range ws {
		if from := ws[i].TruncateFrom; from != 0 {
			for _, s := range l.segments {
				s.truncate(from)
			}
		}
		for _, e := range ws[i].Entries {
			s.add(e.Index(), uint32(at)+offsets[0])
			offsets = offsets[1:]
		}
	}
	if n := len(l.batch.buf); n > 0 {
		l.lastBatch++
		s.end = at + int64(n)
	}
	l.now, l.next = l.next, l.now
}

func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// Read returns entries from lo to hi, all of one segment, verified. It allocates what it returns.
func (l *Log) Read(lo, hi raft.Index, maxBytes int) ([]raft.Entry, error) {
	p, err := l.span(lo, hi, maxBytes)
	if err != nil {
		return nil, err
	}
	entries, err := p.read()
	var damaged *CorruptError
	if errors.As(err, &damaged) {
		// Once more: the memory or the bus may have been at fault. What stays damaged is damaged on the disk.
		entries, err = p.read()
	}
	if errors.As(err, &damaged) {
		err = l.fail(errors.Join(err, retire(l.fs, damaged)))
	}
	return entries, errors.Join(err, l.release(p.segment))
}

// span finds where entries lie, and holds their segment.
func (l *Log) span(lo, hi raft.Index, maxBytes int) (span, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return span{}, l.failed
	case lo <= l.now.base.Index:
		return span{}, fmt.Errorf("wal: read entry %d, the first is %d: %w", lo, l.now.base.Index+1, raft.ErrCompacted)
	case lo > hi || lo > l.now.last:
		return span{}, fmt.Errorf("wal: read entries %d to %d of a log that ends at %d", lo, hi, l.now.last)
	}
	for _, s := range slices.Backward(l.segments) {
		if len(s.offsets) > 0 && s.first <= lo {
			s.readers++
			return s.span(lo, hi, maxBytes), nil
		}
	}
	return span{}, fmt.Errorf("wal: entry %d is in no segment", lo)
}

func (l *Log) release(s *segment) error {
	l.mu.Lock()
	s.readers--
	unused := s.dropped && s.readers == 0
	l.mu.Unlock()
	if unused {
		return s.file.Close()
	}
	return nil
}

// Compact drops whole segments from the front that hold nothing above upTo. The files become spares, or are removed.
func (l *Log) Compact(upTo raft.Index) (raft.Position, error) {
	if err := l.err(); err != nil {
		return raft.Position{}, err
	}
	for len(l.segments) > 1 {
		s := l.segments[0]
		if n := len(s.offsets); n > 0 && s.first+raft.Index(n)-1 > upTo {
			break
		}
		l.mu.Lock()
		l.segments = slices.Delete(l.segments, 0, 1)
		if n := len(s.offsets); n > 0 {
			l.now.compact(s.first + raft.Index(n) - 1)
		}
		l.mu.Unlock()
		if err := l.discard(s); err != nil {
			return raft.Position{}, l.fail(err)
		}
	}
	return l.now.base, nil
}

// discard gives up a segment that is no longer part of the log. Its name is gone, durably, before the next one's turn:
// else a crash could leave a hole. And it is gone before the file is written to again, else a crash could bring back
// the name with something else in the file.
func (l *Log) discard(s *segment) error {
	l.mu.Lock()
	s.dropped = true
	busy := s.readers > 0
	l.mu.Unlock()
	if busy {
		return errors.Join(l.fs.Remove(s.name()), l.fs.SyncDir())
	}
	name := l.spares.reserve(s.size)
	if name == "" {
		return errors.Join(l.fs.Remove(s.name()), l.fs.SyncDir(), s.file.Close())
	}
	if err := errors.Join(l.fs.Rename(s.name(), name), l.fs.SyncDir()); err != nil {
		return errors.Join(err, s.file.Close())
	}
	l.spares.add(spare{s.file, name, s.size})
	return nil
}

// Close waits for the preparation of a segment to end and closes all files.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := errors.Is(l.failed, ErrClosed)
	l.failed = ErrClosed
	segments := l.segments
	l.segments = nil
	l.mu.Unlock()
	if closed {
		return nil
	}
	err := l.spares.close()
	for _, s := range segments {
		l.mu.Lock()
		s.dropped = true
		busy := s.readers > 0
		l.mu.Unlock()
		if !busy {
			err = errors.Join(err, s.file.Close())
		}
	}
	if c, ok := l.fs.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (l *Log) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// fail makes an error the answer to all later calls: after a failed write or flush nobody knows what is on the disk,
// and a second try may falsely succeed.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	return err
}
