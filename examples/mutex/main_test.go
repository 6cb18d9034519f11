package main

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
)

// TestMutex lets eight of them work at once: never two at a time, and each with a token of its own.
func TestMutex(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	var (
		mu     sync.Mutex
		inside int
		tokens = map[uint64]bool{}
	)
	work := func(ctx context.Context, token uint64) error {
		mu.Lock()
		inside++
		alone := inside == 1
		tokens[token] = true
		mu.Unlock()
		for range 3 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		inside--
		if !alone {
			return errors.New("not alone")
		}
		return nil
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := run(t.Context(), cluster.Endpoints(), io.Discard, work); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(tokens) != 8 {
		t.Errorf("%d tokens for 8 grants", len(tokens))
	}
}
