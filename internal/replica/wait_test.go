package replica_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/raft"
)

// Of thousands who wait, an entry wakes those who waited for it, and nobody else.
func TestWaitWakesWhoWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 100
		h := newHistory(1, 100)
		r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
		var woken [101]atomic.Int64
		for range each {
			for index := range woken {
				go func() {
					if err := r.Wait(t.Context(), raft.Index(index)); err != nil {
						t.Errorf("Wait for %d: %v", index, err)
					}
					if r.AppliedIndex() < raft.Index(index) {
						t.Errorf("woken for %d after %d", index, r.AppliedIndex())
					}
					woken[index].Add(1)
				}()
			}
		}
		synctest.Wait()
		for lo := raft.Index(1); lo <= h.last(); lo += 7 {
			hi := min(lo+6, h.last())
			h.apply(t, r, lo, hi)
			synctest.Wait()
			for index := range woken {
				want := int64(0)
				if raft.Index(index) <= hi {
					want = each
				}
				if got := woken[index].Load(); got != want {
					t.Fatalf("after entry %d: %d of those who wait for entry %d are awake, not %d", hi, got, index, want)
				}
			}
			if n := r.Waiting(); n != each*int(h.last()-hi) {
				t.Fatalf("after entry %d: %d wait", hi, n)
			}
		}
	})
}

// Who stops waiting leaves nothing behind.
func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		for index := range raft.Index(1000) {
			go func() { done <- r.Wait(ctx, index%50+1) }()
		}
		synctest.Wait()
		if n := r.Waiting(); n != 1000 {
			t.Fatalf("%d wait", n)
		}
		cancel(cause)
		for range 1000 {
			if err := <-done; !errors.Is(err, cause) {
				t.Fatal(err)
			}
		}
		if n := r.Waiting(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}

// A snapshot stands for the entries it covers: who waits for one of them goes on.
func TestWaitEndsWithAnInstallation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(6, 200)
		ahead := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{})})
		h.apply(t, ahead, 1, 200)
		mark, stream := snapshotOf(t, ahead)
		done := make(chan error, 1)
		told := 0
		r := mustOpen(t, replica.Options{Store: checkpoint.OpenMemory(&checkpoint.Media{}), Installed: func() {
			synctest.Wait()
			if told++; len(done) > 0 {
				t.Error("who waited went on before it was told that effects are missing")
			}
		}})
		go func() { done <- r.Wait(t.Context(), 150) }()
		synctest.Wait()
		install(t, r, mark, stream)
		if err := <-done; err != nil || told != 1 {
			t.Errorf("%v, told %d times", err, told)
		}
	})
}
