package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// report is a finished comparison.
type report struct {
	Host         rig.Host
	Rounds       int
	Window       time.Duration
	Measurements []measurement
}

// compared are the modules whose versions a report names.
var compared = []string{
	"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/lni/dragonboat/v4", "go.etcd.io/raft/v3",
}

// cell is all rounds of one system and number of proposers.
type cell struct {
	system    string
	proposers int
	rounds    []measurement // in order
}

// cells puts the measurements together, by proposers and then in the order of systems.
func (r report) cells() []cell {
	var cells []cell
	for _, m := range r.Measurements {
		i := slices.IndexFunc(cells, func(c cell) bool { return c.system == m.System && c.proposers == m.Proposers })
		if i < 0 {
			i = len(cells)
			cells = append(cells, cell{system: m.System, proposers: m.Proposers})
		}
		cells[i].rounds = append(cells[i].rounds, m)
	}
	rank := func(name string) int { return slices.IndexFunc(systems, func(s system) bool { return s.name == name }) }
	slices.SortStableFunc(cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.proposers, b.proposers), cmp.Compare(rank(a.system), rank(b.system)))
	})
	return cells
}

// of returns a figure of every round.
func (c cell) of(figure func(measurement) float64) []float64 {
	var list []float64
	for _, m := range c.rounds {
		list = append(list, figure(m))
	}
	return list
}

func rate(m measurement) float64 { return m.Rate() }
func p50(m measurement) float64  { return millis(m.P50) }
func p99(m measurement) float64  { return millis(m.P99) }
func cpu(m measurement) float64  { return m.CPUPer100k() }

// print writes a table in Markdown. The last three columns say how many times better ours is than that row.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%v; %d rounds of %v\n\n", r.Host, r.Rounds, r.Window)
	fmt.Fprintln(w, "| proposers | system | proposals/s: median | best | worst | p50 ms | p99 ms | CPU s/100k | allocs | RSS MiB | other CPUs | ours: × rate | × p50 | × CPU |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	cells := r.cells()
	for _, c := range cells {
		rates := c.of(rate)
		fmt.Fprintf(w, "| %d | %s | **%.0f** | %.0f | %.0f | %.3f | %.2f | %.2f | %.1f | %.0f | %.1f | ", c.proposers, c.system,
			rig.Median(rates), slices.Max(rates), slices.Min(rates), rig.Median(c.of(p50)), rig.Median(c.of(p99)), rig.Median(c.of(cpu)),
			rig.Median(c.of(func(m measurement) float64 { return m.Allocs })),
			rig.Median(c.of(func(m measurement) float64 { return float64(m.PeakRSS) / (1 << 20) })),
			rig.Median(c.of(func(m measurement) float64 { return m.Others })))
		i := slices.IndexFunc(cells, func(o cell) bool { return o.system == systems[0].name && o.proposers == c.proposers })
		if i < 0 || c.system == systems[0].name {
			fmt.Fprintln(w, "| | |")
			continue
		}
		ours := cells[i]
		fmt.Fprintf(w, "%.2f | %.2f | %.2f |\n", rig.Ahead(ours.of(rate), rates, true), rig.Ahead(ours.of(p50), c.of(p50), false),
			rig.Ahead(ours.of(cpu), c.of(cpu), false))
	}
}
