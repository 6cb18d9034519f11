package replica_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// Readers, savers and waiters come while entries are applied and a snapshot is installed; each reader sees one state, and never an
// older one than it has seen.
func TestReadersBesideApply(t *testing.T) {
	h := newHistory(31, 3000)
	ahead := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
	h.apply(t, ahead, 1, 2000)
	mark, stream := snapshotOf(t, ahead)

	r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{}), FlushEvery: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.Run(ctx) }()
	h.apply(t, r, 1, 2)
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() { read(t, r, h) })
	}
	others.Go(func() {
		for i := range h.last() {
			if err := r.Wait(ctx, i); err != nil {
				t.Errorf("Wait for %d: %v", i, err)
			}
		}
	})
	others.Go(func() {
		for r.AppliedIndex() < h.last() {
			var b bytes.Buffer
			head, err := r.Save(ctx, &b)
			if err != nil {
				t.Errorf("Save: %v", err)
				return
			}
			h.checkMark(t, head)
		}
	})
	for i := raft.Index(3); i <= 1000; i++ {
		h.apply(t, r, i, i)
	}
	install(t, r, mark, stream)
	for i := raft.Index(2001); i <= h.last(); i += 5 {
		h.apply(t, r, i, min(i+4, h.last()))
	}
	others.Wait()
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	h.check(t, r)
}

func read(t *testing.T, r *replica.Replica, h *history) {
	var last uint64
	for raft.Index(last) < h.last() {
		known := r.AppliedIndex()
		r.View(func(table *locktable.Table) {
			index, _ := table.Index()
			if index < last || index < uint64(known) {
				t.Errorf("a reader sees entry %d after entry %d, applied %d", index, last, known)
			}
			last = index
			locks := len(table.Names(""))
			if n, _, _ := table.Len(); locks > n {
				t.Errorf("%d names of %d locks", locks, n)
			}
			table.CheckToken("name-1", table.Counter())
		})
	}
}
