package lockd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Errors of a Server.
var (
	// ErrClosed is returned by Run after Close.
	ErrClosed = errors.New("the node was closed")
	// ErrNotRunning is returned by the methods that ask a node that has not begun to run, or has ended.
	ErrNotRunning = errors.New("lockd: the node does not run")
)

// Server is one node of a cluster.
type Server struct {
	config Config

	mu   sync.Mutex // guards the fields below
	used bool
	end  context.CancelCauseFunc // ends the run at once; nil before it
	done chan struct{}           // closed when the run has ended; nil before it
	node *node                   // nil before and after the run
}

// New checks the configuration. It neither listens nor opens the data directory: Run does.
func New(c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("lockd: %w", err)
	}
	return &Server{config: c.filled()}, nil
}

// Run runs the node until ctx ends, and then stops it gracefully: it hands over its leadership, answers what is under way, tells
// its clients to go elsewhere and makes its state durable, all within Config.DrainTimeout. It returns nil then. Any other end is an
// error that says what helps. The first start of a cluster blocks until all its nodes have been started. Run is called once.
func (s *Server) Run(ctx context.Context) error {
	// What runs must outlive ctx by the graceful stop.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	n, err := s.begin(end)
	if err != nil {
		return err
	}
	defer s.over()
	if err := n.run(ctx, life); err != nil {
		return fmt.Errorf("lockd: %w", explain(err, &s.config))
	}
	return nil
}

func (s *Server) begin(end context.CancelCauseFunc) (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.used && s.end == nil: // Close was quicker
		return nil, fmt.Errorf("lockd: %w", ErrClosed)
	case s.used:
		return nil, errors.New("lockd: a Server runs once")
	}
	s.used = true
	s.node, s.end, s.done = newNode(&s.config, end), end, make(chan struct{})
	return s.node, nil
}

func (s *Server) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = nil
	close(s.done)
}

// Close stops the node at once, as a crash would: nothing is handed over, nobody is told. Run then returns ErrClosed. It also cuts
// short a graceful stop. Close returns when Run has, and never fails.
func (s *Server) Close() error {
	s.mu.Lock()
	s.used = true
	end, done := s.end, s.done
	s.mu.Unlock()
	if end != nil {
		end(ErrClosed)
		<-done
	}
	return nil
}

// current returns the node that runs.
func (s *Server) current() (*node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		return nil, ErrNotRunning
	}
	return s.node, nil
}

// open returns the node that runs, once it listens.
func (s *Server) open() (*node, error) {
	n, err := s.current()
	if err == nil && !n.hasOpened() {
		err = ErrNotRunning
	}
	return n, err
}

// Addresses returns where the node listens; they are empty until it does.
func (s *Server) Addresses() Addresses {
	n, err := s.current()
	if err != nil {
		return Addresses{}
	}
	return n.listens()
}

// Status describes the node as it is. It blocks for a turn of its loop at most.
func (s *Server) Status(ctx context.Context) (NodeStatus, error) {
	n, err := s.current()
	if err != nil {
		return NodeStatus{}, err
	}
	return n.status(ctx)
}

// HandOver gives leadership to another node, if this one has it, so that clients miss a round trip instead of an election. It blocks
// until the other one leads. An error, such as the cause of ctx, says that nobody has taken over so far; this node may lead on then.
// In a cluster of one node nothing happens.
func (s *Server) HandOver(ctx context.Context) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	if !n.hasJoined() {
		return errJoining
	}
	return n.handOver(ctx)
}

// SaveSnapshot writes the present state to w, as a stream that Restore takes. It may take seconds; nothing waits for it. After an
// error what was written is of no use.
func (s *Server) SaveSnapshot(ctx context.Context, w io.Writer) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	return n.save(ctx, w)
}
