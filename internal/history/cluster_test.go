package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestCluster records three real nodes and real clients, while leaders crash and clients are cut off, and checks what they did.
func TestCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startRun(t, 6, func(d time.Duration) { time.Sleep(d) })
		for round := range 4 {
			time.Sleep(1500 * time.Millisecond)
			leader := c.leader()
			c.nodes.Crash(leader)
			cut := fmt.Sprint("client", round)
			for i := range 3 {
				c.nodes.Net.Cut(cut, c.nodes.Name(i))
			}
			time.Sleep(2500 * time.Millisecond)
			c.nodes.Run(leader)
			c.nodes.WaitReady()
			for i := range 3 {
				c.nodes.Net.Heal(cut, c.nodes.Name(i))
			}
		}
		v := c.end()
		if err := v.Err(); err != nil {
			t.Error(err)
		}
		if v.Expiries < 1 || v.Reads < 20 || v.Renewals < 50 || v.Answers < 500 {
			t.Errorf("that is too little: %+v", *v)
		}
		t.Logf("%+v", *v)
	})
}

// clusterRun is a cluster with clients that record.
type clusterRun struct {
	t        *testing.T
	dir      string
	pass     func(time.Duration) // lets time pass in the bubble
	nodes    *testcluster.Cluster
	auditors []*Auditor
	files    []string
	stop     context.CancelFunc
	workers  sync.WaitGroup
	resource fenced
}

// fenced is a resource that checks tokens.
type fenced struct {
	mu                    sync.Mutex // guards the fields below
	highest, value, order uint64
}

func (f *fenced) read() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value
}

func (f *fenced) write(token, value uint64) (order uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if token < f.highest {
		return 0, false
	}
	f.highest, f.value, f.order = token, value, f.order+1
	return f.order, true
}

func startRun(t *testing.T, clients int, pass func(time.Duration)) *clusterRun {
	c := &clusterRun{t: t, dir: t.TempDir(), pass: pass}
	begin := time.Now()
	clock := func() int64 { return int64(time.Since(begin)) + 1 }
	for i := range 3 {
		a, err := OpenAuditor(filepath.Join(c.dir, fmt.Sprint("audit-", i)), fmt.Sprint("n", i))
		if err != nil {
			t.Fatal(err)
		}
		a.UseClock(clock)
		c.auditors = append(c.auditors, a)
	}
	c.nodes = testcluster.StartBubble(t, 3, func(i int, cfg *lockd.Config) { cfg.Applied = c.auditors[i].Applied })
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for i := range clients {
		r := c.recorder(fmt.Sprint("client", i), clock)
		c.workers.Go(func() { c.work(ctx, i, r) })
	}
	return c
}

func (c *clusterRun) recorder(name string, clock func() int64) *Recorder {
	path := filepath.Join(c.dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = f.Close() })
	c.files = append(c.files, path)
	r := NewRecorder(f, name)
	r.UseClock(clock)
	return r
}

func (c *clusterRun) leader() int {
	for i := range 3 {
		if s, err := c.nodes.Server(i).Status(c.t.Context()); err == nil && s.Role == "leader" {
			return i
		}
	}
	c.t.Fatal("nobody leads")
	return 0
}

// work is a client that does one thing after the other.
func (c *clusterRun) work(ctx context.Context, i int, r *Recorder) {
	cl, err := client.New(client.Config{
		Endpoints: c.nodes.Endpoints(), TTL: time.Second, Dial: r.Dial(c.nodes.Net.Host(fmt.Sprint("client", i)).Dial),
	})
	if err != nil {
		c.t.Error(err)
		return
	}
	defer func() { _ = cl.Close(context.WithoutCancel(ctx)) }() // a client that was cut off may not be able to
	dice := rand.New(rand.NewPCG(uint64(i), 5))
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("k%d/%d", dice.IntN(2), n/20)
		short, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
		switch dice.IntN(6) {
		case 0:
			c.query(short, cl, r, key)
		case 1:
			c.lock(short, cl, r, Operation{Kind: Acquire, Keys: []string{"s"}, Mode: Shared}, dice, client.Shared())
		case 2:
			c.lock(short, cl, r, Operation{Kind: Acquire, Keys: []string{"n"}, Mode: Slot, Limit: 2}, dice, client.Slots(2))
		case 3:
			c.lease(short, cl, r, dice)
		case 4:
			c.lock(short, cl, r, Operation{Kind: Acquire, Keys: []string{key}, Mode: Exclusive, Try: true}, dice)
		default:
			c.lock(short, cl, r, Operation{Kind: Acquire, Keys: []string{"counter"}, Mode: Exclusive}, dice)
		}
		cancel()
	}
	if err := r.Err(); err != nil {
		c.t.Error(err)
	}
}

