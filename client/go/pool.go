package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// The pauses between attempts of a request outside a session.
const (
	retryPause    = 25 * time.Millisecond
	retryPauseMax = 800 * time.Millisecond
)

// pool carries requests that belong to no session, over one connection that all of them share and that is replaced when it does not
// answer. It is safe for concurrent use.
type pool struct {
	c *Client

	mu      sync.Mutex // guards all below
	current *exchange
	dialing *dialing
	avoid   uint64 // the node that did not answer last
}

// dialing is an attempt to connect that several requests wait for.
type dialing struct {
	done chan struct{}
	ex   *exchange
	err  error
}

// exchange is a connection on which requests meet their answers.
type exchange struct {
	*link
	broken chan struct{} // closed when it is

	mu      sync.Mutex // guards all below
	last    uint64     // id
	waiting map[uint64]chan wire.Message
	retired bool // to be closed when nobody waits any more
}

func newExchange(l *link) *exchange {
	return &exchange{link: l, broken: make(chan struct{}), waiting: make(map[uint64]chan wire.Message)}
}

// serve hands out answers until the connection breaks or ctx ends.
func (ex *exchange) serve(ctx context.Context, d *directory) {
	defer close(ex.broken)
	err := ex.run(ctx, func(m wire.Message) {
		if n, ok := m.(*wire.Nodes); ok {
			d.told(n)
		}
		ex.take(m)
	})
	if ctx.Err() == nil {
		d.outcome(ex.endpoint, err)
	}
}

