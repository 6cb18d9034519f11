package rolling

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

const (
	sessionTTL = 10 * time.Second
	timeout    = 10 * time.Second
	pace       = 4 * time.Millisecond
	between    = 200 // requests between two steps of the operator
)

// load is clients at work: each request is counted, and none may fail.
type load struct {
	t         testing.TB
	endpoints []string
	ttl       time.Duration // of sessions
	timeout   time.Duration // of each request
	end       context.CancelFunc
	all       sync.WaitGroup
	clients   []*client.Client
	holders   []*holder

	mu      sync.Mutex // guards the fields below
	places  map[string]*place
	done    map[string]int64
	slowest map[string]time.Duration
	failed  []string
	total   int64
	reached chan struct{} // closed when the total is at the goal
	goal    int64
}

// place is an exclusive lock as its holders see it.
type place struct {
	held   atomic.Bool
	newest atomic.Uint64
}

// holder holds something from the beginning to the end.
type holder struct {
	what    string
	name    string
	lock    *client.Lock
	token   uint64
	session client.SessionID
	lost    <-chan struct{}
	lowest  atomic.Int64 // the validity that was left at the worst moment, in ns
}

// startLoad begins the work of clients that are told these addresses.
func startLoad(t testing.TB, endpoints []string) *load {
	t.Helper()
	return startLoadWith(t, endpoints, sessionTTL, timeout)
}

