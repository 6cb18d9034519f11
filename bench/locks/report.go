package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lockd/lockd/bench/internal/rig"
)

// report is a finished comparison.
type report struct {
	Host         rig.Host
	Rounds       int
	Scale        scale
	Measurements []measurement
}

// compared are the modules whose versions a report names.
var compared = []string{"go.etcd.io/etcd/client/v3", "github.com/go-redsync/redsync/v4"}

// row is a line of the table.
type row struct {
	key    string // of the figure
	what   string
	goal   string
	more   bool    // is better
	least  float64 // or most: what the goal asks for; 0 for none
	digits int
}

func rows(s scale) []row {
	const none = ""
	return []row{
		{"rate1", "pairs/s, 1 client", "≥ 1,500", true, 1500, 0},
		{"p50-1", "p50 of a pair there, ms", none, false, 0, 2},
		{"p99-1", "p99 of a pair there, ms", none, false, 0, 2},
		{"rate64", "pairs/s, 64 clients", "≥ 12,000, goal 20,000", true, 12000, 0},
		{"p50-64", "p50 of a pair there, ms", none, false, 0, 2},
		{"p99-64", "p99 of a pair there, ms", "≤ 10", false, 10, 2},
		{"cpu64", "server CPU s per 1,000 pairs there", "≤ 0.10, goal 0.05", false, 0.10, 3},
		{"clients64", "client CPU s per 1,000 pairs there", none, false, 0, 3},
		{"others64", "CPUs that others used meanwhile", none, false, 0, 1},
		{"hand-overs16", "hand-overs/s of one lock, 16 waiters", "≥ 1,800, goal 2,500", true, 1800, 0},
		{"fairness16", "fairness there: most grants / fewest", "≤ 1.02", false, 1.02, 2},
		{"hand-overs100", "hand-overs/s of one lock, 100 waiters", "≥ 1,800, goal 2,500", true, 1800, 0},
		{"fairness100", "fairness there", "≤ 1.02", false, 1.02, 2},
		{"idle", fmt.Sprintf("idle server CPU %%, %d sessions", s.Sessions), "≤ 10 at 10,000", false, 10, 1},
		{"idle-lost", "sessions lost meanwhile", "0", false, 0.5, 0},
		{"bytes", fmt.Sprintf("bytes per held lock, %d of them", s.Locks), "≤ 600, goal 350", false, 600, 0},
		{"restart", "restart of all with them → a grant, s", "≤ 5 at 1,000,000", false, 5, 2},
		{"leader", "kill -9 of the leader → a grant, ms", "≤ 250", false, 250, 0},
		{"leader-worst", "the worst of them, ms", none, false, 0, 0},
		{"lost", "tries lost in that", "0", false, 0.5, 0},
		{"holder", "kill -9 of a holder, TTL 5 s → the next, ms", "≤ 5,300", false, 5300, 0},
		{"holder-worst", "the worst of them, ms", "≤ 5,300", false, 5300, 0},
	}
}

// of returns a figure of a system by rounds. A round in which the trial failed has none.
func (r report) of(system, key string) (byRound map[int]float64) {
	byRound = map[int]float64{}
	for _, m := range r.Measurements {
		if f, ok := m.Figures[key]; ok && m.System == system {
			byRound[m.Round] = f
		}
	}
	return byRound
}

// print writes a table in Markdown, and what failed.
func (r report) print(w io.Writer, picked []system) {
	fmt.Fprintf(w, "%v; %d rounds of %v\n", r.Host, r.Rounds, r.Scale.Window)
	for module, version := range r.Host.Modules {
		fmt.Fprintf(w, "%s %s\n", module, version)
	}
	fmt.Fprint(w, "\n| what | goal |")
	for _, s := range picked {
		fmt.Fprintf(w, " %s | worst to best |", s.name)
	}
	fmt.Fprint(w, " ours: × better |\n|---|---|", strings.Repeat("---|---|", len(picked)), "---|\n")
	for _, row := range rows(r.Scale) {
		r.printRow(w, row, picked)
	}
	for _, m := range r.Measurements {
		for _, why := range m.Failed {
			fmt.Fprintf(w, "\nround %d, %s of %s failed: %s\n", m.Round, m.Trial, m.System, why)
		}
	}
}

func (r report) printRow(w io.Writer, row row, picked []system) {
	var cells strings.Builder
	measured := false
	for _, s := range picked {
		var list []float64
		for _, f := range r.of(s.name, row.key) {
			list = append(list, f)
		}
		if len(list) == 0 {
			fmt.Fprint(&cells, " - | |")
			continue
		}
		measured = true
		slices.Sort(list)
		if !row.more {
			slices.Reverse(list)
		}
		mark := ""
		if s.name == systems[0].name {
			mark = row.mark(rig.Median(list))
		}
		fmt.Fprintf(&cells, " **%.*f**%s | %.*f to %.*f |", row.digits, rig.Median(list), mark, row.digits, list[0], row.digits, list[len(list)-1])
	}
	if measured {
		fmt.Fprintf(w, "| %s | %s |%s %s |\n", row.what, row.goal, &cells, r.ratio(row, picked))
	}
}

// mark tells whether a figure of ours is what it has to be.
func (r row) mark(figure float64) string {
	switch {
	case r.least == 0:
		return ""
	case figure == r.least, (figure > r.least) == r.more:
		return " ✓"
	default:
		return " ✗"
	}
}

// ratio tells how many times better ours is than the other.
func (r report) ratio(row row, picked []system) string {
	const others = 2
	if len(picked) != others || picked[0].name != systems[0].name {
		return ""
	}
	ours, theirs := r.of(picked[0].name, row.key), r.of(picked[1].name, row.key)
	var a, b []float64
	for round := range r.Rounds + 1 {
		x, has := ours[round]
		y, both := theirs[round]
		if has && both && x > 0 && y > 0 {
			a, b = append(a, x), append(b, y)
		}
	}
	if len(a) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", rig.Ahead(a, b, row.more))
}
