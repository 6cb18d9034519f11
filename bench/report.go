package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// report is a finished comparison.
type report struct {
	Host         host
	Rounds       int
	Window       time.Duration
	Measurements []measurement
}

// host is where it was made, and of what.
type host struct {
	Time    time.Time
	CPUs    int
	Model   string
	Kernel  string
	Go      string
	Load    string // averages of the run queue over 1, 5 and 15 minutes, before
	Modules map[string]string
}

func thisHost() host {
	h := host{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version(), Modules: map[string]string{}}
	h.Kernel = firstLine("/proc/sys/kernel/osrelease")
	h.Load = strings.Join(strings.Fields(firstLine("/proc/loadavg"))[:3], " ")
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				h.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(compared, m.Path) {
				h.Modules[m.Path] = m.Version
			}
		}
	}
	return h
}

// compared are the modules whose versions a report names.
var compared = []string{
	"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/lni/dragonboat/v4", "go.etcd.io/raft/v3",
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "? ? ?"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
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

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// ahead is the median over the rounds of how many times better ours is: ratios of pairs from the same round.
func ahead(ours, theirs []float64, moreIsBetter bool) float64 {
	var ratios []float64
	for i := range min(len(ours), len(theirs)) {
		if moreIsBetter {
			ratios = append(ratios, ours[i]/theirs[i])
		} else {
			ratios = append(ratios, theirs[i]/ours[i])
		}
	}
	return median(ratios)
}

func rate(m measurement) float64 { return m.Rate() }
func p50(m measurement) float64  { return millis(m.P50) }
func p99(m measurement) float64  { return millis(m.P99) }
func cpu(m measurement) float64  { return m.CPUPer100k() }

// print writes a table in Markdown. The last three columns say how many times better ours is than that row.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; %d CPUs, %s; kernel %s; %s; load before: %s; %d rounds of %v\n\n", r.Host.Time.Format(time.RFC3339),
		r.Host.CPUs, r.Host.Model, r.Host.Kernel, r.Host.Go, r.Host.Load, r.Rounds, r.Window)
	fmt.Fprintln(w, "| proposers | system | proposals/s: median | best | worst | p50 ms | p99 ms | CPU s/100k | allocs | RSS MiB | other CPUs | ours: × rate | × p50 | × CPU |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	cells := r.cells()
	for _, c := range cells {
		rates := c.of(rate)
		fmt.Fprintf(w, "| %d | %s | **%.0f** | %.0f | %.0f | %.3f | %.2f | %.2f | %.1f | %.0f | %.1f | ", c.proposers, c.system,
			median(rates), slices.Max(rates), slices.Min(rates), median(c.of(p50)), median(c.of(p99)), median(c.of(cpu)),
			median(c.of(func(m measurement) float64 { return m.Allocs })),
			median(c.of(func(m measurement) float64 { return float64(m.PeakRSS) / (1 << 20) })),
			median(c.of(func(m measurement) float64 { return m.Others })))
		i := slices.IndexFunc(cells, func(o cell) bool { return o.system == systems[0].name && o.proposers == c.proposers })
		if i < 0 || c.system == systems[0].name {
			fmt.Fprintln(w, "| | |")
			continue
		}
		ours := cells[i]
		fmt.Fprintf(w, "%.2f | %.2f | %.2f |\n", ahead(ours.of(rate), rates, true), ahead(ours.of(p50), c.of(p50), false),
			ahead(ours.of(cpu), c.of(cpu), false))
	}
}