// startLoadWith is startLoad with sessions and requests that end sooner or later.
func startLoadWith(t testing.TB, endpoints []string, ttl, timeout time.Duration) *load {
	t.Helper()
	l := &load{
		t: t, endpoints: endpoints, ttl: ttl, timeout: timeout, places: map[string]*place{}, done: map[string]int64{}, slowest: map[string]time.Duration{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.end = cancel
	t.Cleanup(l.stop)
	l.hold()
	for _, h := range l.holders {
		l.all.Go(func() { l.watch(ctx, h) })
	}
	for i := range 3 {
		a, b := l.client(), l.client()
		own, other := fmt.Sprintf("own/%d", i), fmt.Sprintf("shared/%d", i%2)
		l.repeat(ctx, func() { l.pair(ctx, a, own) })
		l.repeat(ctx, func() { l.pair(ctx, a, "crowd") })
		l.repeat(ctx, func() { l.pair(ctx, b, "crowd") })
		l.repeat(ctx, func() { l.try(ctx, b, other) })
		l.repeat(ctx, func() { l.both(ctx, a) })
	}
	c := l.client()
	l.repeat(ctx, func() { l.leases(ctx, c, "lease/short") })
	for range 2 {
		candidate := l.client()
		l.repeat(ctx, func() { l.lead(ctx, candidate) })
	}
	for range 2 {
		reader := l.client()
		l.repeat(ctx, func() { l.read(ctx, reader) })
	}
	return l
}

func (l *load) client() *client.Client {
	l.t.Helper()
	c, err := client.New(client.Config{Endpoints: l.endpoints, TTL: l.ttl})
	if err != nil {
		l.t.Fatal(err)
	}
	l.clients = append(l.clients, c)
	return c
}

// repeat does work again and again until ctx ends, at a pace that leaves the machine room for others.
func (l *load) repeat(ctx context.Context, work func()) {
	l.all.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for ctx.Err() == nil {
			work()
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
}

// request makes one request, which must succeed within the time-out. The end of the test does not cut it short.
func (l *load) request(ctx context.Context, what string, f func(ctx context.Context) error) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	began := time.Now()
	err := f(ctx)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[what]++
	l.slowest[what] = max(l.slowest[what], took)
	l.total++
	if l.reached != nil && l.total >= l.goal {
		close(l.reached)
		l.reached = nil
	}
	if err != nil {
		l.failed = append(l.failed, fmt.Sprintf("%s %s: %v, after %v", began.UTC().Format("15:04:05.000"), what, err, took.Round(time.Millisecond)))
	}
	return err == nil
}

func (l *load) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// within is what a holder of an exclusive lock does: it finds nobody else there, and its token is the newest.
func (l *load) within(lock *client.Lock, names ...string) (leave func()) {
	var entered []*place
	for _, name := range names {
		p := l.place(name)
		if !p.held.CompareAndSwap(false, true) {
			l.fail("two hold %s at once", name)
			continue
		}
		if before := p.newest.Swap(lock.Token()); before >= lock.Token() {
			l.fail("token %d of %s comes after %d", lock.Token(), name, before)
		}
		entered = append(entered, p)
	}
	return func() {
		if err := lock.Err(); err != nil {
			l.fail("%v was lost: %v", names, err)
		}
		for _, p := range entered {
			p.held.Store(false)
		}
	}
}

func (l *load) place(name string) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.places[name]
	if p == nil {
		p = &place{}
		l.places[name] = p
	}
	return p
}

func (l *load) pair(ctx context.Context, c *client.Client, name string) {
	var lock *client.Lock
	if !l.request(ctx, "lock", func(ctx context.Context) (err error) { lock, err = c.Lock(ctx, name); return err }) {
		return
	}
	l.within(lock, name)()
	l.request(ctx, "unlock", lock.Unlock)
}

func (l *load) both(ctx context.Context, c *client.Client) {
	var lock *client.Lock
	names := []string{"both/a", "both/b"}
	if !l.request(ctx, "lock both", func(ctx context.Context) (err error) { lock, err = c.LockAll(ctx, names); return err }) {
		return
	}
	l.within(lock, names...)()
	l.request(ctx, "unlock", lock.Unlock)
}

func (l *load) try(ctx context.Context, c *client.Client, name string) {
	var lock *client.Lock
	l.request(ctx, "try", func(ctx context.Context) (err error) {
		lock, err = c.TryLock(ctx, name)
		if errors.Is(err, client.ErrNotAcquired) {
			err = nil
		}
		return err
	})
	if lock != nil {
		l.within(lock, name)()
		l.request(ctx, "unlock", lock.Unlock)
	}
}

func (l *load) leases(ctx context.Context, c *client.Client, name string) {
	var lease *client.Lease
	if !l.request(ctx, "lease", func(ctx context.Context) (err error) { lease, err = c.AcquireLease(ctx, name, time.Minute); return err }) {
		return
	}
	l.request(ctx, "renew lease", func(ctx context.Context) error { return lease.Renew(ctx, 2*time.Minute) })
	l.request(ctx, "release lease", lease.Release)
}

func (l *load) lead(ctx context.Context, c *client.Client) {
	var won *client.Leadership
	if !l.request(ctx, "campaign", func(ctx context.Context) (err error) { won, err = c.Campaign(ctx, "election", []byte("a")); return err }) {
		return
	}
	leave := l.within(won.Lock, "election")
	l.request(ctx, "proclaim", func(ctx context.Context) error { return won.Proclaim(ctx, []byte("b")) })
	leave()
	l.request(ctx, "resign", won.Resign)
}

func (l *load) read(ctx context.Context, c *client.Client) {
	h := l.holders[int(time.Now().UnixNano())%len(l.holders)]
	ask := func(what string, f func(ctx context.Context) error) {
		if ctx.Err() == nil {
			l.request(ctx, what, f)
		}
	}
	ask("check token", func(ctx context.Context) error {
		check, err := c.CheckToken(ctx, h.name, h.token)
		if err == nil && check.Validity != client.TokenValid {
			err = fmt.Errorf("the token %d of %s, which is held, is %v", h.token, h.name, check.Validity)
		}
		return err
	})
	ask("get", func(ctx context.Context) error {
		info, err := c.Get(ctx, h.name)
		if err == nil && len(info.Holders) == 0 {
			err = fmt.Errorf("%s, which is held, has no holder", h.name)
		}
		return err
	})
	ask("stale get", func(ctx context.Context) error { _, err := c.Get(ctx, h.name, client.Stale()); return err })
	ask("list", func(ctx context.Context) error {
		n := 0
		for _, err := range c.List(ctx, "held/") {
			if err != nil {
				return err
			}
			n++
		}
		if n != len(l.holders) {
			return fmt.Errorf("%d of %d held locks are listed", n, len(l.holders))
		}
		return nil
	})
}

// hold takes a lock of each kind, to be held throughout.
func (l *load) hold() {
	l.t.Helper()
	ctx := l.t.Context()
	c := l.client()
	keep := func(what, name string, take func() (*client.Lock, error)) {
		lock, err := take()
		if err != nil {
			l.t.Fatal(err)
		}
		h := &holder{what: what, name: name, lock: lock, token: lock.Token(), session: lock.Session().ID(), lost: lock.Context().Done()}
		h.lowest.Store(int64(l.ttl))
		l.holders = append(l.holders, h)
	}
	keep("exclusive", "held/exclusive", func() (*client.Lock, error) { return c.Lock(ctx, "held/exclusive") })
	keep("shared", "held/shared", func() (*client.Lock, error) { return c.Lock(ctx, "held/shared", client.Shared()) })
	keep("slot", "held/slots", func() (*client.Lock, error) { return c.Lock(ctx, "held/slots", client.Slots(3)) })
	other := l.client()
	keep("leader", "held/election", func() (*client.Lock, error) {
		won, err := other.Campaign(ctx, "held/election", []byte("me"))
		if err != nil {
			return nil, err
		}
		return won.Lock, nil
	})
	keep("several", "held/several/a", func() (*client.Lock, error) { return other.LockAll(ctx, []string{"held/several/a"}) })
}

// watch looks at what a holder sees until ctx ends.
func (l *load) watch(ctx context.Context, h *holder) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-h.lost:
			l.fail("the %s lock %s was lost: %v", h.what, h.name, context.Cause(h.lock.Context()))
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			h.lowest.Store(min(h.lowest.Load(), int64(time.Until(h.lock.ValidUntil()))))
		}
	}
}

