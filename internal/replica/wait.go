package replica

import (
	"container/heap"
	"context"
	"sync"
	"sync/atomic"

	"github.com/lockd/lockd/raft"
)

// waits are those who wait for an entry to be applied. They are in a heap by index, so that an entry wakes exactly those who
// waited for it, however many wait for later ones.
type waits struct {
	applied atomic.Uint64 // Applied has been called for it

	mu    sync.Mutex // guards the fields below
	queue waitQueue
	err   error
}

type waiter struct {
	index raft.Index
	at    int // in the queue; -1 once woken
	woken chan struct{}
}

// AppliedIndex returns the last entry that is applied, and for which Options.Applied has returned.
func (r *Replica) AppliedIndex() raft.Index { return raft.Index(r.waits.applied.Load()) }

// Wait returns when the entry is applied and Options.Applied has returned for it, or a snapshot has taken its place. It blocks
// until then, or until ctx ends, whose cause it returns. After Events.Failed the error is that of the failure.
func (r *Replica) Wait(ctx context.Context, index raft.Index) error {
	w, err := r.waits.begin(index)
	if w == nil {
		return err
	}
	select {
	case <-w.woken:
		return r.waits.ended(index)
	case <-ctx.Done():
		r.waits.leave(w)
		return context.Cause(ctx)
	}
}

// begin returns nil if there is nothing to wait for.
func (s *waits) begin(index raft.Index) (*waiter, error) {
	if s.applied.Load() >= uint64(index) {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.applied.Load() >= uint64(index) {
		return nil, s.endedLocked(index)
	}
	w := &waiter{index: index, woken: make(chan struct{})}
	heap.Push(&s.queue, w)
	return w, nil
}

func (s *waits) ended(index raft.Index) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endedLocked(index)
}

func (s *waits) endedLocked(index raft.Index) error {
	if s.applied.Load() >= uint64(index) {
		return nil
	}
	return s.err
}

func (s *waits) leave(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.at >= 0 {
		heap.Remove(&s.queue, w.at)
	}
}

// advance wakes who waited for an entry up to this one.
func (s *waits) advance(index raft.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied.Store(uint64(index))
	for len(s.queue) > 0 && s.queue[0].index <= index {
		s.wakeFirst()
	}
}

func (s *waits) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	for len(s.queue) > 0 {
		s.wakeFirst()
	}
}

func (s *waits) wakeFirst() {
	w, _ := heap.Pop(&s.queue).(*waiter)
	close(w.woken)
}

// waitQueue implements heap.Interface.
type waitQueue []*waiter

func (q waitQueue) Len() int           { return len(q) }
func (q waitQueue) Less(i, j int) bool { return q[i].index < q[j].index }

func (q waitQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push implements heap.Interface.
func (q *waitQueue) Push(x any) {
	w, _ := x.(*waiter)
	w.at = len(*q)
	*q = append(*q, w)
}

// Pop implements heap.Interface.
func (q *waitQueue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.at = -1
	return w
}
