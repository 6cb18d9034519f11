package tenure_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// world is a node whose Raft does what the test says, with a real table behind it.
type world struct {
	t      *testing.T
	tenure *tenure.Tenure

	tableMu sync.RWMutex
	table   *locktable.Table
	index   raft.Index

	mu        sync.Mutex // guards the fields below
	role      raft.Role
	term      raft.Term
	refuse    error         // of proposals
	silent    bool          // reads are not answered
	readDelay time.Duration // of each read
	viewDelay time.Duration // of each View
	asked     []raft.Proposal
	askedAt   []time.Duration
	reads     int
	transfers int
	answers   []session.Answer
	clocks    []time.Duration
	began     time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, table: locktable.NewTable(), role: raft.Follower, began: time.Now()}
	w.tenure = tenure.New(tenure.Options{Raft: w, State: w, Answer: w.answer})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.tenure.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

func (w *world) since() time.Duration { return time.Since(w.began) }

// set changes what the node does.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// get returns a value that the test needs.
func get[T any](w *world, f func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return f()
}

// elect makes the node leader of a term; its first entry is not applied.
func (w *world) elect(term raft.Term) {
	w.set(func() { w.role, w.term = raft.Leader, term })
	w.tenure.Standing(raft.Standing{Role: raft.Leader, Term: term})
}

func (w *world) depose(term raft.Term) {
	w.set(func() { w.role, w.term = raft.Follower, term })
	w.tenure.Standing(raft.Standing{Role: raft.Follower, Term: term})
}

// lead elects the node and applies its first entry.
func (w *world) lead(term raft.Term) {
	w.elect(term)
	w.apply(term, nil)
	synctest.Wait()
}

// apply applies an entry, as the apply lane does.
func (w *world) apply(term raft.Term, data []byte) (*replica.Outcome, raft.Position) {
	w.tableMu.Lock()
	defer w.tableMu.Unlock()
	w.index++
	told := replica.Applied{Index: w.index, Term: term, Noop: data == nil, Table: w.table}
	outcome := &replica.Outcome{}
	if data != nil {
		applied, err := w.table.Apply(uint64(w.index), uint64(term), data)
		if err != nil {
			panic(err)
		}
		outcome.Reply, told.Effects = applied.Reply, applied.Effects
	}
	w.tenure.Applied(told)
	return outcome, raft.Position{Index: w.index, Term: term}
}

func (w *world) Propose(ctx context.Context, p raft.Proposal) (raft.Result, error) {
	w.mu.Lock()
	w.asked, w.askedAt = append(w.asked, p), append(w.askedAt, w.since())
	err, term := w.refuse, w.term
	switch {
	case err == nil && p.Term != 0 && (p.Term != w.term || w.role != raft.Leader):
		err = raft.ErrTermOver
	case err == nil && w.role != raft.Leader:
		err = &raft.NotLeaderError{}
	}
	w.mu.Unlock()
	if err != nil {
		return raft.Result{}, err
	}
	if ctx.Err() != nil {
		return raft.Result{}, raft.ErrUnknown
	}
	outcome, at := w.apply(term, p.Data)
	return raft.Result{At: at, Value: outcome}, nil
}

func (w *world) Submit(p raft.Proposal, to raft.Waiter) error {
	go func() { to.Proposed(w.Propose(w.t.Context(), p)) }()
	return nil
}

// decided waits for an order.
type decided chan struct{}

func (d decided) Decided() { close(d) }

// propose submits a command and waits for what becomes of it.
func propose(t *tenure.Tenure, data []byte) (tenure.Result, error) {
	told := make(decided)
	o := &tenure.Order{Data: data, Then: told}
	if err := t.Submit(o); err != nil {
		return tenure.Result{}, err
	}
	<-told
	return o.Result()
}

func (w *world) Read(ctx context.Context) (raft.Index, error) {
	w.mu.Lock()
	w.reads++
	silent, delay := w.silent, w.readDelay
	w.mu.Unlock()
	if silent {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	late := time.NewTimer(delay)
	defer late.Stop()
	select {
	case <-late.C:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	w.tableMu.RLock()
	defer w.tableMu.RUnlock()
	return w.index, nil
}

func (w *world) Status(context.Context) (raft.Status, raft.Index, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return raft.Status{Role: w.role, Term: w.term}, 0, nil
}

func (w *world) Transfer(context.Context, raft.PeerID) error {
	w.set(func() { w.transfers++ })
	return nil
}

func (w *world) View(f func(*locktable.Table)) {
	late := time.NewTimer(get(w, func() time.Duration { return w.viewDelay }))
	<-late.C
	w.tableMu.RLock()
	defer w.tableMu.RUnlock()
	f(w.table)
}

func (w *world) answer(clock time.Duration, answers []session.Answer) {
	w.set(func() {
		w.answers = append(w.answers, answers...)
		w.clocks = append(w.clocks, clock)
	})
}

// open opens a session of the usual TTL through the Tenure.
func (w *world) open(n uint64, grace time.Duration) session.Life {
	w.t.Helper()
	var id session.ID
	binary.BigEndian.PutUint64(id[:], n)
	res, err := propose(w.tenure, locktable.Encode(&locktable.Open{ID: id, TTL: ttl, Grace: grace}))
	if err != nil || res.Outcome.Reply.Code != locktable.OK {
		w.t.Fatalf("open: %+v, %v", res, err)
	}
	return session.Life{ID: id, Index: res.Outcome.Reply.Index}
}

func (w *world) alive(life session.Life) bool {
	w.tableMu.RLock()
	defer w.tableMu.RUnlock()
	_, _, ok := w.table.Session(life)
	return ok
}

// endsAt waits until a session has ended, and returns when.
func (w *world) endsAt(life session.Life, most time.Duration) time.Duration {
	w.t.Helper()
	for w.alive(life) {
		if w.since() > most {
			w.t.Fatalf("the session lives after %v", w.since())
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
	}
	return w.since()
}

// expires returns the lives of all Expire commands that were proposed.
func (w *world) expires() (lists [][]session.Life, proposals []raft.Proposal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.asked {
		cmd, err := locktable.Decode(p.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		if e, ok := cmd.(*locktable.Expire); ok {
			lists, proposals = append(lists, e.Lives), append(proposals, p)
		}
	}
	return lists, proposals
}
