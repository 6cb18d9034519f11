package lockd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// survivor is what a node has of its cluster, to be read.
type survivor struct {
	store  checkpoint.Store
	log    raft.Storage
	mark   raft.Mark     // of the store
	end    raft.Position // of what the node has altogether
	heard  raft.Term
	config raft.Config // in force at the end
}

// openSurvivor reads the whole checkpoint and the log, and fails when they do not agree with their sums or with each other.
func openSurvivor(h home, id identity, log *slog.Logger) (_ *survivor, err error) {
	s := &survivor{}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w. A damaged node does not recover a cluster: take another survivor, or restore a saved snapshot", errors.Join(err, s.close()))
		}
	}()
	if s.store, err = h.openStore(identity{}, log); err != nil {
		return nil, err
	}
	if err := s.store.Load(func(checkpoint.Record) error { return nil }); err != nil {
		return nil, err
	}
	if s.log, err = h.openLog(id); err != nil {
		return nil, err
	}
	state, err := s.log.Load()
	if err != nil {
		return nil, err
	}
	s.mark, s.heard = s.store.Head().Mark, state.Hard.Term
	return s, s.join(state)
}

// join finds out where the log goes on from the checkpoint.
func (s *survivor) join(state raft.State) error {
	s.end, s.config = s.mark.Position, s.mark.Config
	term := state.Base.Term
	at := state.Base.Term // at the entry of the mark
	for _, run := range state.Runs {
		if term = run.Term; run.First <= s.mark.Index {
			at = run.Term
		}
	}
	continues := s.mark.Index >= state.Base.Index && s.mark.Index <= state.Last && at == s.mark.Term
	switch {
	case continues:
	case s.mark.Installed && s.mark.Index >= state.Base.Index:
		return nil // a leader's snapshot, after which nothing has come
	default:
		return fmt.Errorf("the saved state ends with entry %d of term %d, and the log, of entries %d to %d, does not go on from there",
			s.mark.Index, s.mark.Term, state.Base.Index+1, state.Last)
	}
	s.end = raft.Position{Index: state.Last, Term: term}
	if state.Base.Config.Index > s.config.Index {
		s.config = state.Base.Config
	}
	if n := len(state.Configs); n > 0 && state.Configs[n-1].Index() > s.config.Index {
		config, err := raft.DecodeConfig(state.Configs[n-1].Index(), state.Configs[n-1].Data())
		if err != nil {
			return err
		}
		s.config = config
	}
	return nil
}

func (s *survivor) close() (err error) {
	if s.log != nil {
		err = s.log.Close()
	}
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	return err
}

// copyTo makes the checkpoint that of another home.
func (s *survivor) copyTo(ctx context.Context, h home, log *slog.Logger) (err error) {
	snapshot, err := s.store.Snapshot()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	store, err := h.openStore(identity{}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	nothing := func(checkpoint.Record) error { return nil }
	if err := store.Load(nothing); err != nil {
		return err
	}
	staged, err := store.Restore(snapshot.Mark(), (&restoring{ctx: ctx}).through(snapshot))
	if err != nil {
		return err
	}
	if err = staged.Load(nothing); err == nil {
		err = staged.Commit()
	}
	if err != nil {
		staged.Discard()
	}
	return err
}

// applyBytes is about how much of a log is read at once.
const applyBytes = 1 << 20

// apply adds the rest of the survivor's log to the new state: not to the old one, which may not have what nobody has decided.
func (r *recovery) apply(ctx context.Context, from *survivor, fresh home) (err error) {
	store, err := fresh.openStore(identity{}, r.o.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	state, err := replica.Open(replica.Options{Store: store, Logger: r.o.Logger})
	if err != nil {
		return err
	}
	if err := state.Damaged(); err != nil {
		return err
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- state.Run(writing) }()
	err = from.replay(ctx, state)
	stop()
	if err = errors.Join(err, <-ended); err != nil {
		return err
	}
	if at := store.Head().Position; at != from.end {
		return fmt.Errorf("the state has come to entry %d of term %d, and the log ends with entry %d of term %d", at.Index, at.Term, from.end.Index, from.end.Term)
	}
	state.View(func(t *locktable.Table) {
		r.done.Locks, r.done.Sessions, _ = t.Len()
		r.done.Token = t.Counter()
	})
	return nil
}

// replay applies what the log has beyond the checkpoint.
func (s *survivor) replay(ctx context.Context, state *replica.Replica) error {
	config := s.mark.Config
	for next := s.mark.Index + 1; next <= s.end.Index; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		entries, err := s.log.Read(next, s.end.Index, applyBytes)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Kind() != raft.KindConfig {
				continue
			}
			if config, err = raft.DecodeConfig(e.Index(), e.Data()); err != nil {
				return err
			}
		}
		state.Apply(raft.Batch{Entries: entries, Results: make([]any, len(entries)), Config: config})
		last := entries[len(entries)-1].Index()
		if state.AppliedIndex() < last {
			return fmt.Errorf("entry %d cannot be applied", state.AppliedIndex()+1) // why, the state's Run tells
		}
		next = last + 1
	}
	return nil
}
