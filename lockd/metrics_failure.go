package lockd

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// electionCounters show what led to elections.
type electionCounters struct {
	hints, campaigns, won, early metric.Int64ObservableCounter
	causes                       [raft.Causes]metric.MeasurementOption
}

func (e *electionCounters) make(k *observableMaker) {
	for c := range raft.Causes {
		e.causes[c] = metric.WithAttributeSet(attribute.NewSet(attribute.String("lockd.cause", c.String())))
	}
	e.hints = k.counter("lockd.raft.hints", "{hint}", "Hints that the leader is gone which brought an election forward, unless it was heard again in time.")
	e.campaigns = k.counter("lockd.raft.campaigns", "{campaign}", "Times that this node asked the others for their votes.")
	e.won = k.counter("lockd.raft.elections.won", "{election}", "Elections that this node has won.")
	e.early = k.counter("lockd.raft.early_votes", "{vote}", "Votes that this node promised to another because of a hint alone.")
}

func (e *electionCounters) observe(to metric.Observer, n raft.Elections) {
	for c := range raft.Causes {
		if c.IsHint() {
			to.ObserveInt64(e.hints, int64(n.Hints[c]), e.causes[c])
		}
		to.ObserveInt64(e.campaigns, int64(n.Campaigns[c]), e.causes[c])
		to.ObserveInt64(e.won, int64(n.Won[c]), e.causes[c])
	}
	to.ObserveInt64(e.early, int64(n.EarlyVotes))
}

// gossipInstruments show what gossip sees.
type gossipInstruments struct {
	health, members                   metric.Int64ObservableGauge
	suspicions, failures, refutations metric.Int64ObservableCounter
}

func (g *gossipInstruments) make(k *observableMaker) {
	g.health = k.gauge("lockd.gossip.health_score", "", "0 while the node keeps up with its own probes, up to 7. Above 0 nobody believes its suspicions.")
	g.members = k.gauge("lockd.gossip.members", "{member}", "Members that the node knows, itself too.")
	g.suspicions = k.counter("lockd.gossip.suspicions", "{suspicion}", "Members that did not answer a probe.")
	g.failures = k.counter("lockd.gossip.failures", "{failure}", "Members that were taken for dead.")
	g.refutations = k.counter("lockd.gossip.refutations", "{refutation}", "Times that others took this node for dead, or suspected it, and it told them otherwise.")
}

func (g *gossipInstruments) observe(to metric.Observer, from *membership.Gossip) {
	count := map[membership.Status]int64{membership.Alive: 0, membership.Failed: 0, membership.Left: 0}
	for _, m := range from.Members() {
		count[m.Status]++
	}
	for status, n := range count {
		to.ObserveInt64(g.members, n, metric.WithAttributes(attribute.String("lockd.member.status", status.String())))
	}
	seen := from.Counts()
	to.ObserveInt64(g.health, int64(from.Health()))
	to.ObserveInt64(g.suspicions, int64(seen.Suspicions))
	to.ObserveInt64(g.failures, int64(seen.Failures))
	to.ObserveInt64(g.refutations, int64(seen.Refutations))
}

// observableMaker makes instruments that are asked for their values, and collects what goes wrong.
type observableMaker struct {
	meter metric.Meter
	made  []metric.Observable
	errs  []error
}

func (k *observableMaker) counter(name, unit, description string) metric.Int64ObservableCounter {
	c, err := k.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	k.made, k.errs = append(k.made, c), append(k.errs, err)
	return c
}

func (k *observableMaker) gauge(name, unit, description string) metric.Int64ObservableGauge {
	g, err := k.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	k.made, k.errs = append(k.made, g), append(k.errs, err)
	return g
}
