package replica

import (
	"sync"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// What may wait to be written. A set is about half a MiB at most.
const (
	backlogSets  = 64
	backlogBytes = 32 << 20
)

// set is what changed up to an entry, for one transaction.
type set struct {
	mark    raft.Mark
	changes locktable.Changes
	bytes   int
}

func (s set) encode() checkpoint.Set {
	c := s.changes
	out := checkpoint.Set{
		Head:    checkpoint.Head{Mark: s.mark, Meta: c.Meta, Hash: c.Hash, Count: c.Count},
		Records: make([]checkpoint.Record, len(c.Records)),
	}
	for i, record := range c.Records {
		out.Records[i] = checkpoint.Record(record)
	}
	return out
}

// backlog holds the sets that were cut and are not written yet, in their order.
type backlog struct {
	filled chan struct{} // has room for one: there is something to write
	room   chan struct{} // has room for one: there is room again

	mu    sync.Mutex // guards the fields below
	sets  []set
	bytes int
	ended bool // nobody writes them any more
}

func newBacklog() backlog {
	return backlog{filled: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// add puts a set behind the others, and reports whether it was the last that there is room for.
func (b *backlog) add(s set) (full bool) {
	for _, r := range s.changes.Records {
		s.bytes += len(r.Key) + len(r.Value)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets = append(b.sets, s)
	b.bytes += s.bytes
	signal(b.filled)
	return b.full()
}

// full is called with mu held.
func (b *backlog) full() bool { return len(b.sets) >= backlogSets || b.bytes >= backlogBytes }

// wait returns when there is room, or when nobody makes any, and tells how long that took. Only Apply calls it.
func (b *backlog) wait() (waited time.Duration) {
	var began time.Time
	for {
		b.mu.Lock()
		free := b.ended || !b.full()
		b.mu.Unlock()
		switch {
		case free && began.IsZero():
			return 0
		case free:
			return time.Since(began)
		case began.IsZero():
			began = time.Now()
		}
		<-b.room
	}
}

func (b *backlog) first() (set, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.sets) == 0 {
		return set{}, false
	}
	return b.sets[0], true
}

// drop takes the first set out.
func (b *backlog) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= b.sets[0].bytes
	b.sets[0] = set{}
	if b.sets = b.sets[1:]; len(b.sets) == 0 {
		b.sets = nil
	}
	signal(b.room)
}

// clear takes all sets out.
func (b *backlog) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets, b.bytes = nil, 0
	signal(b.room)
}

// end tells that nobody will make room any more.
func (b *backlog) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	signal(b.room)
}

func (b *backlog) hasEnded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}
