package lockd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// observeTimeout bounds the wait for the node's loop when its state is asked for.
const observeTimeout = time.Second

// observed is where a node's gauges come from. They are asked for when somebody looks, not before.
type observed struct {
	Table  func(f func(t *locktable.Table))
	Status func(ctx context.Context) (raft.Status, raft.Index, error)
	Name   func(raft.PeerID) string
	Free   func() (uint64, error) // bytes of disk; nil: there is none
	Gossip *membership.Gossip     // nil: there is none
}

// gauges are the instruments that show a node's state.
type gauges struct {
	locks, holds, waiters, sessions, dead     metric.Int64ObservableGauge
	leads, term, commit, applied, ready, lags metric.Int64ObservableGauge
	connections, free                         metric.Int64ObservableGauge
	elections                                 electionCounters
	gossip                                    gossipInstruments
}

// observe shows the state of a node until the function that it returns is called.
func (m *metrics) observe(o observed) (stop func() error, err error) {
	var g gauges
	k := &observableMaker{meter: m.meter}
	gauge := func(to *metric.Int64ObservableGauge, name, unit, description string) {
		*to = k.gauge(name, unit, description)
	}
	gauge(&g.locks, "lockd.locks", "{lock}", "Locks that are held or waited for. Every node tells the same.")
	gauge(&g.holds, "lockd.holds", "{hold}", "Holds. Every node tells the same.")
	gauge(&g.waiters, "lockd.waiters", "{waiter}", "Requests that wait for a lock. Every node tells the same.")
	gauge(&g.sessions, "lockd.sessions", "{session}", "Sessions that live. Every node tells the same.")
	gauge(&g.dead, "lockd.sessions.dead", "{session}", "Sessions that have ended and whose records are still to be collected.")
	gauge(&g.leads, "lockd.raft.is_leader", "", "1 on the leader, 0 elsewhere.")
	gauge(&g.ready, "lockd.raft.has_leader", "", "1 if the node knows a leader.")
	gauge(&g.term, "lockd.raft.term", "{term}", "Raft's term.")
	gauge(&g.commit, "lockd.raft.commit.index", "{entry}", "The last entry that the node knows to be committed.")
	gauge(&g.applied, "lockd.raft.applied.index", "{entry}", "The last entry that the node has applied.")
	gauge(&g.lags, "lockd.raft.follower.lag", "{entry}", "Entries that the leader has and a follower is not known to have.")
	gauge(&g.connections, "lockd.connections", "{connection}", "Connections on the client port.")
	gauge(&g.free, "lockd.disk.free", "By", "Free space where the data directory is.")
	g.elections.make(k)
	if o.Gossip != nil {
		g.gossip.make(k)
	}
	if err := errors.Join(k.errs...); err != nil {
		return nil, fmt.Errorf("lockd: make gauges: %w", err)
	}
	registration, err := m.meter.RegisterCallback(func(ctx context.Context, to metric.Observer) error {
		g.observeTable(to, o)
		m.observeConnections(to, g.connections)
		if o.Gossip != nil {
			g.gossip.observe(to, o.Gossip)
		}
		if o.Free != nil {
			if free, err := o.Free(); err == nil {
				to.ObserveInt64(g.free, int64(free))
			}
		}
		return g.observeRaft(ctx, to, o)
	}, k.made...)
	if err != nil {
		return nil, fmt.Errorf("lockd: register gauges: %w", err)
	}
	return registration.Unregister, nil
}

func (g *gauges) observeTable(to metric.Observer, o observed) {
	o.Table(func(t *locktable.Table) {
		locks, living, dead := t.Len()
		holds, waits := t.Totals()
		to.ObserveInt64(g.locks, int64(locks))
		to.ObserveInt64(g.holds, int64(holds))
		to.ObserveInt64(g.waiters, int64(waits))
		to.ObserveInt64(g.sessions, int64(living))
		to.ObserveInt64(g.dead, int64(dead))
	})
}

func (m *metrics) observeConnections(to metric.Observer, gauge metric.Int64ObservableGauge) {
	to.ObserveInt64(gauge, m.clients.Load(), metric.WithAttributes(attribute.String("lockd.role", "client")))
	to.ObserveInt64(gauge, m.nodes.Load(), metric.WithAttributes(attribute.String("lockd.role", "node")))
}

// observeRaft asks the node's loop. Without an answer its gauges are missing, which shows that something is wrong.
func (g *gauges) observeRaft(ctx context.Context, to metric.Observer, o observed) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	status, applied, err := o.Status(ctx)
	if err != nil {
		return fmt.Errorf("lockd: gauges of raft: %w", err)
	}
	to.ObserveInt64(g.leads, one(status.Role == raft.Leader))
	to.ObserveInt64(g.ready, one(!status.Leader.IsZero()))
	to.ObserveInt64(g.term, int64(status.Term))
	to.ObserveInt64(g.commit, int64(status.Commit))
	to.ObserveInt64(g.applied, int64(applied))
	g.elections.observe(to, status.Elections)
	for _, p := range status.Peers {
		if p.ID != status.ID {
			lag := max(int64(status.Last.Index)-int64(p.Match), 0)
			to.ObserveInt64(g.lags, lag, metric.WithAttributes(attribute.String("lockd.node.name", o.Name(p.ID))))
		}
	}
	return nil
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
