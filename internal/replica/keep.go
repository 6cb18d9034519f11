package replica

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// How often a copy of the checkpoint is kept.
const (
	keepEvery      = time.Hour
	keepEveryAlone = 10 * time.Minute // of the only voter
	keepBytesAlone = 256 << 20        // of the only voter's log
	keepRetry      = 30 * time.Second
)

// keepCopies keeps copies of the checkpoint until ctx ends. It begins with the one that is there.
func (r *Replica) keepCopies(ctx context.Context) {
	due := time.NewTimer(r.findCopy())
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.keepNow:
		case <-due.C:
		}
		due.Reset(r.keep())
	}
}

// findCopy verifies the copy that is there, and returns when the next one is due.
func (r *Replica) findCopy() time.Duration {
	r.mu.RLock()
	known := r.kept.Index > 0
	r.mu.RUnlock()
	if known {
		return r.keepInterval()
	}
	s, err := r.keeper.Kept()
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		r.log.Warn("the kept copy is of no use", slog.Any("error", err))
		return 0
	}
	r.noteKept(s.Mark())
	if err := s.Close(); err != nil {
		r.log.Warn("close the kept copy", slog.Any("error", err))
	}
	return r.keepInterval()
}

func (r *Replica) keepInterval() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if onlyVoter(r.mark.Config) {
		return keepEveryAlone
	}
	return keepEvery
}

// keep keeps a copy, and returns when the next one is due.
func (r *Replica) keep() time.Duration {
	began := time.Now()
	if r.store.Head().Index == 0 {
		return flushLatest // there is nothing yet
	}
	mark, err := r.keeper.Keep()
	if err == nil {
		r.noteKept(mark)
	} else if errors.Is(err, checkpoint.ErrClosed) {
		return keepRetry
	} else {
		r.log.Warn("keep a copy of the checkpoint", slog.Any("error", err))
	}
	if r.opt.Events.Kept != nil {
		r.opt.Events.Kept(time.Since(began), err)
	}
	if err != nil {
		return keepRetry
	}
	return r.keepInterval()
}

func (r *Replica) noteKept(mark raft.Mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept, r.logged = mark, 0
}

// noteLogged counts what the only voter has to keep of its log. It is called with mu held.
func (r *Replica) noteLogged(bytes int) {
	if r.keeper == nil || !onlyVoter(r.mark.Config) {
		return
	}
	if r.logged += int64(bytes); r.logged >= keepBytesAlone {
		r.logged = 0
		signal(r.keepNow)
	}
}
