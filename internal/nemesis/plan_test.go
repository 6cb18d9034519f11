package nemesis

import (
	"testing"
	"time"
)

func TestPlanOfASeedIsTheSame(t *testing.T) {
	other := 0
	for seed := range uint64(50) {
		p := newPlan(seed, scenarioLength)
		if again := newPlan(seed, scenarioLength); p.String() != again.String() {
			t.Errorf("seed %d: \n%s\nand\n%s", seed, p, again)
		}
		if next := newPlan(seed+1, scenarioLength); next.faults[0] != p.faults[0] {
			other++
		}
	}
	if other < 45 {
		t.Errorf("only %d of 50 plans differ from the next one", other)
	}
}

func TestPlansHaveEveryKind(t *testing.T) {
	for first := uint64(1); first < 300; first += block {
		counts := map[kind]int{}
		for seed := first; seed < first+block; seed++ {
			for k, n := range newPlan(seed, scenarioLength).counts() {
				counts[k] += n
			}
		}
		for _, k := range kinds() {
			if counts[k.kind] == 0 {
				t.Errorf("seeds %d to %d: no %s", first, first+block-1, k.kind)
			}
		}
	}
}

func TestPlanKeepsLanesApart(t *testing.T) {
	for seed := range uint64(200) {
		var free [lanes]time.Duration
		meet := 0
		var all time.Duration
		p := newPlan(seed, scenarioLength)
		for _, f := range p.faults {
			l := f.kind.info().lane
			if f.at < free[l] {
				t.Errorf("seed %d: %s begins before the fault ahead of it has ended", seed, f)
			}
			if f.at < all {
				meet++
			}
			if free[l] = f.at + f.last; free[l] > p.length {
				t.Errorf("seed %d: %s ends after the plan", seed, f)
			}
			all = max(all, free[l])
		}
		if meet < 10 {
			t.Errorf("seed %d: only %d faults meet others", seed, meet)
		}
	}
}

// TestPlanTellsOfClocks: what is not demanded of a scenario follows from its plan, and most demand everything.
func TestPlanTellsOfClocks(t *testing.T) {
	all, clean := 0, 0
	for seed := uint64(1); seed <= 300; seed++ {
		p := newPlan(seed, scenarioLength)
		counts := p.counts()
		everybody, leaders := p.clocksBeyond()
		if everybody != (counts[driftBeyond] > 0) || leaders != (counts[driftBeyond]+counts[jumpNode] > 0) {
			t.Errorf("seed %d: %t, %t\n%s", seed, everybody, leaders, p)
		}
		if !everybody {
			all++
		}
		if !leaders {
			clean++
		}
	}
	if all != 200 || clean < 100 {
		t.Errorf("of 300 scenarios %d demand that nobody believes wrongly, want 200, and %d that sessions expire in time, want 100 at least", all, clean)
	}
}