// more waits until the clients have had more answers: so many as there should be between two steps of the operator, at least.
func (l *load) more() {
	l.t.Helper()
	l.mu.Lock()
	reached := make(chan struct{})
	l.reached, l.goal = reached, l.total+between
	l.mu.Unlock()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-reached:
	case <-limit.C:
		l.t.Fatalf("less than %d requests in %v", between, patience)
	}
}

// stop ends the work, and returns when nobody is under way any more.
func (l *load) stop() {
	l.end()
	l.all.Wait()
}

// finish ends the work and demands that nothing failed, and that what was held is held, by the same session and token.
func (l *load) finish() (requests int64) {
	l.t.Helper()
	l.stop()
	for _, h := range l.holders {
		l.check(h)
		l.request(l.t.Context(), "unlock", h.lock.Unlock)
	}
	for _, c := range l.clients {
		l.request(l.t.Context(), "close", c.Close)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) > 0 {
		l.t.Errorf("%d of %d requests failed:\n%s", len(l.failed), l.total, strings.Join(l.failed[:min(len(l.failed), 40)], "\n"))
	}
	for _, what := range slices.Sorted(maps.Keys(l.done)) {
		l.t.Logf("%-14s %7d, the slowest %v", what, l.done[what], l.slowest[what].Round(time.Millisecond))
	}
	for _, h := range l.holders {
		l.t.Logf("%-14s always %v of validity left", h.what, time.Duration(h.lowest.Load()).Round(time.Millisecond))
	}
	return l.total
}

// check looks at what was held throughout, as its holder and as the cluster sees it.
func (l *load) check(h *holder) {
	l.t.Helper()
	if err := h.lock.Err(); err != nil {
		l.fail("the %s lock %s is lost: %v", h.what, h.name, err)
	}
	if now := h.lock.Session().ID(); now != h.session || h.lock.Token() != h.token {
		l.fail("%s is held by session %v with token %d, not %v with %d", h.name, now, h.lock.Token(), h.session, h.token)
	}
	l.request(l.t.Context(), "check token", func(ctx context.Context) error {
		check, err := l.clients[0].CheckToken(ctx, h.name, h.token)
		if err == nil && check.Validity != client.TokenValid {
			err = fmt.Errorf("%v", check.Validity)
		}
		return err
	})
	l.request(l.t.Context(), "session info", func(ctx context.Context) error {
		_, err := l.clients[0].SessionInfo(ctx, h.session)
		return err
	})
}
