package replica_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

func install(t *testing.T, r *replica.Replica, mark raft.Mark, stream []byte) {
	t.Helper()
	made, err := r.Restore(mark, bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Commit(); err != nil {
		t.Fatal(err)
	}
}

// slowStore is a store whose Flush waits for gate, takes a time, and fails as told.
type slowStore struct {
	*checkpoint.Memory
	gate chan struct{}
	took time.Duration

	mu    sync.Mutex // guards the fields below
	fail  []error
	marks []raft.Index
}

func (s *slowStore) Flush(set checkpoint.Set) error {
	<-s.gate
	taken := time.NewTimer(s.took)
	<-taken.C
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		return err
	}
	s.marks = append(s.marks, set.Index)
	return s.Memory.Flush(set)
}

func newSlowStore() *slowStore {
	return &slowStore{Memory: checkpoint.OpenMemory(&checkpoint.Media{}), gate: make(chan struct{})}
}

// load makes entries that acquire one lock each, so that sets fill quickly.
type load struct {
	next raft.Index
	life session.Life
}

func (l *load) batch(n int) raft.Batch {
	b := raft.Batch{Results: make([]any, n), Config: configOf("a", "b", "c")}
	b.Config.Index = 1
	for range n {
		l.next++
		at := raft.Position{Index: l.next, Term: 1}
		e := raft.NewEntry(at, raft.KindConfig, b.Config.AppendBinary(nil))
		switch {
		case l.next == 2:
			l.life = session.Life{ID: session.ID{1}, Index: 2}
			e = raft.NewEntry(at, raft.KindCommand, locktable.Encode(&locktable.Open{ID: l.life.ID, TTL: time.Minute}))
		case l.next > 2:
			q := locktable.Request{Session: l.life, Seq: uint64(l.next), Acked: uint64(l.next) - 1}
			a := &locktable.Acquire{Request: q, Names: []string{fmt.Sprintf("held/%011d", l.next)}, Mode: locktable.Exclusive, Owner: q.Seq}
			e = raft.NewEntry(at, raft.KindCommand, locktable.Encode(a))
		}
		b.Entries = append(b.Entries, e)
	}
	return b
}

// TestApplyWaitsForTheDisk stops the disk: Apply goes on until the backlog is full, then it waits, while readers go on; and all is
// written in order when the disk is back.
func TestApplyWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		var delayed time.Duration
		r := mustOpen(t, replica.Options{Store: store, Events: replica.Events{Delayed: func(d time.Duration) { delayed += d }}})
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		const entries = 2000 * (replica.BacklogSets + 10)
		l := &load{}
		applied := make(chan struct{})
		go func() {
			defer close(applied)
			for range entries / 1000 {
				r.Apply(l.batch(1000))
			}
		}()
		synctest.Wait()
		stuck := r.AppliedIndex()
		if stuck == 0 || stuck >= entries {
			t.Fatalf("applied %d of %d while nothing is written", stuck, entries)
		}
		r.View(func(table *locktable.Table) {
			if locks, _, _ := table.Len(); locks < 1000 {
				t.Errorf("a reader sees %d locks", locks)
			}
		})
		time.Sleep(time.Minute)
		if r.AppliedIndex() != stuck {
			t.Errorf("went on from %d to %d", stuck, r.AppliedIndex())
		}
		close(store.gate)
		<-applied
		if delayed < time.Minute {
			t.Errorf("told of a delay of %v", delayed)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Fatal(err)
		}
		if head := store.Head(); head.Index != entries {
			t.Errorf("durable up to %d of %d", head.Index, entries)
		}
	})
}

// askedStore does something when it is asked for its head.
type askedStore struct {
	*checkpoint.Memory
	asked func()
}

func (s *askedStore) Head() checkpoint.Head {
	if do := s.asked; do != nil {
		s.asked = nil
		do()
	}
	return s.Memory.Head()
}

// TestApplyCutsFirst: between two looks of who writes everything Apply cuts all there is, as large values let it do often.
func TestApplyCutsFirst(t *testing.T) {
	store := &askedStore{Memory: checkpoint.OpenMemory(&checkpoint.Media{})}
	r, l := mustOpen(t, replica.Options{Store: store}), &load{}
	r.Apply(l.batch(1))
	store.asked = func() {
		for r.Backlogged() == 0 {
			r.Apply(l.batch(1))
		}
	}
	if err := r.Flush(); err != nil {
		t.Fatal(err)
	}
	if head := store.Head(); head.Index != l.next {
		t.Errorf("durable up to %d of %d", head.Index, l.next)
	}
}