// get returns the connection, or makes one.
func (p *pool) get(ctx context.Context) (*exchange, error) {
	p.mu.Lock()
	if p.current != nil {
		defer p.mu.Unlock()
		return p.current, nil
	}
	d := p.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		p.dialing = d
		avoid := p.avoid
		if !p.c.start(func(ctx context.Context) { p.connect(ctx, d, avoid) }) {
			p.dialing = nil
			p.mu.Unlock()
			return nil, ErrClosed
		}
	}
	p.mu.Unlock()
	select {
	case <-d.done:
		return d.ex, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// connect makes the connection that d waits for, and runs it.
func (p *pool) connect(ctx context.Context, d *dialing, avoid uint64) {
	l, err := p.c.dir.connect(ctx, avoid)
	var ex *exchange
	if err == nil {
		ex = newExchange(l)
	}
	p.mu.Lock()
	d.ex, d.err = ex, err
	p.dialing, p.current = nil, ex
	p.avoid = 0 // once is enough: the next may be the only one that is left
	p.mu.Unlock()
	close(d.done)
	if ex == nil {
		return
	}
	ex.serve(ctx, p.c.dir)
	p.drop(ex)
}

// drop forgets a connection.
func (p *pool) drop(ex *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == ex {
		p.current = nil
	}
}

// retire lets the next request go to another node. The connection ends when all requests on it have.
func (p *pool) retire(ex *exchange) {
	p.mu.Lock()
	if p.current == ex {
		p.current, p.avoid = nil, ex.welcome.Node
	}
	p.mu.Unlock()
	ex.mu.Lock()
	defer ex.mu.Unlock()
	ex.retired = true
	if len(ex.waiting) == 0 {
		ex.close()
	}
}

// take hands an answer to who waits for it.
func (ex *exchange) take(m wire.Message) {
	id, ok := answerTo(m)
	if !ok {
		return
	}
	ex.mu.Lock()
	answer := ex.waiting[id]
	delete(ex.waiting, id)
	ex.mu.Unlock()
	if answer != nil {
		answer <- m // it has room
	}
}

// answerTo returns the id of the request that a message answers.
func answerTo(m wire.Message) (id uint64, ok bool) {
	switch m := m.(type) {
	case *wire.Reply:
		return m.ID, true
	case *wire.Failure:
		return m.ID, true
	case *wire.TokensReply:
		return m.ID, true
	case *wire.LockReply:
		return m.ID, true
	case *wire.ListReply:
		return m.ID, true
	case *wire.SessionReply:
		return m.ID, true
	case *wire.StatusReply:
		return m.ID, true
	default:
		return 0, false
	}
}

// ask sends a request and waits for its answer. sent tells whether it may have reached the node.
func (ex *exchange) ask(ctx context.Context, request func(id uint64) wire.Message) (m wire.Message, sent bool, err error) {
	answer := make(chan wire.Message, 1)
	ex.mu.Lock()
	ex.last++
	id := ex.last
	ex.waiting[id] = answer
	ex.mu.Unlock()
	defer ex.forget(id)
	if err := ex.out.put(request(id)); err != nil {
		return nil, false, err
	}
	ex.out.flush(false)
	select {
	case m = <-answer:
		return m, true, nil
	case <-ex.broken:
		return nil, true, errBroken
	case <-ctx.Done():
		return nil, true, context.Cause(ctx)
	}
}

func (ex *exchange) forget(id uint64) {
	ex.mu.Lock()
	defer ex.mu.Unlock()
	delete(ex.waiting, id)
	if ex.retired && len(ex.waiting) == 0 {
		ex.close()
	}
}

var (
	errBroken = errors.New("the connection broke")
	errSilent = errors.New("no answer in time")
)

// query is a request outside a session, in all its attempts.
type query struct {
	op, name string
	changes  bool // it has an effect, so that it matters whether it was sent
	frees    bool // it makes room, so that it is repeated until there is some for it
	request  func(id uint64) wire.Message
	sent     func(attempt time.Duration) // called before each attempt with the clock's real time; may be nil

	tries   int
	reached bool   // an attempt may have arrived
	unknown bool   // and nobody knows what became of it
	last    *Error // what a node said last
	err     error  // what happened last
}

// ask repeats a request over different nodes until it is answered, refused for good, or ctx ends.
func (c *Client) ask(ctx context.Context, q *query) (wire.Message, error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	for {
		m, wait := c.attempt(ctx, q)
		if m != nil {
			return m, nil
		}
		if round := (*roundError)(nil); q.final() || errors.As(q.err, &round) && round.refused {
			return nil, q.fail(nil)
		}
		if ctx.Err() == nil {
			pause(ctx, q.tries, retryPause, retryPauseMax)
			sleep(ctx, wait)
			q.tries++
		}
		if ctx.Err() != nil {
			return nil, q.fail(context.Cause(ctx))
		}
	}
}

// attempt makes one attempt. Without an answer it tells how long to wait before the next.
func (c *Client) attempt(ctx context.Context, q *query) (m wire.Message, wait time.Duration) {
	ex, err := c.pool.get(ctx)
	if err != nil {
		q.err = err
		return nil, 0
	}
	patient, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, errSilent)
	defer cancel()
	if q.sent != nil {
		q.sent(c.clock.real())
	}
	m, sent, err := ex.ask(patient, q.request)
	q.reached = q.reached || sent
	if err != nil {
		q.err, q.last, q.unknown = err, nil, q.unknown || sent
		if ctx.Err() == nil {
			c.pool.retire(ex)
		}
		return nil, 0
	}
	f, failed := m.(*wire.Failure)
	if !failed {
		return m, 0
	}
	q.last = failure(f, ex.endpoint)
	q.err, q.unknown = q.last, q.unknown || !f.Known
	if f.Code.Advice() == wire.Elsewhere {
		c.pool.retire(ex)
	}
	return nil, f.Wait
}

// final reports whether a node refused for good, or the request cannot be written.
func (q *query) final() bool {
	if format := (*wire.FormatError)(nil); errors.As(q.err, &format) {
		return true
	}
	return q.last != nil && (q.last.final() || !q.frees && q.last.diskFull())
}

// final reports whether the same request would not fare better another time.
func (e *Error) final() bool {
	return e.Known && e.Code != 0 && wire.Code(e.Code).Advice() == wire.Final
}

// diskFull reports whether the cluster has no room for it.
func (e *Error) diskFull() bool { return e.Known && wire.Code(e.Code) == wire.DiskFull }

// fail returns the error of a request that was given up, because of a cause or because it is refused.
func (q *query) fail(cause error) error {
	e := &Error{Known: true, Err: ErrUnavailable}
	switch known := (*Error)(nil); {
	case q.last != nil:
		*e = *q.last
	case errors.As(q.err, &known):
		*e = *known
	case cause == nil:
		e.Err = fmt.Errorf("%w: %w", ErrInvalid, q.err)
	case q.err != nil && !errors.Is(q.err, cause):
		e.Err = fmt.Errorf("%w: %w", ErrUnavailable, q.err)
	}
	switch {
	case errors.Is(cause, ErrClosed):
		e.Err = ErrClosed
	case cause != nil:
		e.Err = fmt.Errorf("%w: %w", cause, e.Err)
	}
	e.Known = !q.changes || !q.unknown
	return e.of(q.op, q.name)
}
