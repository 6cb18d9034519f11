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

func (p plan) rounds(ctx context.Context, w io.Writer, clusters []*cluster) ([]*cell, error) {
	var cells []*cell
	for _, f := range p.faults {
		for _, s := range p.systems {
			cells = append(cells, &cell{fault: f, system: s, book: newBook()})
		}
	}
	for kill := range p.kills {
		for i := range p.faults {
			for k := range clusters {
				which := (k + kill + i) % len(clusters)
				began := time.Now()
				one := cells[i*len(clusters)+which]
				r := round{c: clusters[which], f: one.fault, b: one.book, prefix: fmt.Sprintf("failover/%s/%d/", one.fault.name, kill)}
				res, err := r.run(ctx)
				if err != nil {
					return cells, fmt.Errorf("round %d, %s of %s: %w", kill+1, one.fault.name, one.system.name, err)
				}
				one.results = append(one.results, res)
				fmt.Fprintf(w, "%3d %-4s %-15s first %4d ms, waiter %4d ms, all after %4d ms; back %4d ms; round %.1f s\n", kill+1, one.fault.name,
					one.system.name, res.First.Milliseconds(), res.Waiter.Milliseconds(), slowest(res.Each).Milliseconds(),
					res.Back.Milliseconds(), time.Since(began).Seconds())
			}
		}
	}
	return cells, nil
}

func slowest(list []time.Duration) (most time.Duration) {
	for _, d := range list {
		most = max(most, d)
	}
	return most
}
