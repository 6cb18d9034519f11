package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
)

// lines passes on each line that is written.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		l <- strings.TrimSpace(line)
	}
	return len(b), nil
}

// TestElect stops the leader of three replicas again and again: another one leads, with a higher term.
func TestElect(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	said := make(lines, 100)
	stops := map[string]context.CancelFunc{}
	var wg sync.WaitGroup
	for i := range 3 {
		name := fmt.Sprint("worker-", i)
		ctx, stop := context.WithCancel(t.Context())
		stops[name] = stop
		wg.Go(func() {
			if err := run(ctx, cluster.Endpoints(), name, io.MultiWriter(said, t.Output())); err != nil {
				t.Error(err)
			}
		})
	}
	var newest uint64
	for led := 0; led < 3; {
		var name string
		var term uint64
		if n, _ := fmt.Sscanf(<-said, "%s leads, term %d", &name, &term); n != 2 {
			continue
		}
		if term <= newest {
			t.Errorf("term %d after %d", term, newest)
		}
		newest = term
		led++
		stops[name]()
	}
	wg.Wait()
}