// Once Run has ended, Apply neither writes nor waits: the log has everything.
func TestApplyGoesOnAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		close(store.gate)
		r := mustOpen(t, replica.Options{Store: store})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		l := &load{}
		const entries = 2000 * (replica.BacklogSets + 3)
		for range entries / 1000 {
			r.Apply(l.batch(1000))
		}
		if r.AppliedIndex() != entries || len(store.marks) != 0 {
			t.Errorf("applied %d of %d, wrote %v", r.AppliedIndex(), entries, store.marks)
		}
	})
}

// A full disk is tried again until there is room; what comes meanwhile is written in order.
func TestFullDiskIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		close(store.gate)
		full := fmt.Errorf("no: %w", raft.ErrDiskFull)
		store.fail = []error{full, full, full}
		r := mustOpen(t, replica.Options{Store: store})
		h := newHistory(8, 300)
		ctx, cancel := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- r.Run(ctx) }()
		h.apply(t, r, 1, 150)
		time.Sleep(1500 * time.Millisecond)
		if head := store.Head(); head.Index != 0 {
			t.Errorf("durable up to %d on a full disk", head.Index)
		}
		h.apply(t, r, 151, 300)
		time.Sleep(10 * time.Second)
		h.checkMark(t, store.Head())
		if head := store.Head(); head.Index != 300 {
			t.Errorf("durable up to %d", head.Index)
		}
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// Any other failure of the store is the node's end.
func TestFailedFlushEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSlowStore()
		close(store.gate)
		broken := errors.New("broken")
		store.fail = []error{broken}
		var told error
		r := mustOpen(t, replica.Options{Store: store, Events: replica.Events{Failed: func(err error) { told = err }}})
		ran := make(chan error, 1)
		go func() { ran <- r.Run(t.Context()) }()
		h := newHistory(8, 100)
		h.apply(t, r, 1, 100)
		if err := <-ran; !errors.Is(err, broken) || !errors.Is(told, broken) {
			t.Errorf("Run: %v; told %v", err, told)
		}
		if err := r.Wait(t.Context(), 101); !errors.Is(err, broken) {
			t.Errorf("Wait: %v", err)
		}
	})
}

// How long changes gather follows from how long writing them takes.
func TestFlushesFollowTheLoad(t *testing.T) {
	flushes := func(t *testing.T, took time.Duration) (n int) {
		synctest.Test(t, func(t *testing.T) {
			store := newSlowStore()
			close(store.gate)
			store.took = took
			r := mustOpen(t, replica.Options{Store: store})
			ctx, cancel := context.WithCancel(t.Context())
			ran := make(chan error, 1)
			go func() { ran <- r.Run(ctx) }()
			l := &load{}
			for range 1000 {
				r.Apply(l.batch(1))
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
			n = len(store.marks)
		})
		return n
	}
	quick, slow := flushes(t, 0), flushes(t, 20*time.Millisecond)
	if quick < 80 || quick > 110 || slow < 8 || slow > 15 {
		t.Errorf("in 10 s %d flushes of a quick disk, %d of a slow one", quick, slow)
	}
}

// TestSave writes what another store takes, of a moment that is not before the call.
func TestSave(t *testing.T) {
	h := newHistory(12, 300)
	r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
	h.apply(t, r, 1, 299)
	var b bytes.Buffer
	head, err := r.Save(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	h.checkMark(t, head)
	if head.Index != 299 {
		t.Errorf("saved entry %d", head.Index)
	}
	other := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
	install(t, other, head.Mark, b.Bytes())
	h.check(t, other)

	broken := errors.New("broken pipe")
	if _, err := r.Save(t.Context(), &failing{broken}); !errors.Is(err, broken) {
		t.Errorf("to a writer that fails: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := r.Save(ctx, io.Discard); !errors.Is(err, broken) {
		t.Errorf("with an ended context: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Write([]byte) (int, error) { return 0, f.err }
