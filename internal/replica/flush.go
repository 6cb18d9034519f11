package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// How long changes gather. The longer, the more records come and go without being written; what a crash leaves to be read from
// the log again is a second's worth at most.
const (
	flushSoonest = 100 * time.Millisecond
	flushLatest  = time.Second
	flushShare   = 50 // writing takes at most one part in so many of the time
	fullRetry    = time.Second
)

// Run writes what changes to the store, until ctx ends; then it writes the rest and returns. No more is written after that, and
// Apply goes on without. An error means that the node must stop: the store has failed for good, or what Events.Failed has told.
func (r *Replica) Run(ctx context.Context) error {
	defer r.backlog.end()
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	if r.keeper != nil {
		keeping.Go(func() { r.keepCopies(ctx) })
	}
	err := r.flushOften(ctx)
	cancel()
	keeping.Wait()
	if err != nil {
		r.fail(err)
		return err
	}
	if err := r.flush(true); errors.Is(err, raft.ErrDiskFull) {
		r.log.Warn("the last changes stay in the log alone", slog.Any("error", err))
	} else if err != nil {
		r.fail(err)
		return err
	}
	return nil
}

// flushOften writes sets as they are cut, and the rest when it has gathered for a while.
func (r *Replica) flushOften(ctx context.Context) error {
	due := time.NewTimer(0)
	defer due.Stop()
	<-due.C
	gathering := false
	for every := r.interval(0); ; {
		var all bool
		select {
		case <-ctx.Done():
			return nil
		case <-r.broken:
			return r.failed()
		case <-r.changed:
			if !gathering {
				due.Reset(every)
				gathering = true
			}
			continue
		case <-r.backlog.filled:
		case <-due.C:
			all, gathering = true, false
		}
		began := time.Now()
		err := r.flush(all)
		if all {
			every = r.interval(time.Since(began))
		}
		switch {
		case errors.Is(err, raft.ErrDiskFull):
			r.log.Warn("the checkpoint waits for room on the disk", slog.Any("error", err))
			due.Reset(fullRetry)
			gathering = true
		case err != nil:
			return err
		}
	}
}

// interval is how long changes gather when writing the last ones took so long.
func (r *Replica) interval(took time.Duration) time.Duration {
	if r.opt.FlushEvery > 0 {
		return r.opt.FlushEvery
	}
	return min(max(flushShare*took, flushSoonest), flushLatest)
}

// Flush makes everything durable that is applied when it is called. Run does so from time to time; this is for who drives a Replica
// without it. It blocks while the store writes.
func (r *Replica) Flush() error { return r.flush(true) }

// flush writes the sets that were cut; if all is set, everything that is applied when it is called.
func (r *Replica) flush(all bool) error {
	target := r.AppliedIndex()
	r.flushing <- struct{}{}
	defer func() { <-r.flushing }()
	for {
		s, ok := r.backlog.first()
		switch {
		case ok:
		case !all || r.store.Head().Index >= target:
			return nil
		case !r.cutNow():
			return fmt.Errorf("replica: flush: %w", r.endError())
		default:
			continue
		}
		if err := r.write(s); err != nil {
			return err
		}
		r.backlog.drop()
	}
}

var errEnded = errors.New("nothing is written any more")

func (r *Replica) endError() error {
	if err := r.failed(); err != nil {
		return err
	}
	return errEnded
}

// cutNow cuts what has changed, and reports whether there is something to write: Apply may have cut it a moment before.
func (r *Replica) cutNow() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut()
	_, ok := r.backlog.first()
	return ok
}

func (r *Replica) write(s set) error {
	began := time.Now()
	if err := r.store.Flush(s.encode()); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	if r.opt.Events.Flushed != nil {
		r.opt.Events.Flushed(len(s.changes.Records), time.Since(began))
	}
	return nil
}

// Save makes everything durable that is applied, and writes the state to w as a stream, which is verified on the way. It may take
// seconds; nothing waits for it. Errors are those of w, of the store, and the cause of ctx.
func (r *Replica) Save(ctx context.Context, w io.Writer) (checkpoint.Head, error) {
	if err := r.flush(true); err != nil {
		return checkpoint.Head{}, err
	}
	s, err := r.store.Snapshot()
	if err != nil {
		return checkpoint.Head{}, fmt.Errorf("replica: save: %w", err)
	}
	head, err := checkpoint.Verify(&saving{ctx, s, w})
	return head, errors.Join(err, s.Close())
}

// saving copies what is read.
type saving struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call of Save
	from io.Reader
	to   io.Writer
}

// Read implements io.Reader.
func (s *saving) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.from.Read(p)
	if n > 0 {
		if _, wrong := s.to.Write(p[:n]); wrong != nil {
			return 0, wrong
		}
	}
	return n, err
}
