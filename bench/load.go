package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

var errNoSnapshots = errors.New("a benchmark takes no snapshots")

// spec says what a child process measures.
type spec struct {
	System    string
	Proposers int
	Warmup    time.Duration
	Window    time.Duration
	Dir       string
	Profile   profile
}

// outcome is what it found.
type outcome struct {
	Proposals  uint64        // that ended in the window
	Window     time.Duration // measured
	P50, P99   time.Duration // of one proposal
	CPU        time.Duration // user and system, of the whole process, in the window
	Allocs     float64       // per proposal, on the whole process
	AllocBytes float64       // per proposal
	PeakRSS    int64         // bytes
	Others     float64       // CPUs that the rest of the machine used in the window, its kernel threads included
	Applied    uint64        // by each node, the warm-up included
}

// Rate is in proposals per second.
func (o outcome) Rate() float64 { return float64(o.Proposals) / o.Window.Seconds() }

// CPUPer100k is in seconds.
func (o outcome) CPUPer100k() float64 { return o.CPU.Seconds() / float64(o.Proposals) * 1e5 }

// measure runs one system in this process.
func measure(ctx context.Context, s spec) (out outcome, err error) {
	sys, err := systemByName(s.System)
	if err != nil {
		return outcome{}, err
	}
	setting := setup{dir: s.Dir, proposers: s.Proposers}
	for i := range setting.machines {
		setting.machines[i] = &machine{}
	}
	c, err := sys.start(ctx, setting)
	if err != nil {
		return outcome{}, fmt.Errorf("start %s: %w", sys.name, err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	load := newLoad(c, s)
	if out, err = load.run(ctx, s); err != nil {
		return outcome{}, err
	}
	out.Applied, err = agree(ctx, setting.machines, load.proposed())
	return out, err
}

// agree waits until every node has applied all commands, and checks that they did so in the same order.
func agree(ctx context.Context, machines [nodes]*machine, want uint64) (uint64, error) {
	err := poll(ctx, "state of the three nodes", func() (bool, error) {
		first := machines[0].seen()
		for i, m := range machines {
			t := m.seen()
			if t.Commands > want {
				return false, fmt.Errorf("node %d has applied %d commands of %d", i+1, t.Commands, want)
			}
			if t.Commands < want {
				return false, nil
			}
			if t != first {
				return false, fmt.Errorf("nodes 1 and %d differ: %+v and %+v", i+1, first, t)
			}
		}
		return true, nil
	})
	if err != nil {
		for _, m := range machines {
			err = fmt.Errorf("%w; %+v", err, m.seen())
		}
		return 0, fmt.Errorf("%w; want %d commands", err, want)
	}
	return want, nil
}

// poll calls f until it says true.
func poll(ctx context.Context, what string, f func() (bool, error)) error {
	const patience = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// load is a closed loop of proposers.
type load struct {
	cluster   cluster
	begin     time.Time
	from, to  time.Duration // the window, since begin
	proposers []proposer
}

// proposer sends one command after the other.
type proposer struct {
	number  int
	command command
	sent    uint64
	nanos   []uint32 // how long the proposals took that ended in the window
}

func newLoad(c cluster, s spec) *load {
	l := &load{cluster: c, from: s.Warmup, to: s.Warmup + s.Window, proposers: make([]proposer, s.Proposers)}
	for i := range l.proposers {
		l.proposers[i].number = i
	}
	return l
}

func (l *load) proposed() (n uint64) {
	for i := range l.proposers {
		n += l.proposers[i].sent
	}
	return n
}

// run proposes until the window is over.
func (l *load) run(ctx context.Context, s spec) (outcome, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	l.begin = time.Now()
	for i := range l.proposers {
		p := &l.proposers[i]
		wg.Go(func() {
			if err := l.propose(ctx, p); err != nil {
				cancel(fmt.Errorf("proposer %d, command %d: %w", p.number, p.sent, err))
			}
		})
	}
	out, err := l.watch(ctx, s.Profile)
	wg.Wait()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return outcome{}, err
	}
	l.latencies(&out)
	return out, nil
}

func (l *load) propose(ctx context.Context, p *proposer) error {
	for began := time.Since(l.begin); ; {
		p.command.set(p.number, p.sent)
		if err := l.cluster.propose(ctx, p.number, p.command[:]); err != nil {
			return err
		}
		p.sent++
		ended := time.Since(l.begin)
		if ended >= l.to {
			return nil
		}
		if ended >= l.from {
			p.nanos = append(p.nanos, uint32(min(ended-began, math.MaxUint32)))
		}
		began = ended
	}
}

// watch takes what the process has used at both ends of the window.
func (l *load) watch(ctx context.Context, profile profile) (out outcome, err error) {
	if err := rig.Sleep(ctx, time.Until(l.begin.Add(l.from))); err != nil {
		return out, nil //nolint:nilerr // the cause is with the context
	}
	stop, err := profile.start()
	if err != nil {
		return out, err
	}
	before, err := used()
	if err != nil {
		return out, err
	}
	if err := rig.Sleep(ctx, time.Until(l.begin.Add(l.to))); err != nil {
		return out, errors.Join(stop())
	}
	after, err := used()
	if err != nil {
		return out, err
	}
	out = outcome{
		Window: l.to - l.from, CPU: after.cpu - before.cpu, PeakRSS: after.peak,
		Allocs: float64(after.allocs - before.allocs), AllocBytes: float64(after.bytes - before.bytes),
		Others: max(0, (after.machine-before.machine-after.cpu+before.cpu).Seconds()/(l.to-l.from).Seconds()),
	}
	return out, stop()
}

func (l *load) latencies(out *outcome) {
	var all []uint32
	for i := range l.proposers {
		all = append(all, l.proposers[i].nanos...)
	}
	out.Proposals = uint64(len(all))
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	out.P50 = time.Duration(all[len(all)/2])
	out.P99 = time.Duration(all[len(all)*99/100])
	out.Allocs /= float64(len(all))
	out.AllocBytes /= float64(len(all))
}
