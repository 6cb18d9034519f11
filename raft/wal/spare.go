package wal

import (
	"errors"
	"fmt"
	"sync"
)

const (
	sparesMax  = 2
	chunkBytes = 1 << 20
)

// spares keeps files at hand that have all their blocks: the next segment is made before it is needed, so that a full
// disk is met when nothing has been promised yet, and so that a Sync of a segment has no metadata to write.
type spares struct {
	fs         FS
	size       int64
	background func(task func())
	failed     func(error)

	mu     sync.Mutex
	ready  []spare
	task   *task // what fills the next one, if any
	serial uint64
	err    error // of a task; not for lack of space
}

// spare is a file whose contents do not matter.
type spare struct {
	file File
	name string
	size int64
}

type task struct {
	started bool
	done    chan struct{}
}

// prepare has a spare made if there is none.
func (s *spares) prepare() {
	s.mu.Lock()
	if len(s.ready) > 0 || s.task != nil {
		s.mu.Unlock()
		return
	}
	t := &task{done: make(chan struct{})}
	s.task = t
	s.mu.Unlock()
	s.background(func() { s.run(t) })
}

func (s *spares) run(t *task) {
	s.mu.Lock()
	if s.task != t {
		s.mu.Unlock()
		return
	}
	t.started = true
	s.mu.Unlock()
	f, err := s.allocate(s.size)
	s.mu.Lock()
	switch {
	case err == nil:
		s.ready = append(s.ready, f)
	case !noSpace(err):
		s.err = err
	}
	s.task = nil
	s.mu.Unlock()
	close(t.done)
	if err != nil && s.failed != nil {
		s.failed(err)
	}
}

// settle waits for a task that runs, and calls off one that has not begun.
func (s *spares) settle() {
	s.mu.Lock()
	t := s.task
	if t != nil && !t.started {
		s.task, t = nil, nil
	}
	s.mu.Unlock()
	if t != nil {
		<-t.done
	}
}

// take returns a file of at least size bytes.
func (s *spares) take(size int64) (spare, error) {
	if size > s.size {
		return s.allocate(size)
	}
	s.settle()
	s.mu.Lock()
	err, n := s.err, len(s.ready)
	if err == nil && n > 0 {
		f := s.ready[n-1]
		s.ready = s.ready[:n-1]
		s.mu.Unlock()
		return f, nil
	}
	s.mu.Unlock()
	if err != nil {
		return spare{}, err
	}
	return s.allocate(s.size)
}

// reserve returns the name under which a file of that size may become a spare, or "" when there are enough.
func (s *spares) reserve(size int64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size != s.size || len(s.ready) >= sparesMax {
		return ""
	}
	s.serial++
	return spareName(s.serial)
}

func (s *spares) add(f spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = append(s.ready, f)
}

// allocate makes a file full of zeros. What does not succeed leaves nothing behind.
func (s *spares) allocate(size int64) (spare, error) {
	s.mu.Lock()
	s.serial++
	name := spareName(s.serial)
	s.mu.Unlock()
	f, err := s.fs.Open(name, true)
	if err != nil {
		return spare{}, fmt.Errorf("create %s: %w", name, err)
	}
	if err := fillZero(f, 0, size); err != nil {
		return spare{}, errors.Join(fmt.Errorf("fill %s: %w", name, err), f.Close(), s.fs.Remove(name))
	}
	return spare{f, name, size}, nil
}

func (s *spares) close() error {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, f := range s.ready {
		err = errors.Join(err, f.file.Close())
	}
	s.ready = nil
	return err
}

// fillZero writes and flushes zeros chunk by chunk, so that no other flush has to wait for all of them.
func fillZero(f File, from, to int64) error {
	zeros := make([]byte, min(to-from, chunkBytes))
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], from); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		from += n
	}
	return nil
}
