package rolling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

const (
	// servingWithin is how soon a cluster serves once the node has been started that makes a quorum; make outage requires it.
	servingWithin = 5 * time.Second
	// longTTL is of sessions that must outlive the time in which nobody serves.
	longTTL = time.Minute
)

// TestOutage stops all five nodes at once, by SIGTERM or SIGKILL, and starts them in any order, at once or one after the other. A quorum
// serves without the others; everything that was held is held, by the same tokens and by sessions that live, and no request of a client
// with patience fails.
func TestOutage(t *testing.T) {
	n, seed := rounds(t), uint64(1)
	if text := os.Getenv("LOCKD_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("LOCKD_SEED=%q is not a number", text)
		}
	}
	long := n > 0
	if !long {
		t.Parallel() // no time is demanded
		n = 2
	}
	f := newFleet(t, 5, true)
	f.found()
	s := keepThings(t, clientsOf(f.machines))
	var slowest time.Duration
	for round := range n {
		order := rand.New(rand.NewPCG(seed, uint64(round))).Perm(len(f.machines))
		signal, gap := syscall.SIGTERM, time.Duration(0)
		if round%2 == 1 {
			signal = syscall.SIGKILL
		}
		if long && round%4 >= 2 {
			gap = 2 * time.Second
		}
		f.stopAll(signal)
		took := f.startAll(t, order, gap)
		slowest = max(slowest, took)
		for _, m := range f.machines {
			f.awaitWell(m)
		}
		s.check(t)
		t.Logf("seed %d, round %d: %v of all, started in the order %v, %v between: served %v after the third start",
			seed, round, signal, order, gap, took.Round(time.Millisecond))
		if long && took > servingWithin {
			t.Errorf("served %v after the start that made a quorum; %v is the most", took, servingWithin)
		}
	}
	requests := s.finish(t)
	t.Logf("%d times all nodes down, %d requests; served at the latest %v after the start that made a quorum", n, requests, slowest.Round(time.Millisecond))
	record(t, "outage", fmt.Sprintf("make outage ROUNDS=%d SEED=%d", n, seed), n, requests, map[string]int64{"kill of all nodes": int64(n / 2), "stop of all nodes": int64(n - n/2)})
}

// stopAll ends all nodes, all at once.
func (f *fleet) stopAll(signal syscall.Signal) {
	f.t.Helper()
	for _, m := range f.machines {
		f.signal(m, signal)
	}
	for _, m := range f.machines {
		if err := f.awaitEnd(m); err != nil && signal == syscall.SIGTERM {
			f.t.Errorf("%s ends with %v after SIGTERM", m.name, err)
		}
	}
}

// startAll starts all nodes in an order, with a gap between them, and returns how long after the start that made a quorum the first lock
// was granted. With a gap it has to be granted by that quorum alone: the others are not started before.
func (f *fleet) startAll(t *testing.T, order []int, gap time.Duration) (took time.Duration) {
	t.Helper()
	quorum := len(order)/2 + 1
	var began time.Time
	for _, i := range order[:quorum] {
		if !began.IsZero() && gap > 0 {
			pause := time.NewTimer(gap)
			<-pause.C
		}
		began = time.Now()
		f.start(f.machines[i])
	}
	if gap == 0 {
		for _, i := range order[quorum:] {
			f.start(f.machines[i])
		}
	}
	c, err := client.New(client.Config{Endpoints: clientsOf(f.machines), TTL: longTTL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lock, err := c.Lock(ctx, "first")
	took = time.Since(began)
	if err == nil {
		err = errors.Join(lock.Unlock(ctx), c.Close(ctx))
	}
	if err != nil {
		t.Fatalf("after the start of all, %v later: %v", took, err)
	}
	if gap > 0 {
		for _, i := range order[quorum:] {
			f.start(f.machines[i])
		}
	}
	return took
}

// things are what clients keep while nobody serves.
type things struct {
	reader *client.Client
	locks  []*client.Lock
	leases []*client.Lease
	ids    map[client.SessionID]bool
	load   *load // its requests have patience for an outage
}

// keepThings takes locks and leases, and lets clients take turns beside them.
func keepThings(t *testing.T, endpoints []string) *things {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &things{ids: map[client.SessionID]bool{}, load: &load{
		t: t, endpoints: endpoints, places: map[string]*place{}, done: map[string]int64{}, slowest: map[string]time.Duration{}, end: cancel,
		ttl: longTTL, timeout: longTTL,
	}}
	t.Cleanup(s.load.stop)
	s.reader = s.load.client()
	for i := range 4 {
		c := s.load.client()
		for k := range 5 {
			name := fmt.Sprintf("kept/%d/%d", i, k)
			lock, err := c.Lock(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			s.locks = append(s.locks, lock)
			s.ids[lock.Session().ID()] = true
		}
		lease, err := c.AcquireLease(ctx, fmt.Sprintf("lease/%d", i), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s.leases = append(s.leases, lease)
		s.load.repeat(ctx, func() { s.load.pair(ctx, c, fmt.Sprint("turn/", i%2)) })
	}
	return s
}

// check asks the cluster for everything that is kept, and its holders.
func (s *things) check(t *testing.T) {
	t.Helper()
	kept := func(name string, token uint64, err error) {
		t.Helper()
		check, e := s.reader.CheckToken(t.Context(), name, token)
		if e != nil {
			t.Fatal(e)
		}
		if err != nil || check.Validity != client.TokenValid || check.Newest != token {
			t.Errorf("%s: %v for its holder, the token %d is %v, the newest is %d", name, err, token, check.Validity, check.Newest)
		}
	}
	for _, l := range s.locks {
		kept(l.Name(), l.Token(), l.Err())
	}
	for _, l := range s.leases {
		kept(l.Ref().Name, l.Token(), nil)
	}
	for id := range s.ids {
		if _, err := s.reader.SessionInfo(t.Context(), id); err != nil {
			t.Errorf("session %v: %v", id, err)
		}
	}
}

// finish ends the turns; none may have failed.
func (s *things) finish(t *testing.T) int64 {
	t.Helper()
	s.load.stop()
	s.check(t)
	for _, text := range s.load.failed {
		t.Error(text)
	}
	for _, c := range s.load.clients {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	return s.load.total
}
