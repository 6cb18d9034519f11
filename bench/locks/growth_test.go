package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestExponentIsThatOfThePower(t *testing.T) {
	xs := []float64{1, 4, 16, 64, 256}
	for _, k := range []float64{-1, 0, 0.5, 1, 2} {
		ys := make([]float64, len(xs))
		for i, x := range xs {
			ys[i] = 7 * math.Pow(x, k)
		}
		if got, ok := exponent(xs, ys); !ok || math.Abs(got-k) > 1e-9 {
			t.Errorf("found %v for %v", got, k)
		}
	}
	if got, ok := exponent([]float64{0, 10, 100}, []float64{5, 10, 100}); !ok || math.Abs(got-1) > 1e-9 {
		t.Errorf("a point without a logarithm changes the exponent to %v", got)
	}
	for _, xs := range [][]float64{nil, {3}, {0, 3}, {3, 3}} {
		if got, ok := exponent(xs, []float64{1, 2}); ok {
			t.Errorf("found %v from the points at %v", got, xs)
		}
	}
}

// planted is a growth with a curve of two costs, found to grow with the powers.
func planted(power, excused float64) growth {
	c := curve{
		name: "things", of: "number of things", axis: "things there are", at: []int{0, 10, 100, 1000},
		lines: []line{
			{key: "cost", what: "cost, ms", digits: 1, least: 2, cost: true},
			{key: "other", what: "other cost, s", digits: 2, cost: true, excuse: "it has to"},
			{key: "rate", what: "rate"},
		},
	}
	g := growth{systems: systems, curves: []curve{c}}
	for _, s := range systems {
		for _, x := range c.at {
			f := figures{"cost": math.Pow(float64(x), power), "other": math.Pow(float64(x), excused), "rate": float64(x * x)}
			if s.name == etcd.name {
				f["cost"] = math.Pow(float64(x), 3)
			}
			g.Measurements = append(g.Measurements, measurement{Round: 1, Trial: c.point(x), System: s.name, Figures: f})
		}
	}
	return g
}

func TestVerdictIsOnUndeclaredCostsOfOurs(t *testing.T) {
	if err := planted(1, 1).verdict(); err != nil {
		t.Error(err)
	}
	if err := planted(1, 2).verdict(); err != nil {
		t.Errorf("what is declared fails: %v", err)
	}
	if err := planted(1.3, 1).verdict(); err == nil || !strings.Contains(err.Error(), "things, cost, ms: it grows with the power of 1.30") {
		t.Errorf("a cost that grows faster than linear: %v", err)
	}
	few := planted(1, 1)
	few.Measurements = few.Measurements[:2]
	if err := few.verdict(); err == nil || !strings.Contains(err.Error(), "too few points") {
		t.Errorf("a curve of one point: %v", err)
	}
	noise := planted(1, 1)
	noise.Measurements[1].Figures["cost"] = 0.001 // at 10, of ours
	if err := noise.verdict(); err != nil {
		t.Errorf("noise counts: %v", err)
	}
}

func TestTablesOfGrowth(t *testing.T) {
	g := planted(1.5, 1)
	g.Measurements = slices.DeleteFunc(g.Measurements, func(m measurement) bool { return m.System == etcd.name && m.Trial == "things/1000" })
	var b bytes.Buffer
	g.printCurve(&b, &g.curves[0])
	const want = `
| number of things | lockd: cost, ms | etcd: cost, ms | lockd: other cost, s | etcd: other cost, s | lockd: rate | etcd: rate |
|---|---|---|---|---|---|---|
| 0 | 0.0 | 0.0 | 0.00 | 0.00 | 0 | 0 |
| 10 | 31.6 | 1000.0 | 10.00 | 10.00 | 100 | 100 |
| 100 | 1000.0 | 1000000.0 | 100.00 | 100.00 | 10000 | 10000 |
| 1000 | 31622.8 | - | 1000.00 | - | 1000000 | - |
| *grows with the power of* | *1.50* ✗ | *3.00* | *1.00* | *1.00* | *2.00* | *2.00* |

other cost, s may grow faster than linear: it has to.
`
	if b.String() != want {
		t.Errorf("printed\n%s\nnot\n%s", b.String(), want)
	}
}

func TestPictureOfGrowth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "growth.svg")
	if err := planted(1, 1).draw(file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "cost, ms", "other cost, s", "rate", "things there are", "lockd", "etcd"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
}

// The trials are all points of all curves, and a quick run makes some of them.
func TestPointsOfGrowth(t *testing.T) {
	names := func(short bool) (all []string) {
		for _, p := range points(short) {
			all = append(all, p.name)
		}
		return all
	}
	whole, quick := names(false), names(true)
	for _, name := range quick {
		if !slices.Contains(whole, name) {
			t.Errorf("%s is measured by a quick run alone", name)
		}
	}
	slices.Sort(whole)
	if n := len(slices.Compact(slices.Clone(whole))); n != len(whole) || len(quick) >= len(whole) {
		t.Errorf("%d points, of which %d differ, and %d of a quick run", len(whole), n, len(quick))
	}
	for _, p := range points(false) {
		if alone := p.only != ""; alone != (p.name == "held/1000000") {
			t.Errorf("%s is measured with %q", p.name, p.only)
		}
		if p.name == "nodes/5" && p.size != 5 {
			t.Errorf("%s has %d nodes", p.name, p.size)
		}
	}
}

// A whole run of two small curves, with servers and clients as processes.
func TestGrowthOfValues(t *testing.T) {
	i := slices.IndexFunc(curves, func(c curve) bool { return c.name == "values" })
	p, _, err := parse([]string{"-quick", "-growth", "unused", "-systems", "lockd", "-dir", "."})
	if err != nil {
		t.Fatal(err)
	}
	p.scale.Warmup, p.scale.Window = 1, 300_000_000
	p.trials = slices.DeleteFunc(p.trials, func(p trial) bool { return p.name != "values/0" && p.name != "values/4096" && p.name != "nodes/5" })
	var progress bytes.Buffer
	g := growth{systems: p.systems, curves: curves[i : i+1]}
	if g.Measurements, err = p.run(t.Context(), &progress); err != nil {
		t.Fatal(err)
	}
	if len(g.Measurements) != 3 {
		t.Fatalf("measured %v", g.Measurements)
	}
	for _, m := range g.Measurements {
		if m.Figures["rate"] <= 0 || m.Figures["cpu"] <= 0 {
			t.Errorf("found %v", m)
		}
	}
	if xs, _ := g.series(&g.curves[0], lockd.name, pairLines[0]); !slices.Equal(xs, []float64{0, 4096}) {
		t.Errorf("the curve has points at %v", xs)
	}
}
