package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// kind is a figure of the nodes, and how much of a rise of all of them together is by chance.
type kind struct {
	name     string
	of       func(usage) float64
	fraction float64 // of its mean
	least    float64 // in its own unit
	digits   int
}

var kinds = []kind{
	{"resident memory, MiB", func(u usage) float64 { return u.RSS }, 0.10, 16, 1},
	{"live heap, MiB", func(u usage) float64 { return u.Heap }, 0.10, 6, 1},
	{"goroutines", func(u usage) float64 { return u.Goroutines }, 0.03, 30, 0},
	{"descriptors", func(u usage) float64 { return u.Descriptors }, 0.03, 20, 0},
	{"mappings", func(u usage) float64 { return u.Mappings }, 0.05, 20, 0},
	{"log on disk, MiB", func(u usage) float64 { return u.Log }, 0.10, 100, 1}, // two segments for each
	// On each node up to five tables of 8 MiB gather before they are merged: TestOverwrittenRecordsTakeNoRoom of internal/checkpoint.
	{"checkpoint on disk, MiB", func(u usage) float64 { return u.Checkpoint }, 0.20, 3 * 43, 1},
}

// course is a figure over time; what is not a number is left out.
type course struct{ x, y []float64 }

func courseOf(all []sample, of func(sample) float64) (c course) {
	for _, s := range all {
		if v := of(s); !math.IsNaN(v) {
			c.x, c.y = append(c.x, s.At.Minutes()), append(c.y, v)
		}
	}
	return c
}

// slope is that of a line through the points, for each minute: the median of the slopes between all pairs (Theil and Sen), so that no
// single point decides.
func (c course) slope() float64 {
	var slopes []float64
	for i, x := range c.x {
		for j := i + 1; j < len(c.x); j++ {
			if c.x[j] > x {
				slopes = append(slopes, (c.y[j]-c.y[i])/(c.x[j]-x))
			}
		}
	}
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return slopes[len(slopes)/2]
}

// rise is by how much that line rises from the first point to the last.
func (c course) rise() float64 {
	if len(c.x) == 0 {
		return 0
	}
	return c.slope() * (c.x[len(c.x)-1] - c.x[0])
}

func (c course) mean() float64 {
	sum := 0.0
	for _, y := range c.y {
		sum += y
	}
	return sum / math.Max(1, float64(len(c.y)))
}

func (c course) median() float64 {
	if len(c.y) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(c.y))[len(c.y)/2]
}

// filling is how long logs and caches may take to fill: so long at least what is judged begins after the beginning, and ends after that.
const filling = 8 * time.Minute

// settled is the part of a run that is judged: without its first third, and when logs and caches are full. A run that is too short for that
// has all the rest of it to show, and growth is not judged.
func settled(all []sample) (part []sample, judged bool) {
	from := len(all) / 3
	late, _ := slices.BinarySearchFunc(all, filling, func(s sample, t time.Duration) int { return cmp.Compare(s.At, t) })
	if len(all) > 0 && all[len(all)-1].At >= 2*filling {
		return all[max(from, late):], true
	}
	return all[from:], false
}

// row is a figure of a node, or of all nodes together, over the part that is judged. A node's own is not: clients move to the nodes that stay.
type row struct {
	node   string
	kind   kind
	c      course
	judged bool
	bound  float64 // of the rise
}

func (r row) grows() bool { return r.judged && r.c.rise() > r.bound }

func rows(all []sample) (list []row) {
	part, judged := settled(all)
	for _, k := range kinds {
		for i := range nodes {
			list = append(list, row{node: fmt.Sprint("n", i+1), kind: k, c: courseOf(part, func(s sample) float64 { return k.of(s.Nodes[i]) })})
		}
		c := courseOf(part, func(s sample) (sum float64) { // not a number while one is down
			for i := range nodes {
				sum += k.of(s.Nodes[i])
			}
			return sum
		})
		list = append(list, row{"all", k, c, judged, math.Max(k.least, k.fraction*c.mean())})
	}
	return list
}

// judge returns everything that is wrong with a run.
func judge(all []sample, events []event, rate float64) (wrong []string) {
	if len(all) < 6 {
		return []string{fmt.Sprintf("only %d samples", len(all))}
	}
	for _, s := range all {
		for _, e := range s.Errors {
			wrong = append(wrong, fmt.Sprintf("at %v a client has seen an error: %s", s.At, e))
		}
	}
	last := all[len(all)-1]
	if last.Lost > 0 {
		wrong = append(wrong, fmt.Sprintf("%d idle sessions were lost", last.Lost))
	}
	for _, r := range rows(all) {
		switch {
		case !r.judged:
		case len(r.c.x) < 3:
			wrong = append(wrong, fmt.Sprintf("%s was looked at only %d times", r.kind.name, len(r.c.x)))
		case r.grows():
			wrong = append(wrong, fmt.Sprintf("%s of all nodes rises by %.1f, more than %.1f", r.kind.name, r.c.rise(), r.bound))
		}
	}
	const enough = 0.95 // of what was asked for
	if got, want := float64(total(all).count()), rate*last.At.Seconds(); got < enough*want {
		wrong = append(wrong, fmt.Sprintf("%.0f pairs instead of %.0f", got, want))
	}
	third := len(all) / 3
	const slower = 3
	if first, late := total(all[:third]).quantile(0.5), total(all[2*third:]).quantile(0.5); late > slower*first {
		wrong = append(wrong, fmt.Sprintf("p50 was %.2f ms in the first third and %.2f ms in the last", first, late))
	}
	killed := 0
	for _, e := range events {
		if e.What == followerKilled {
			killed++
		}
	}
	if killed == 0 || killed == len(events) {
		wrong = append(wrong, fmt.Sprintf("%d followers were killed and %d leaders changed", killed, len(events)-killed))
	}
	return wrong
}

// undisturbed returns the latencies of the samples that nothing was done in or shortly before.
func undisturbed(all []sample, events []event) histogram {
	const before, after = 5 * time.Second, 20 * time.Second
	h := histogram{}
	for i, s := range all {
		began := time.Duration(0)
		if i > 0 {
			began = all[i-1].At
		}
		near := func(e event) bool { return s.At > e.At-before && began < e.At+after }
		if !slices.ContainsFunc(events, near) {
			h.merge(s.Pairs)
		}
	}
	return h
}

// total returns the latencies of all samples.
func total(all []sample) histogram {
	h := histogram{}
	for _, s := range all {
		h.merge(s.Pairs)
	}
	return h
}