func (c *clusterRun) query(ctx context.Context, cl *client.Client, r *Recorder, key string) {
	p := r.Begin(Operation{Kind: Query, Keys: []string{key}})
	info, err := cl.Get(ctx, key)
	if errors.Is(err, client.ErrNotFound) {
		err = nil
	}
	if err != nil {
		p.Done(err)
		return
	}
	p.End(OK, "", func(o *Operation) { o.Index, o.Token = info.Index, holderOf(info) })
}

func holderOf(info client.LockInfo) (token uint64) {
	for _, h := range info.Holders {
		token = h.Token
	}
	return token
}

func (c *clusterRun) lock(ctx context.Context, cl *client.Client, r *Recorder, o Operation, dice *rand.Rand, opts ...client.Option) {
	p := r.Begin(o)
	lock := cl.Lock
	if o.Try {
		lock = cl.TryLock
	}
	l, err := lock(ctx, o.Keys[0], opts...)
	p.Granted(l, err)
	if err != nil {
		return
	}
	if o.Keys[0] == "counter" {
		c.write(r, l, dice)
	}
	c.pass(time.Duration(dice.IntN(20)) * time.Millisecond)
	if dice.IntN(30) == 0 {
		select {
		case <-l.Context().Done():
			r.Note(Operation{Kind: Lost, Keys: o.Keys, Token: l.Token()})
			return
		case <-time.After(2 * time.Second):
			if ctx.Err() != nil { // the release is to be answered
				ctx = context.WithoutCancel(ctx)
			}
		}
	}
	r.Believes(l, o.Keys...)
	q := r.Begin(Operation{Kind: Release, Keys: o.Keys, Token: l.Token()})
	q.Done(l.Unlock(ctx))
}

func (c *clusterRun) write(r *Recorder, l *client.Lock, dice *rand.Rand) {
	for range 3 {
		value := c.resource.read()
		p := r.Begin(Operation{Kind: Write, Keys: []string{"resource"}, Token: l.Token()})
		c.pass(time.Duration(dice.IntN(10)) * time.Millisecond)
		if l.Err() != nil {
			p.End(Refused, "lost", nil)
			return
		}
		order, ok := c.resource.write(l.Token(), value+1)
		if !ok {
			p.End(Refused, "stale", nil)
			return
		}
		p.End(OK, "", func(o *Operation) { o.Before, o.Order = value, order })
	}
}

func (c *clusterRun) lease(ctx context.Context, cl *client.Client, r *Recorder, dice *rand.Rand) {
	keys := []string{"lease"}
	p := r.Begin(Operation{Kind: Acquire, Keys: keys, Mode: Exclusive, Lease: true})
	l, err := cl.AcquireLease(ctx, "lease", time.Second)
	p.Granted(l, err)
	if err != nil {
		return
	}
	if dice.IntN(2) == 0 {
		p = r.Begin(Operation{Kind: Renew, Keys: keys, Token: l.Token(), Lease: true})
		p.Granted(l, l.Renew(ctx, 2*time.Second))
	}
	if dice.IntN(2) == 0 {
		p = r.Begin(Operation{Kind: HandOn, Keys: keys, Before: l.Token(), Mode: Exclusive, Lease: true})
		next, err := l.HandOn(ctx, time.Second)
		p.Granted(next, err)
		if err != nil {
			return
		}
		l = next
	}
	p = r.Begin(Operation{Kind: Release, Keys: keys, Token: l.Token(), Lease: true})
	p.Done(l.Release(ctx))
}

// end ends the clients and checks everything.
func (c *clusterRun) end() *Verdict {
	c.stop()
	c.workers.Wait()
	time.Sleep(3 * time.Second) // whatever the clients left behind expires
	synctest.Wait()
	h, err := Read(c.files...)
	if err != nil {
		c.t.Fatal(err)
	}
	var audits []*Audit
	for i, a := range c.auditors {
		audit, err := ReadAudit(filepath.Join(c.dir, fmt.Sprint("audit-", i)))
		if err != nil {
			c.t.Fatal(err)
		}
		audits = append(audits, audit)
		c.t.Cleanup(func() {
			if err := a.Close(); err != nil {
				c.t.Error(err)
			}
		})
	}
	v, err := Check(h, audits, Options{
		Minimum: Minimum{Operations: 500, Grants: 200, Writes: 50, Searched: 20, Kinds: map[Kind]int64{Renew: 5, HandOn: 5, Query: 30}},
		Faults:  map[string]int64{"leader crashes": 4}, Late: 2 * time.Second, Dir: c.dir,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if slices.ContainsFunc(audits, func(a *Audit) bool { return len(a.Entries) == 0 }) {
		c.t.Error("a node has audited nothing")
	}
	return v
}
