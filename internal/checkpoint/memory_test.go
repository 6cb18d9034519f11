package checkpoint_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// TestMemoryCrashes ends a process at every step of the twin and requires exactly what a disk would hold.
func TestMemoryCrashes(t *testing.T) {
	for step, want := range map[checkpoint.Step]raft.Index{
		checkpoint.BeforeFlush: 1, checkpoint.AfterFlush: 2, checkpoint.BeforeStage: 2, checkpoint.BeforeCommit: 2, checkpoint.AfterCommit: after,
	} {
		media := &checkpoint.Media{}
		s := mustLoad(t, checkpoint.OpenMemory(media))
		m := newModel()
		mustFlush(t, s, m.step(1))
		media.Crash = func(at checkpoint.Step) bool { return at == step }
		err := s.Flush(m.step(2))
		if err == nil {
			var staged checkpoint.Staged
			mark, stream, _ := streamOfRestored()
			if staged, err = s.Restore(mark, stream); err == nil {
				if _, err = load(staged); err == nil {
					err = staged.Commit()
				}
			}
		}
		if !errors.Is(err, checkpoint.ErrCrashed) {
			t.Fatalf("step %d: %v", step, err)
		}
		if err := s.Flush(m.step(3)); !errors.Is(err, checkpoint.ErrCrashed) {
			t.Errorf("step %d: it goes on: %v", step, err)
		}
		media.Crash = nil
		s = checkpoint.OpenMemory(media)
		m = at(want)
		if want == after {
			m, _ = restored()
		}
		m.check(t, s, want == after)
	}
}

// TestMemoryIsLeft requires that a process of which nobody closed the store cannot write to what its successor has.
func TestMemoryIsLeft(t *testing.T) {
	media := &checkpoint.Media{}
	m := newModel()
	s := mustLoad(t, checkpoint.OpenMemory(media))
	mustFlush(t, s, m.step(1))
	checkpoint.OpenMemory(media)
	mark, stream := sampleStream(t, newModel().step(5))
	if err := s.Flush(m.step(2)); !errors.Is(err, checkpoint.ErrCrashed) {
		t.Errorf("flush: %v", err)
	}
	if _, err := s.Restore(mark, bytes.NewReader(stream)); !errors.Is(err, checkpoint.ErrCrashed) {
		t.Errorf("restore: %v", err)
	}
}
