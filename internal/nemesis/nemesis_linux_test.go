package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/clockskew"
	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/netlab"
	"github.com/lockd/lockd/internal/reliability"
)

// sum is what all scenarios have done together.
type sum struct {
	scenarios  int64
	operations int64
	grants     int64
	unknown    int64
	violations int64
	hits       map[string]int64 // by the names of package reliability
	kinds      map[kind]int64
}

// need skips a test that has not been asked for, and ends one that was asked for in a binary that can't.
func need(t *testing.T) {
	t.Helper()
	if os.Getenv("LOCKD_NEMESIS") == "" {
		t.Skip("LOCKD_NEMESIS is not set: make nemesis runs it, in a binary whose clocks can be moved")
	}
	netlab.Need(t)
	if !clockskew.Enabled {
		t.Fatal("this binary has only the machine's clock: make nemesis builds it with the tag clockskew and an overlay")
	}
}

// asked returns for how long scenarios are to be begun, and the first seed.
func asked(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	length, seed = scenarioLength, 1
	var err error
	if text := os.Getenv("LOCKD_NEMESIS"); text != "" {
		if length, err = time.ParseDuration(text); err != nil || length < 10*time.Second {
			t.Fatalf("LOCKD_NEMESIS=%q is no duration of at least 10s", text)
		}
	}
	if text := os.Getenv("LOCKD_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("LOCKD_SEED=%q is no number", text)
		}
	}
	return length, seed
}

// TestNemesis runs scenarios, one seed after the other, for as long as LOCKD_NEMESIS says; shorter than one scenario: one that is as short.
func TestNemesis(t *testing.T) {
	need(t)
	length, first := asked(t)
	all := sum{hits: map[string]int64{}, kinds: map[kind]int64{}}
	begun := time.Now()
	for seed := first; !t.Failed() && (seed == first || time.Since(begun)+scenarioLength <= length); seed++ {
		p := newPlan(seed, min(length, scenarioLength))
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { scenario(t, p, &all) })
		if err := errors.Join(children(), namespaces()); err != nil {
			t.Error(err)
		}
	}
	if all.scenarios >= 2*block-1 || all.scenarios == block && first%block == 1 {
		for _, k := range kinds() {
			if all.kinds[k.kind] == 0 {
				t.Errorf("%s: it has hit nothing", k.kind)
			}
		}
	}
	t.Logf("%d scenarios, %d operations, %d of them with an unknown outcome, %d grants; faults: %v", all.scenarios, all.operations, all.unknown, all.grants, all.kinds)
	if all.scenarios == 0 {
		return
	}
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "nemesis", Layer: "nemesis", Runs: all.scenarios, Operations: all.operations, Violations: all.violations,
		Seeds: reliability.SeedRange(first, uint64(all.scenarios)), Command: fmt.Sprintf("make nemesis TIME=%v SEED=%d", length, first),
	}, all.hits)...)
}

// keep returns a directory that stays when the test fails.
func keep(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lockd-nemesis-") //nolint:usetesting // it stays when the test fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept: %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// scenario is one plan on a new cluster.
func scenario(t *testing.T, p plan, all *sum) {
	dir := keep(t)
	var a *arena
	t.Cleanup(func() { // after all that the arena leaves to be done
		if t.Failed() {
			t.Logf("once more: make nemesis TIME=%v SEED=%d\n%s", p.length, p.seed, p)
		}
		if a != nil {
			if err := mounted(a.disks); err != nil {
				t.Error(err)
			}
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "plan"), []byte(p.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	a = newArena(t, dir, p.seed, true, nil)
	a.event("begin")
	c := a.follow(p)
	recovered := a.recover()
	if err := errors.Join(recovered, a.logs()); err != nil {
		t.Error(err)
	}
	for _, f := range c.dull {
		t.Errorf("%s: it has hit nothing", f)
	}
	if recovered != nil {
		return // what is recorded has no end
	}
	v, err := check(dir, p, c.hits)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	a.report(v, c, all)
}

// TestNemesisAgain judges once more what is kept in the directory that LOCKD_NEMESIS_DIR names, of the scenario LOCKD_SEED.
func TestNemesisAgain(t *testing.T) {
	dir := os.Getenv("LOCKD_NEMESIS_DIR")
	if dir == "" {
		t.Skip("LOCKD_NEMESIS_DIR is not set: there is nothing to judge again")
	}
	length, seed := asked(t)
	p := newPlan(seed, min(length, scenarioLength))
	hits := map[kind]int64{}
	for k := range p.counts() {
		hits[k] = 1 // what a fault has hit is known to the run alone
	}
	v, err := check(dir, p, hits)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Err(); err != nil {
		t.Error(err)
	}
}

// report adds a scenario to the sum.
func (a *arena) report(v *history.Verdict, c *course, all *sum) {
	a.t.Helper()
	writes, lost, stale := a.registers.lost()
	if lost != 0 {
		a.t.Errorf("%d of %d writes of the counters are lost", lost, writes)
	}
	all.scenarios++
	all.operations += v.Operations
	all.grants += v.Grants
	all.unknown += v.Unknown
	all.violations += v.Count
	for k, n := range c.hits {
		all.kinds[k] += n
		all.hits[k.info().fault] += n
	}
	a.t.Logf("%v: %d operations, %d unknown (%d happened), %d grants, %d writes, %d stale accesses refused; %d entries, %d answers compared, "+
		"%d expiries, %d locks searched, %d too long; faults hit %v",
		time.Since(a.begin).Round(time.Second), v.Operations, v.Unknown, v.Happened, v.Grants, writes, stale, v.Entries, v.Answers, v.Expiries,
		v.Searched, v.TooLong, c.hits)
}
