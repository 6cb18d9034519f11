package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
	"github.com/lockd/lockd/internal/netlab"
)

// plan is a comparison to be made.
type plan struct {
	systems []system
	faults  []fault
	kills   int // of each kind, for each system
	dir     string
	logs    string
	seed    uint64
}

// cell is all rounds of one fault for one system.
type cell struct {
	fault   fault
	system  system
	results []result
	book    *book
}

// run makes all rounds, interleaved; progress goes to w.
func (p plan) run(ctx context.Context, w io.Writer) (cells []*cell, err error) {
	bin, err := os.MkdirTemp(p.dir, "lockd-failover-bin-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	fmt.Fprintln(w, "building the servers")
	var programs []rig.Program
	for _, s := range p.systems {
		programs = append(programs, s.program)
	}
	files, err := rig.Build(ctx, bin, programs...)
	if err != nil {
		return nil, err
	}
	clients := size * len(p.systems)
	lab, err := netlab.Open(clients+1, p.seed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	clusters := make([]*cluster, len(p.systems))
	for i, s := range p.systems {
		c, err := startCluster(ctx, s, files[s.program.Name], p.dir, p.logs, lab, size*i, clients)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", s.name, err)
		}
		defer func() { err = errors.Join(err, c.close()) }()
		clusters[i] = c
	}
	return p.rounds(ctx, w, clusters)
}

// rounds makes the rounds. Tries of one system may still wait for their time-outs while the next one is measured: that costs nothing.
func (p plan) rounds(ctx context.Context, w io.Writer, clusters []*cluster) (cells []*cell, err error) {
	for _, f := range p.faults {
		for _, s := range p.systems {
			cells = append(cells, &cell{fault: f, system: s, book: newBook()})
		}
	}
	finishing := make([]chan error, len(clusters)) // the last round of each
	for i := range finishing {
		finishing[i] = make(chan error, 1)
		finishing[i] <- nil
	}
	for kill := range p.kills {
		for i := range p.faults {
			for k := range clusters {
				which := (k + kill + i) % len(clusters)
				if err = <-finishing[which]; err == nil {
					c := cells[i*len(clusters)+which]
					err = c.round(ctx, w, clusters[which], kill, finishing[which])
				} else {
					finishing[which] <- nil // it has been told
				}
				if err != nil {
					return cells, errors.Join(err, all(finishing))
				}
			}
		}
	}
	return cells, all(finishing)
}

func all(finishing []chan error) error {
	var errs []error
	for _, f := range finishing {
		errs = append(errs, <-f)
	}
	return errors.Join(errs...)
}

// round makes one round. What became of it goes to finished when every try has ended.
func (c *cell) round(ctx context.Context, w io.Writer, on *cluster, kill int, finished chan<- error) error {
	began := time.Now()
	r := newRound(on, c.fault, c.book, fmt.Sprintf("failover/%s/%d/", c.fault.name, kill))
	err := r.run(ctx)
	took := time.Since(began)
	go func() {
		res, err := r.finish(ctx)
		if err != nil {
			err = fmt.Errorf("round %d, %s of %s: %w", kill+1, c.fault.name, c.system.name, err)
		}
		c.results = append(c.results, res)
		fmt.Fprintf(w, "%3d %-4s %-15s first %4d ms, waiter %4d ms, all after %4d ms; back %4d ms; round %.1f s\n", kill+1, c.fault.name,
			c.system.name, res.First.Milliseconds(), res.Waiter.Milliseconds(), slowest(res.Each).Milliseconds(), res.Back.Milliseconds(),
			took.Seconds())
		finished <- err
	}()
	if err != nil {
		err = fmt.Errorf("round %d, %s of %s: %w", kill+1, c.fault.name, c.system.name, err)
	}
	return err
}

func slowest(list []time.Duration) (most time.Duration) {
	for _, d := range list {
		most = max(most, d)
	}
	return most
}
