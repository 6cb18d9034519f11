package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// plan is a comparison to be made.
type plan struct {
	systems  []system
	trials   []trial
	rounds   int
	scale    scale
	patience time.Duration // to wait for a quiet machine before each trial
	limit    time.Duration // of one trial
	dir      string
	profile  profile
}

// measurement is one trial of one system in one round.
type measurement struct {
	Round   int
	Trial   string
	System  string
	Figures figures
	Failed  []string // why earlier tries of it failed; with no figures, all of them
}

// run makes all trials, interleaved; progress goes to w. What fails is told and left out.
func (p plan) run(ctx context.Context, w io.Writer) ([]measurement, error) {
	bin, err := os.MkdirTemp(p.dir, "lockd-bench-bin-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	fmt.Fprintln(w, "building the servers")
	programs, err := build(ctx, p.systems, bin)
	if err != nil {
		return nil, err
	}
	var all []measurement
	for round := range p.rounds {
		for _, t := range p.trials {
			for k := range p.systems {
				s := p.systems[(k+round)%len(p.systems)]
				if t.only != "" && t.only != s.name {
					continue
				}
				m := p.measure(ctx, round+1, t, s, programs[s.name])
				if ctx.Err() != nil {
					return all, context.Cause(ctx)
				}
				fmt.Fprintln(w, m)
				all = append(all, m)
			}
		}
	}
	return all, err
}

// measure tries a trial twice: a busy machine may cost a system its leader at the wrong moment.
func (p plan) measure(ctx context.Context, round int, t trial, s system, program string) measurement {
	const tries = 2
	m := measurement{Round: round, Trial: t.name, System: s.name}
	for range tries {
		f, err := p.once(ctx, round, t, s, program)
		if err == nil {
			m.Figures = f
			break
		}
		m.Failed = append(m.Failed, err.Error())
		if ctx.Err() != nil {
			break
		}
	}
	return m
}

// once makes a trial on a cluster of its own.
func (p plan) once(ctx context.Context, round int, t trial, s system, program string) (_ figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("trial not done within %v", p.limit))
	defer cancel()
	if err := rig.AwaitQuiet(ctx, p.patience); err != nil {
		return nil, err
	}
	c, err := startCluster(ctx, s, program, p.dir, cmp.Or(t.size, nodes))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	o := order{System: s.name, TTL: 15 * time.Second, Warmup: p.scale.Warmup, Window: p.scale.Window, Servers: c.pids()}
	o.Endpoints, o.Pprof = c.addresses()
	if p.profile.Dir != "" && s.name == systems[0].name {
		o.Profile = p.profile
		o.Profile.Name = fmt.Sprintf("%s-%d", t.name, round)
	}
	f, err := t.run(ctx, c, p.scale, o)
	if dead := c.alive(); dead != nil {
		err = errors.Join(err, dead)
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return f, err
}

// String is a line of progress.
func (m measurement) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "round %d  %-9s %-6s", m.Round, m.Trial, m.System)
	for _, key := range slices.Sorted(maps.Keys(m.Figures)) {
		fmt.Fprintf(&b, "  %s %.4g", key, m.Figures[key])
	}
	for _, why := range m.Failed {
		fmt.Fprintf(&b, "\n    failed: %s", why)
	}
	return b.String()
}
