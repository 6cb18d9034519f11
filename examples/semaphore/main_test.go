package main

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
)

// TestSemaphore lets three in before any may leave, which needs three slots; the other three come after them.
func TestSemaphore(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	var (
		mu           sync.Mutex
		inside, most int
		full         = make(chan struct{})
	)
	use := func(ctx context.Context) error {
		mu.Lock()
		inside++
		most = max(most, inside)
		if inside == 3 && most == 3 {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		select {
		case <-full:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		inside--
		return nil
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := run(t.Context(), cluster.Endpoints(), io.Discard, use); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most != 3 {
		t.Errorf("%d inside at once, not 3", most)
	}
}
