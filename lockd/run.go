package lockd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lockd/lockd/raft"
)

// parts are goroutines that end together. One that ends before it is told to ends the node.
type parts struct {
	wg   sync.WaitGroup
	fail context.CancelCauseFunc
}

func (p *parts) run(ctx context.Context, what string, f func(ctx context.Context) error) {
	p.wg.Go(func() {
		err := f(ctx)
		switch {
		case err != nil:
			p.fail(fmt.Errorf("%s: %w", what, err))
		case ctx.Err() == nil:
			p.fail(fmt.Errorf("%s has ended by itself", what))
		}
	})
}

// run is the life of the node. It returns nil when ctx has ended and the node has stopped gracefully.
func (n *node) run(ctx, life context.Context) (err error) {
	defer func() {
		n.fail(nil) // nothing outlives it
		err = errors.Join(err, n.close())
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	serving := &parts{fail: n.fail}
	defer serving.wg.Wait()
	serve, stop := context.WithCancel(life)
	defer stop()
	if n.http != nil {
		serving.run(serve, "the HTTP port", func(ctx context.Context) error { return serveAdmin(ctx, n.http, n.admin(), n.log) })
	}
	if n.gossip != nil {
		serving.run(serve, "gossip", n.gossip.Run)
	}
	joining, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	switch err := n.join(joining); {
	case err == nil:
		return n.serve(ctx, life, serve, serving, stop)
	case life.Err() != nil:
		return context.Cause(life)
	case ctx.Err() != nil:
		n.log.Info("stopped before the cluster was complete", slog.Any("error", err))
		return nil
	default:
		return err
	}
}

// serve runs until ctx or the life of the node ends, and then stops what runs in the order in which it depends on each other.
func (n *node) serve(ctx, life, serve context.Context, serving *parts, stop context.CancelFunc) error {
	unobserve, err := n.observe()
	if err != nil {
		return errors.Join(err, n.raft.Close())
	}
	keeping := &parts{fail: n.fail}
	keep, stopKeeping := context.WithCancel(context.WithoutCancel(life))
	defer stopKeeping()
	keeping.run(keep, "the state", n.state.Run)
	serving.run(serve, "the leader's work", n.tenure.Run)
	serving.run(serve, "the client port", n.front.Run)
	serving.run(serve, "the directory of nodes", n.directory.run)
	serving.run(serve, "the watch of the disk", n.disk.run)
	serving.run(serve, "the watch of the cluster", n.follow)
	serving.run(serve, "the watch of the address", n.sayMoves)
	serving.run(serve, "the care of the cluster", newSteward(n).run)
	serving.wg.Go(func() { n.awaitReady(serve) })
	serving.wg.Go(func() { n.awaitFailure(serve) })

	select {
	case <-life.Done():
	case <-ctx.Done():
		n.retire(life)
	}
	err = errors.Join(context.Cause(life), unobserve())
	stop()
	serving.wg.Wait()
	closed := n.raft.Close() // before the store: nothing may be sent or applied once it is closed
	stopKeeping()
	keeping.wg.Wait()
	if err == nil {
		err = errors.Join(context.Cause(life), closed)
	}
	n.log.Info("stopped", slog.Bool("gracefully", err == nil))
	return err
}

// observe shows the node's gauges until the function that it returns is called.
func (n *node) observe() (stop func() error, err error) {
	o := observed{Table: n.state.View, Status: n.raft.Status, Name: n.nameOf, Gossip: n.gossip}
	if !n.config.Memory {
		o.Free = n.disk.free
	}
	return n.metrics.observe(o)
}

// retire hands over and lets the clients go, within the time there is for it.
func (n *node) retire(life context.Context) {
	n.log.Info("stopping")
	ctx, cancel := context.WithTimeoutCause(life, n.config.DrainTimeout, errDrainTimeout)
	defer cancel()
	if n.config.LeaveOnTerminate {
		n.leave(ctx)
	}
	if err := n.handOver(ctx); err != nil {
		n.log.Warn("nobody has taken over leadership yet", slog.Any("error", err))
	}
	if err := n.front.Drain(ctx); err != nil {
		n.log.Warn("not every client has gone in peace", slog.Any("error", err))
	}
}

var errDrainTimeout = errors.New("the time for a graceful stop is over")

// handOver gives leadership to another node and lets that begin, so that clients miss a round trip instead of an election. Where all
// nodes stop at once there is nobody to wait for.
func (n *node) handOver(ctx context.Context) error {
	if n.standing.now().Role != raft.Leader || n.alone(ctx) {
		return nil
	}
	err := n.raft.Transfer(ctx, raft.PeerID{})
	if err == nil {
		err = n.await(ctx, n.config.ElectionTimeout, func(s raft.Standing) bool { return s.Role != raft.Leader })
	}
	if err == nil {
		err = n.await(ctx, 5*n.config.Heartbeat, func(s raft.Standing) bool { return !s.Leader.IsZero() })
	}
	return err
}

func (n *node) await(ctx context.Context, most time.Duration, wanted func(raft.Standing) bool) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return n.standing.wait(ctx, wanted)
}

// alone reports whether nobody else votes.
func (n *node) alone(ctx context.Context) bool {
	s, _, err := n.raft.Status(ctx)
	return err == nil && len(s.Config.Voters) == 1
}

// awaitReady tells when the node serves: it knows a leader, and has applied what that had committed.
func (n *node) awaitReady(ctx context.Context) {
	if _, err := n.raft.Read(ctx); err != nil {
		return // awaitFailure tells why
	}
	if n.config.Ready != nil {
		n.config.Ready(n.listens())
	}
}

// awaitFailure ends the node with its raft.
func (n *node) awaitFailure(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-n.raft.Done():
		n.fail(n.raft.Err())
	}
}
