package endurance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// grants are acknowledged in each round, at least.
const grants = 400

// ledger is what the cluster has acknowledged to its clients.
type ledger struct {
	mu      sync.Mutex // guards the fields below
	held    map[string]uint64
	leases  map[string]client.LeaseRef
	newest  uint64 // highest token ever told
	grants  int
	stopped bool          // what is told now does not count
	reached chan struct{} // closed when so many grants are there
	goal    int
}

func newLedger() *ledger {
	return &ledger{held: map[string]uint64{}, leases: map[string]client.LeaseRef{}}
}

// next returns a channel that is closed when another round of grants has been acknowledged.
func (l *ledger) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped, l.goal, l.reached = false, l.grants+grants, make(chan struct{})
	return l.reached
}

// stop makes everything that is told from here on count for nothing.
func (l *ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
}

func (l *ledger) newestToken() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// granted records a grant that was asked for when the newest token was before.
func (l *ledger) granted(before, token uint64, record func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if token <= before {
		return fmt.Errorf("token %d is not above %d, which was known before it was asked for", token, before)
	}
	if l.stopped {
		return nil
	}
	record()
	l.newest = max(l.newest, token)
	if l.grants++; l.grants == l.goal {
		close(l.reached)
	}
	return nil
}

func (l *ledger) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, name)
}

// work takes locks and leases of names of its own until ctx ends, and gives every third lock back.
func (l *ledger) work(ctx context.Context, c *client.Client, worker string) error {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%s/%d", worker, n)
		switch err := l.step(ctx, c, name, n); {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, client.ErrDiskFull): // another time
			again := time.NewTimer(100 * time.Millisecond)
			select {
			case <-again.C:
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *ledger) step(ctx context.Context, c *client.Client, name string, n int) error {
	before := l.newestToken()
	if n%5 == 4 {
		lease, err := c.AcquireLease(ctx, name, time.Hour)
		if err != nil {
			return err
		}
		return l.granted(before, lease.Token(), func() { l.leases[name] = lease.Ref() })
	}
	lock, err := c.Lock(ctx, name)
	if err != nil {
		return err
	}
	if err := l.granted(before, lock.Token(), func() { l.held[name] = lock.Token() }); err != nil || n%3 != 0 {
		return err
	}
	l.forget(name) // from here on nobody knows, until it is answered
	return lock.Unlock(ctx)
}

// check asks the cluster for everything that was acknowledged.
func (l *ledger) check(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	l.mu.Lock()
	var want []client.NamedToken
	for _, name := range slices.Sorted(maps.Keys(l.held)) {
		want = append(want, client.NamedToken{Name: name, Token: l.held[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(l.leases)) {
		want = append(want, client.NamedToken{Name: name, Token: l.leases[name].Token})
	}
	l.mu.Unlock()
	if len(want) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	lost := 0
	for part := range slices.Chunk(want, 1000) {
		checks, err := c.CheckTokens(ctx, part)
		if err != nil {
			t.Fatal(err)
		}
		for i, check := range checks {
			// A lock that was being given back while we asked is not held any more.
			if check.Validity != client.TokenValid && l.still(part[i]) {
				lost++
				t.Errorf("%s: token %d was acknowledged and is %v now", part[i].Name, part[i].Token, check.Validity)
			}
		}
	}
	t.Logf("%d acknowledged holds and leases looked for, %d lost", len(want), lost)
}

func (l *ledger) still(n client.NamedToken) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[n.Name] == n.Token || l.leases[n.Name].Token == n.Token
}

// load runs workers, each with a client of its own, until the returned function is called.
func (l *ledger) load(t *testing.T, endpoints []string, workers int) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range workers {
		c := newClient(t, endpoints)
		wg.Go(func() {
			if err := l.work(ctx, c, fmt.Sprint("w", w)); err != nil {
				t.Error(err)
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
}

// newClient returns a client whose session outlives everything that happens here.
func newClient(t *testing.T, endpoints []string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: endpoints, TTL: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(t.Context()), 5*time.Second, errors.New("the cluster has gone"))
		defer cancel()
		_ = c.Close(ctx) // the nodes may be gone by now
	})
	return c
}
