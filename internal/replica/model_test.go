package replica_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// life drives a replica over media until the history is applied or the process ends at the nth step of the store, and reports
// whether it ended so.
func life(t *testing.T, h *history, media *checkpoint.Media, rng *rand.Rand, crashAt int) (crashed bool) {
	steps := 0
	media.Crash = func(checkpoint.Step) bool {
		steps++
		crashed = crashed || steps == crashAt
		return crashed
	}
	r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(media), FlushEvery: time.Millisecond})
	h.check(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	for at := r.AppliedIndex(); at < h.last() && !crashed; {
		next := min(at+1+raft.Index(rng.IntN(30)), h.last())
		h.apply(t, r, at+1, next)
		at = next
		h.check(t, r)
		if rng.IntN(2) == 0 {
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
		}
	}
	cancel()
	err := <-ran
	if !crashed && err != nil || crashed && !errors.Is(err, checkpoint.ErrCrashed) {
		t.Fatalf("crashed %v, but Run: %v", crashed, err)
	}
	return crashed
}

// TestRestartAtEveryFlush ends the process at every step of the store, with one history after the other; what the next one
// finds must be a state that was, and with the rest of the log come to the same end as a table that knows no disk.
func TestRestartAtEveryFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(3) {
			h := newHistory(seed, 700)
			most := 0
			for crashAt := 1; ; crashAt++ {
				media := &checkpoint.Media{}
				rng := rand.New(rand.NewPCG(seed, uint64(crashAt)))
				crashed := life(t, h, media, rng, crashAt)
				media.Crash = nil
				head := checkpoint.OpenMemory(media).Head()
				h.checkMark(t, head)
				if crashed {
					life(t, h, media, rng, -1)
				}
				r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(media)})
				if r.AppliedIndex() != h.last() {
					t.Fatalf("crash at step %d: the next start ends at entry %d of %d", crashAt, r.AppliedIndex(), h.last())
				}
				h.check(t, r)
				if !crashed {
					break
				}
				most = crashAt
			}
			if most < 20 {
				t.Errorf("seed %d: only %d steps; nothing is tested", seed, most)
			}
		}
	})
}

// The records that are written are those that the plain table has at that entry, and all of them.
func TestRecordsInAreRecordsOut(t *testing.T) {
	h := newHistory(11, 500)
	store := checkpoint.OpenMemory(&checkpoint.Media{})
	r := mustOpen(t, replica.Options{Store: store})
	for lo := raft.Index(1); lo <= h.last(); lo += 50 {
		h.apply(t, r, lo, min(lo+49, h.last()))
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
	}
	written := map[string]string{}
	again := checkpoint.OpenMemory(&checkpoint.Media{})
	mark, stream := snapshotOf(t, r)
	staged, err := again.Restore(mark, bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	err = staged.Load(func(r checkpoint.Record) error {
		written[string(r.Key)] = string(r.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, r := range h.table.All().Records {
		want[string(r.Key)] = string(r.Value)
	}
	if diff := cmp.Diff(want, written); diff != "" {
		t.Errorf("records (-plain table +store):\n%s", diff)
	}
	if len(want) < 10 {
		t.Errorf("%d records are no test", len(want))
	}
}

// A record that came and went between two flushes is never written.
func TestShortLivedRecordsAreNotWritten(t *testing.T) {
	h := newHistory(5, 300)
	written := 0
	events := replica.Events{Flushed: func(records int, _ time.Duration) { written += records }}
	r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{}), Events: events})
	h.apply(t, r, 1, h.last())
	if err := r.FlushAll(); err != nil {
		t.Fatal(err)
	}
	if want := len(h.table.All().Records); written != want {
		t.Errorf("%d records were written in one flush, the state has %d", written, want)
	}
}

// TestInstallAtEveryStep gives a replica a snapshot and ends the process at every step: it comes back with the old state or
// with the new one, and with the new one from the moment that Commit has returned.
func TestInstallAtEveryStep(t *testing.T) {
	h := newHistory(3, 400)
	ahead := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
	h.apply(t, ahead, 1, 300)
	mark, stream := snapshotOf(t, ahead)
	for _, end := range []checkpoint.Step{checkpoint.BeforeStage, checkpoint.BeforeCommit, checkpoint.AfterCommit, -1} {
		media := &checkpoint.Media{}
		told := 0
		r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(media), Installed: func() { told++ }})
		h.apply(t, r, 1, 100)
		if err := r.FlushAll(); err != nil {
			t.Fatal(err)
		}
		h.apply(t, r, 101, 120) // in memory alone
		media.Crash = func(s checkpoint.Step) bool { return s == end }
		made, err := r.Restore(mark, bytes.NewReader(stream))
		if err == nil {
			err = made.Commit()
		}
		if crashed := errors.Is(err, checkpoint.ErrCrashed); crashed != (end >= 0) || err != nil && !crashed {
			t.Fatalf("step %d: %v", end, err)
		}
		if end < 0 {
			h.check(t, r)
			if at := r.AppliedIndex(); at != 300 || told != 1 || !r.Mark().Installed {
				t.Fatalf("installed: at entry %d, told %d times, mark %+v", at, told, r.Mark())
			}
		}
		media.Crash = nil
		r = mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(media)})
		want := raft.Index(100)
		if end == checkpoint.AfterCommit || end < 0 {
			want = 300
		}
		if r.AppliedIndex() != want {
			t.Fatalf("step %d: the next start begins with entry %d, not %d", end, r.AppliedIndex(), want)
		}
		h.check(t, r)
		h.apply(t, r, want+1, h.last())
		h.check(t, r)
	}
}

