package wal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lockd/lockd/raft"
)

// DefaultSegmentBytes is the size of a segment unless Options say otherwise.
const DefaultSegmentBytes = 16 << 20

// minSegmentBytes leaves room for a record or two behind the header.
const minSegmentBytes = 2 * headerPage

// Options configure a Log.
type Options struct {
	// FS is the directory. A Log that was opened owns it, and closes it too if it has a Close.
	FS FS
	// Identity is the node's name for life.
	Identity Identity
	// SegmentBytes is the size of new segments; DefaultSegmentBytes if zero. It may differ from start to start.
	SegmentBytes int64
	// Background runs a task that prepares the next segment: some 16 MiB of writes, flushed bit by bit. It may run it at
	// once, later, or, after Close, not at all. A goroutine for each task if nil, which a simulation does not want.
	Background func(task func())
	// Events are told about what does not show otherwise. Every one may be nil.
	Events Events
}

// Events are called by the goroutine that does the work; they must not call the Log.
type Events struct {
	// TornTail tells that Open has removed a batch from the end of the log that a power cut had interrupted.
	TornTail func(file string, from int64)
	// SpareFailed tells that the next segment could not be prepared; a lack of space shows here first.
	SpareFailed func(error)
}

func (o *Options) check() error {
	if o.FS == nil || o.Identity.Peer.Node == 0 {
		return errors.New("wal: options need an FS and an identity")
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
	}
	if o.SegmentBytes < minSegmentBytes || o.SegmentBytes > segmentBytesMax || o.SegmentBytes%recordAlign != 0 {
		return fmt.Errorf("wal: segments of %d bytes: not a multiple of %d from %d to %d",
			o.SegmentBytes, recordAlign, minSegmentBytes, segmentBytesMax)
	}
	if o.Background == nil {
		o.Background = func(task func()) { go task() }
	}
	return nil
}

// Inspect tells whose log the directory holds, and whether there is one. The error wraps ErrRetired for a retired log.
func Inspect(fs FS) (id Identity, exists bool, err error) {
	found, err := survey(fs)
	if err != nil {
		return Identity{}, errors.Is(err, ErrRetired), err
	}
	if len(found.segments) == 0 {
		return Identity{}, false, nil
	}
	s, err := openSegment(fs, found.segments[len(found.segments)-1])
	if err != nil {
		return Identity{}, true, err
	}
	return s.identity, true, s.file.Close()
}

// Create makes the log of a new identity in a directory that holds none. It is durable when Create returns.
func Create(o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	found, err := survey(o.FS)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExists, err)
	}
	if len(found.segments) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrExists, segmentName(found.segments[0]))
	}
	if err := removeAll(o.FS, found.spares); err != nil {
		return nil, err
	}
	l := newLog(o)
	if err := l.begin(header{number: 1, origin: true}); err != nil {
		return nil, errors.Join(err, l.spares.close())
	}
	l.spares.prepare()
	return l, nil
}

// Open opens the log of an identity, and brings it into order after a crash. It reads the whole log, in bounded memory.
//
// The error wraps ErrNoLog, ErrIdentity, ErrVersion or ErrRetired when it is one of these; a CorruptError when the log
// was found damaged just now, in which case it is retired from here on. Any other error is one of the disk, and leaves
// things as they are.
func Open(o Options) (*Log, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	found, err := survey(o.FS)
	if err != nil {
		return nil, err
	}
	if len(found.segments) == 0 {
		return nil, ErrNoLog
	}
	l := newLog(o)
	err = l.load(found)
	if err == nil {
		l.spares.prepare()
		return l, nil
	}
	for _, s := range l.segments {
		err = errors.Join(err, s.file.Close())
	}
	if damaged, ok := errors.AsType[*CorruptError](err); ok {
		err = errors.Join(err, retire(o.FS, damaged))
	}
	return nil, err
}

// load fills l from a directory.
func (l *Log) load(found listing) error {
	last, dead, err := l.openLive(found.segments)
	if err != nil {
		return err
	}
	first := l.segments[0]
	img := &image{newTrail(first.hard, first.base), l.segments}
	for i, s := range l.segments[:len(l.segments)-1] {
		if err := s.replay(img, l.segments[i+1].batch); err != nil {
			return err
		}
		if next := l.segments[i+1]; !next.base.equal(img.end()) || next.hard != img.hard {
			return &CorruptError{next.name(), headMarkAt, "it does not continue the segment before"}
		}
	}
	end, err := findTail(last)
	if err != nil {
		return err
	}
	if err := last.replay(img, end.batch); err != nil {
		return err
	}
	if err := l.settleTail(last, end); err != nil {
		return err
	}
	if err := removeAll(l.fs, append(dead, found.spares...)); err != nil {
		return err
	}
	l.lastBatch = end.batch
	l.now = img.trail
	return nil
}

