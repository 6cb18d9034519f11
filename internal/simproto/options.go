package simproto

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/session"
)

// Options are what a seed draws: how large the world is, how bad its network, and which faults it knows. Probabilities are in
// 1,000. The times of faults are means; 0 means that the world does not know the fault.
type Options struct {
	Programs simworld.Options
	Nodes    int

	SyncMost  time.Duration
	Heartbeat time.Duration
	Batch     time.Duration // nodes send KeepAlives on in batches
	DelayMost time.Duration // of a message between nodes

	Loss, Double, Late int
	LateMost           time.Duration

	Election, Depose, Crash, NodePause, Lag, Cut time.Duration

	Faulty time.Duration // length of the phase with faults
}

// FaultKinds are the names under which Stats counts what went wrong. A run over many seeds must meet each of them.
var FaultKinds = []string{
	"election", "deposed leader", "crash", "node pause", "apply lag", "cut", "break", "client pause", "suspend", "kill",
	"loss", "double", "late", "stream stall", "stale leader", "lost tail", "old tail committed", "expired",
	"session lost", "abandoned", "second node",
}

// draw draws the options of a seed.
func draw(rng *rand.Rand) Options {
	pick := func(ds ...time.Duration) time.Duration { return ds[rng.IntN(len(ds))] }
	const ms, s = time.Millisecond, time.Second
	o := Options{Nodes: 3, Programs: simworld.Options{
		Clients: 2 + rng.IntN(4), Workers: 1 + rng.IntN(3), Names: 1 + rng.IntN(3),
		TTL:   pick(session.TTLMin, session.TTLMin, 1500*ms, 3*s, 6*s),
		Grace: []int{0, 0, 300, 1000}[rng.IntN(4)],
		Drift: []int{0, 500, 4_900}[rng.IntN(3)],
	}}
	p := &o.Programs
	o.SyncMost, o.Heartbeat, o.Batch = pick(ms, 5*ms, 100*ms, 800*ms), pick(50*ms, 100*ms, 200*ms), pick(10*ms, 100*ms)
	o.DelayMost, p.StreamMost, p.NoticeMost = pick(ms, 10*ms, 150*ms), pick(ms, 20*ms), pick(10*ms, s, 5*s)
	o.Loss, o.Double = []int{0, 10, 100, 300}[rng.IntN(4)], []int{0, 50, 300}[rng.IntN(3)]
	o.Late, p.Stall, o.LateMost = []int{0, 5, 50}[rng.IntN(3)], []int{0, 2, 20}[rng.IntN(3)], pick(s, 5*s, 20*s)
	p.LateMost = o.LateMost
	p.Hold, p.Think, p.Abandon = pick(10*ms, 200*ms, 2*s), pick(ms, 50*ms, 500*ms), []int{0, 50, 400}[rng.IntN(3)]
	o.Faulty = pick(10*s, 20*s, 40*s)
	if rng.IntN(4) == 0 {
		o.Nodes = 5
	}
	for _, fault := range []*time.Duration{
		&o.Election, &o.Depose, &o.Crash, &o.NodePause, &o.Lag, &o.Cut, &p.Break, &p.ClientPause, &p.Suspend, &p.Kill,
	} {
		*fault = pick(0, 0, p.TTL, 3*p.TTL, 10*p.TTL)
	}
	return o
}

// inTime reports whether without faults every KeepAlive, five in a TTL, is confirmed while the one before still carries, however slow each message is. Where
// it is not, a slow network alone may cost a session of a short TTL.
func (o Options) inTime() bool {
	p := &o.Programs
	toLeader := p.StreamMost + o.Batch + o.DelayMost
	rounds := session.TurnMax + 2*2*o.DelayMost // the one on its way, and the one that counts
	answer := o.DelayMost + p.StreamMost
	applied := o.Heartbeat + o.DelayMost + o.SyncMost // the read index, by the node that answers
	margin := min(p.TTL/10, time.Second)
	return p.TTL/5+toLeader+rounds+max(answer, applied) < p.TTL/100*99-margin
}

// String prints every option.
func (o Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nodes=%d %v", o.Nodes, &o.Programs)
	fmt.Fprintf(&b, " sync=%v heartbeat=%v batch=%v delay=%v", o.SyncMost, o.Heartbeat, o.Batch, o.DelayMost)
	fmt.Fprintf(&b, " loss=%d double=%d late=%d latest=%v", o.Loss, o.Double, o.Late, o.LateMost)
	fmt.Fprintf(&b, " election=%v depose=%v crash=%v pause=%v lag=%v cut=%v faulty=%v", o.Election, o.Depose, o.Crash, o.NodePause, o.Lag,
		o.Cut, o.Faulty)
	return b.String()
}