// A stream that is cut or changed is refused, and leaves everything as it is.
func TestRestoreRefusesBadStreams(t *testing.T) {
	h := newHistory(4, 200)
	r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
	h.apply(t, r, 1, 200)
	mark, stream := snapshotOf(t, r)
	flipped := bytes.Clone(stream)
	flipped[len(flipped)/2] ^= 1
	for name, b := range map[string][]byte{"cut": stream[:len(stream)-9], "flipped": flipped, "empty": nil} {
		if _, err := r.Restore(mark, bytes.NewReader(b)); !errors.Is(err, checkpoint.ErrBadStream) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.check(t, r)
}

// What the front learns of entries comes once each, in order, with the table as the entry left it.
func TestAppliedTellsEveryEntry(t *testing.T) {
	h := newHistory(9, 300)
	var told []raft.Index
	var noops int
	o := replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{}), Applied: func(a replica.Applied) {
		told = append(told, a.Index)
		if a.Noop {
			noops++
		}
		if index, term := a.Table.Index(); index != uint64(a.Index) || term != uint64(a.Term) {
			t.Errorf("told entry %d of term %d with a table at %d of term %d", a.Index, a.Term, index, term)
		}
	}}
	r := mustOpen(t, o)
	h.apply(t, r, 1, 170)
	h.apply(t, r, 171, h.last())
	wantNoops := 0
	for i, e := range h.entries {
		if e.Kind() != raft.KindCommand {
			wantNoops++
		}
		if i >= len(told) || told[i] != e.Index() {
			t.Fatalf("told %v", told)
		}
	}
	if noops != wantNoops || len(told) != len(h.entries) {
		t.Errorf("told %d entries, %d of them noops; there are %d and %d", len(told), noops, len(h.entries), wantNoops)
	}
}

// A committed command that this version does not know ends everything: nothing is applied after it, and nothing is answered.
func TestUnknownCommandStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(2, 50)
		var failed error
		r := mustOpen(t, replica.Options{
			Store: checkpoint.OpenMemory(&checkpoint.Media{}), Events: replica.Events{Failed: func(err error) { failed = err }},
		})
		ran := make(chan error, 1)
		go func() { ran <- r.Run(t.Context()) }()
		waited := make(chan error, 1)
		go func() { waited <- r.Wait(t.Context(), 53) }()
		h.apply(t, r, 1, 50)
		h.add(raft.KindNoop, nil, h.configs[50])
		b := h.batch(51, 51)
		b.Entries = append(b.Entries[:1:1], raft.NewEntry(raft.Position{Index: 52, Term: 1}, raft.KindCommand, []byte("what is this?")))
		b.Entries = append(b.Entries, raft.NewEntry(raft.Position{Index: 53, Term: 1}, raft.KindNoop, nil))
		b.Results = make([]any, 3)
		r.Apply(b)
		r.Apply(raft.Batch{Entries: []raft.Entry{raft.NewEntry(raft.Position{Index: 54, Term: 1}, raft.KindNoop, nil)}, Results: make([]any, 1)})
		if !errors.Is(failed, locktable.ErrCommand) || b.Results[1] != nil || r.AppliedIndex() != 51 {
			t.Errorf("failed with %v, result %v, applied %d", failed, b.Results[1], r.AppliedIndex())
		}
		h.check(t, r)
		if err := <-ran; !errors.Is(err, locktable.ErrCommand) {
			t.Errorf("Run: %v", err)
		}
		if err := <-waited; !errors.Is(err, locktable.ErrCommand) {
			t.Errorf("Wait: %v", err)
		}
	})
}