// openLive opens the segments that belong to the log, and returns the last of them and the names of those that a reset
// has made void.
func (l *Log) openLive(numbers []uint64) (last *segment, dead []string, err error) {
	for i, number := range slices.Backward(numbers) {
		if last != nil && number+1 != l.segments[0].number {
			return nil, nil, &CorruptError{segmentName(number + 1), 0, "the segment is missing"}
		}
		s, err := openSegment(l.fs, number)
		if err != nil {
			return nil, nil, err
		}
		l.segments = slices.Insert(l.segments, 0, s)
		if s.identity != l.identity {
			return nil, nil, fmt.Errorf("%w: %s is of %v, not of %v", ErrIdentity, s.name(), s.identity, l.identity)
		}
		if last == nil {
			last = s
		}
		if s.origin {
			for _, n := range numbers[:i] {
				dead = append(dead, segmentName(n))
			}
			break
		}
	}
	return last, dead, nil
}

// settleTail makes durable what was found at the end of the log. What a torn batch has left must be gone before the
// next one is written: between the records of a later batch it would come alive again. The last whole batch is written
// again and not only flushed, because after a failed flush a cache may show what the disk does not have, and call it
// clean.
func (l *Log) settleTail(last *segment, end tail) error {
	if end.torn {
		if err := fillZero(last.file, end.end, last.size); err != nil {
			return fmt.Errorf("remove the torn end of %s: %w", last.name(), err)
		}
		if l.events.TornTail != nil {
			l.events.TornTail(last.name(), end.end)
		}
	}
	buf := make([]byte, min(end.end-end.start, chunkBytes))
	for at := end.start; at < end.end; {
		part := buf[:min(end.end-at, int64(len(buf)))]
		if _, err := last.file.ReadAt(part, at); err != nil {
			return fmt.Errorf("read %s: %w", last.name(), err)
		}
		if _, err := last.file.WriteAt(part, at); err != nil {
			return fmt.Errorf("write %s: %w", last.name(), err)
		}
		at += int64(len(part))
	}
	if err := last.file.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", last.name(), err)
	}
	return l.fs.SyncDir()
}

// listing is what a directory holds.
type listing struct {
	segments []uint64 // ascending
	spares   []string
}

func survey(fs FS) (listing, error) {
	names, err := fs.List()
	if err != nil {
		return listing{}, fmt.Errorf("wal: list: %w", err)
	}
	var found listing
	for _, name := range names {
		if number, ok := parseSegmentName(name); ok {
			found.segments = append(found.segments, number)
		} else if strings.HasSuffix(name, spareSuffix) {
			found.spares = append(found.spares, name)
		}
	}
	slices.Sort(found.segments)
	if slices.Contains(names, retiredName) {
		return found, fmt.Errorf("%w (%s)", ErrRetired, retirement(fs))
	}
	return found, nil
}

func removeAll(fs FS, names []string) error {
	for _, name := range names {
		if err := fs.Remove(name); err != nil {
			return fmt.Errorf("wal: remove %s: %w", name, err)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fs.SyncDir()
}

// retire marks the directory for good. When even that fails the damage is still there to be found by the next Open.
func retire(fs FS, why *CorruptError) error {
	f, err := fs.Open(retiredName, true)
	if err != nil {
		return fmt.Errorf("wal: mark as retired: %w", err)
	}
	_, err = f.WriteAt([]byte(why.Error()+"\n"), 0)
	if err := errors.Join(err, f.Sync(), f.Close(), fs.SyncDir()); err != nil {
		return fmt.Errorf("wal: mark as retired: %w", err)
	}
	return nil
}

// retirement returns what retire has written.
func retirement(fs FS) string {
	f, err := fs.Open(retiredName, false)
	if err != nil {
		return err.Error()
	}
	b := make([]byte, 1<<10)
	n, _ := f.ReadAt(b, 0)
	return strings.TrimSpace(strings.ToValidUTF8(string(b[:n]), "?") + closeReason(f))
}

func closeReason(f File) string {
	if err := f.Close(); err != nil {
		return "; " + err.Error()
	}
	return ""
}

var _ raft.Storage = (*Log)(nil)
