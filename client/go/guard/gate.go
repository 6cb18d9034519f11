package guard

import (
	"errors"
	"fmt"
	"sync"
)

// ErrStale is wrapped by the errors of Admit.
var ErrStale = errors.New("guard: stale token")

// Gate admits to each resource only tokens that are not below the highest floor it has seen. The zero Gate is ready. It is safe for
// concurrent use. It remembers one number for each resource, in memory: what must survive a restart belongs beside the data.
type Gate struct {
	mu    sync.Mutex
	floor map[string]uint64
}

// Admit says whether a write with a token may go to a resource. floor is Lock.Floor of the hold, or its token if it is exclusive.
// The error is an ErrStale. What is admitted must be done before anything with a higher floor is: do it under a lock
// of the resource's own.
func (g *Gate) Admit(resource string, floor, token uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if seen := g.floor[resource]; token < seen {
		return fmt.Errorf("%w: %d, but %q has been held exclusively with %d since", ErrStale, token, resource, seen)
	}
	if g.floor == nil {
		g.floor = make(map[string]uint64)
	}
	g.floor[resource] = max(g.floor[resource], floor)
	return nil
}

// Forget drops what is remembered of a resource that is gone.
func (g *Gate) Forget(resource string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.floor, resource)
}
