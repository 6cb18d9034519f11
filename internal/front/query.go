package front

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// query is a request that changes nothing.
type query struct {
	id      uint64
	trace   wire.TraceContext
	name    string // of the lock that it is about, if it is about one
	stale   bool   // it is answered from what this node has applied
	asked   wire.Message
	arrived time.Time
	span    trace.Span
}

// queryOf returns the query that a message is; ok is false if it is none.
func queryOf(m wire.Message) (q *query, ok bool) {
	q = &query{asked: m}
	switch m := m.(type) {
	case *wire.CheckTokens:
		q.id, q.trace = m.ID, m.Trace
	case *wire.Get:
		q.id, q.trace, q.stale, q.name = m.ID, m.Trace, m.Stale, m.Name
	case *wire.List:
		q.id, q.trace, q.stale = m.ID, m.Trace, m.Stale
	case *wire.GetSession:
		q.id, q.trace, q.stale = m.ID, m.Trace, m.Stale
	case *wire.ListSessions:
		q.id, q.trace, q.stale = m.ID, m.Trace, m.Stale
	case *wire.Status:
		q.id, q.trace, q.stale = m.ID, m.Trace, true
	default:
		return nil, false
	}
	return q, true
}

// turns are queries of one connection that are answered one after the other, so that no more than one answer at a time is larger
// than what the client has room for. Their goroutine exists only while there are any.
type turns struct {
	mu      sync.Mutex // guards the fields below
	queue   []*query
	running bool
}

// query lets a query wait for its turn: those that need the leader do not hold up those that do not.
func (c *client) query(ctx context.Context, q *query) {
	if v := c.admit(); v != nil {
		c.refuse(q.asked.Type(), q.id, v)
		return
	}
	q.arrived = time.Now()
	q.span = c.f.startSpan(ctx, q.asked.Type(), q.trace, q.name)
	t := &c.reads
	if q.stale {
		t = &c.views
	}
	if *t == nil {
		*t = &turns{}
	}
	(*t).add(q, func(queries []*query) { c.serveQueries(ctx, queries) }, &c.f.wg)
}

func (t *turns) add(q *query, serve func([]*query), wg *sync.WaitGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, q)
	if t.running {
		return
	}
	t.running = true
	wg.Go(func() {
		for {
			t.mu.Lock()
			queries := t.queue
			t.queue = nil
			t.running = len(queries) > 0
			t.mu.Unlock()
			if len(queries) == 0 {
				return
			}
			serve(queries)
		}
	})
}

// serveQueries answers queries, all of them stale or none, after one look at where the log is.
func (c *client) serveQueries(ctx context.Context, queries []*query) {
	var refused *verdict
	if !queries[0].stale {
		refused = c.f.readIndex(ctx)
	}
	for _, q := range queries {
		if err := c.waitRoom(); err != nil {
			refused = refusal(wire.ShuttingDown, 0, "the connection is being closed")
		}
		v := refused
		var m wire.Message
		if v == nil {
			m, v = c.f.view(ctx, q)
		}
		if v != nil {
			m = v.failure(q.id)
		} else {
			v = &verdict{outcome: wire.Outcome{Code: wire.OK}}
		}
		endSpan(q.span, v)
		c.leaves(q.asked.Type(), v.outcome.Code, q.name, q.arrived)
		c.send(m)
		c.f.answered()
	}
}

// readIndex waits until this node has applied all that was answered anywhere before.
func (f *Front) readIndex(ctx context.Context) *verdict {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	began := time.Now()
	_, err := f.o.Raft.Read(ctx)
	switch {
	case err == nil:
		f.fresh.note(began)
		return nil
	case errors.Is(err, raft.ErrClosed), errors.Is(err, context.Canceled):
		return refusal(wire.ShuttingDown, 0, "the node is shutting down")
	case errors.Is(err, context.DeadlineExceeded):
		return refusal(wire.NoLeader, leaderless, "no leader has confirmed the read within "+leaderWait.String())
	}
	return refusal(wire.NoLeader, leaderless, err.Error())
}

// view answers a query from the state.
func (f *Front) view(ctx context.Context, q *query) (m wire.Message, v *verdict) {
	if ask, ok := q.asked.(*wire.Status); ok {
		return f.status(ctx, ask)
	}
	var age time.Duration
	if q.stale {
		age = f.age(ctx)
	}
	f.o.State.View(func(t *locktable.Table) {
		index, _ := t.Index()
		clock := f.clockOf(t)
		switch ask := q.asked.(type) {
		case *wire.CheckTokens:
			m = &wire.TokensReply{ID: q.id, Index: index, Clock: clock, Checks: checkTokens(t, ask)}
		case *wire.Get:
			lock, found := getLock(t, ask)
			m = &wire.LockReply{ID: q.id, Index: index, Clock: clock, Age: age, Found: found, Lock: lock}
		case *wire.List:
			locks, more := listLocks(t, ask)
			m = &wire.ListReply{ID: q.id, Index: index, Clock: clock, Age: age, More: more, Locks: locks}
		case *wire.GetSession:
			m = &wire.SessionReply{ID: q.id, Index: index, Clock: clock, Age: age, Sessions: getSession(t, ask)}
		case *wire.ListSessions:
			sessions, more := listSessions(t, ask)
			m = &wire.SessionReply{ID: q.id, Index: index, Clock: clock, Age: age, More: more, Sessions: sessions}
		}
	})
	return m, nil
}

// status tells how this node is, by its own knowledge.
func (f *Front) status(ctx context.Context, ask *wire.Status) (wire.Message, *verdict) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	s, _, err := f.o.Raft.Status(ctx)
	if err != nil {
		return nil, refusal(wire.ShuttingDown, leaderless, err.Error())
	}
	m := &wire.StatusReply{
		ID: ask.ID, Node: uint64(f.o.Peer.Node), Leader: uint64(s.Leader.Node), Term: uint64(s.Term), Commit: uint64(s.Commit),
		Agent: f.o.Agent,
	}
	f.o.State.View(func(t *locktable.Table) {
		locks, living, _ := t.Len()
		m.Index, _ = t.Index()
		m.Clock, m.Locks, m.Sessions = f.clockOf(t), uint64(locks), uint64(living)
	})
	return m, nil
}

// freshness knows how old the applied state may be: there was a moment at which nothing was committed that it lacks.
type freshness struct {
	began   time.Time
	known   atomic.Int64 // that moment, since began; zero: there was none
	probing atomic.Bool
}

// note tells that the state holds all that was committed at this time.
func (s *freshness) note(at time.Time) {
	since := int64(at.Sub(s.began))
	for {
		known := s.known.Load()
		if since <= known || s.known.CompareAndSwap(known, since) {
			return
		}
	}
}

// ageMost is how old a state may be told to be before it is looked after.
const ageMost = 100 * time.Millisecond

// age returns how old the state may be, the longest time there is if nobody knows. If that is much, it makes sure that the next one
// who asks hears less.
func (f *Front) age(ctx context.Context) time.Duration {
	age := wire.Forever
	if known := f.fresh.known.Load(); known > 0 {
		age = max(0, time.Since(f.fresh.began)-time.Duration(known))
	}
	if age > ageMost && f.fresh.probing.CompareAndSwap(false, true) {
		f.wg.Go(func() {
			defer f.fresh.probing.Store(false)
			_ = f.readIndex(ctx) // it may fail: then the state goes on ageing
		})
	}
	return age
}
