package raft

import (
	"sync"
	"time"
)

// lane is a goroutine that does one job after the other.
type lane struct {
	jobs chan func() // has room for one
	more *jobQueue
}

// jobQueue holds jobs that found the lane busy.
type jobQueue struct {
	mu     sync.Mutex // guards the fields below
	jobs   []func()
	closed bool
}

func newLane() lane { return lane{make(chan func(), 1), &jobQueue{}} }

// put never blocks. It is for lanes that may get a job while they have one.
func (l lane) put(job func()) {
	l.more.mu.Lock()
	l.more.jobs = append(l.more.jobs, job)
	l.more.mu.Unlock()
	select {
	case l.jobs <- l.drain:
	default: // a call of drain is already waiting
	}
}

func (l lane) drain() {
	for {
		l.more.mu.Lock()
		jobs, closed := l.more.jobs, l.more.closed
		l.more.jobs = nil
		l.more.mu.Unlock()
		if len(jobs) == 0 || closed {
			return
		}
		for _, job := range jobs {
			job()
		}
	}
}

func (l lane) run() {
	for job := range l.jobs {
		job()
	}
}

// close lets the lane end after its job. Nothing may be put into it afterwards.
func (l lane) close() {
	l.more.mu.Lock()
	l.more.closed = true
	l.more.mu.Unlock()
	close(l.jobs)
}

// eventQueue carries events to the user without ever making the loop wait.
type eventQueue struct {
	wake chan struct{}

	mu   sync.Mutex // guards the fields below
	list []func(Events)
	last *Standing // the standing at the end of list, not yet told
}

const maxEvents = 1024

func (q *eventQueue) put(f func(Events)) {
	q.mu.Lock()
	if len(q.list) < maxEvents {
		q.list = append(q.list, f)
	}
	q.last = nil
	q.mu.Unlock()
	q.signal()
}

// standing replaces a standing that has not been told yet: only the newest is true.
func (q *eventQueue) standing(s Standing) {
	q.mu.Lock()
	if q.last != nil {
		*q.last = s
		q.mu.Unlock()
		return
	}
	told := &s
	q.list = append(q.list, func(e Events) {
		if e.Standing != nil {
			e.Standing(*told)
		}
	})
	q.last = told
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) slow(took time.Duration) {
	q.put(func(e Events) {
		if e.Slow != nil {
			e.Slow(took)
		}
	})
}

func (q *eventQueue) snapshot(peer PeerID, sent bool, err error) {
	q.put(func(e Events) {
		if e.Snapshot != nil {
			e.Snapshot(peer, sent, err)
		}
	})
}

func (q *eventQueue) failed(err error) {
	q.put(func(e Events) {
		if e.Failed != nil {
			e.Failed(err)
		}
	})
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run tells events until done is closed and all are told.
func (q *eventQueue) run(done <-chan struct{}, e Events) {
	for {
		select {
		case <-q.wake:
			q.tell(e)
		case <-done:
			q.tell(e)
			return
		}
	}
}

func (q *eventQueue) tell(e Events) {
	q.mu.Lock()
	list := q.list
	q.list, q.last = nil, nil
	q.mu.Unlock()
	for _, f := range list {
		f(e)
	}
}
