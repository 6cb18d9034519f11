package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/lockd/lockd/internal/wire"
)

// Client reaches a cluster for any number of callers. It is safe for concurrent use.
type Client struct {
	cfg       Config
	clock     clock
	log       *slog.Logger
	dir       *directory
	pool      pool
	telemetry *telemetry
	host      string

	life context.Context // ends with Close
	end  context.CancelCauseFunc

	mu       sync.Mutex     // guards all below
	closed   bool           // no call begins any more
	ended    bool           // nothing is started any more
	running  sync.WaitGroup // of everything that start has started; added to under mu
	standard *Session       // the default one
	sessions map[*Session]struct{}
}

// New returns a client. It does not touch the network.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // it is for people only
	}
	host = host[:min(len(host), 256)]
	cfg.TTL = cmp.Or(cfg.TTL, DefaultTTL)
	cfg.RequestTimeout = cmp.Or(cfg.RequestTimeout, DefaultRequestTimeout)
	cfg.Identity = cmp.Or(cfg.Identity, fmt.Sprintf("%s:%d", host, os.Getpid()))
	instruments, err := newTelemetry(&cfg)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := &Client{
		cfg: cfg, clock: newClock(cfg.Suspended), log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), dir: newDirectory(&cfg),
		telemetry: instruments, host: host, sessions: make(map[*Session]struct{}),
	}
	c.pool.c = c
	c.life, c.end = context.WithCancelCause(context.Background()) //nolint:forbidigo // a Client outlives every call; Close ends it
	return c, nil
}

// Close closes every session, which releases its locks, and every connection. It returns when the cluster has confirmed that, or
// ctx has ended; nothing of the client runs afterwards. The error says that it was not confirmed.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	c.closed = true
	var sessions []*Session
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()
	errs := make([]error, len(sessions))
	var all sync.WaitGroup
	for i, s := range sessions {
		all.Go(func() { errs[i] = s.Close(ctx) })
	}
	all.Wait()
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.end(ErrClosed)
	c.running.Wait()
	return errors.Join(errs...)
}

// start runs f until it returns; its ctx ends with Close, which waits for it. It reports false when that has happened.
func (c *Client) start(f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.running.Go(func() { f(c.life) })
	return true
}

// bound returns a ctx that ends with the client too.
func (c *Client) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(context.Canceled)
	}
}

// metadata says who asks.
func (c *Client) metadata(identity string, trace wire.TraceContext) []byte {
	m := wire.Metadata{Identity: identity, Host: c.host, PID: uint64(os.Getpid()), Trace: trace}
	b, err := m.Encode()
	if err != nil {
		return nil // it is for people only, and its parts are within their bounds
	}
	return b
}
