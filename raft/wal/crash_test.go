package wal_test

import (
	"fmt"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
)

// crashAt plays steps with a power cut in the middle of the n-th operation of the disk, and again and again in what
// follows if more is given. It reports whether the first cut was reached.
func crashAt(t *testing.T, steps []step, all []model, seed uint64, cuts ...int) (reached bool, torn int) {
	t.Helper()
	r := &run{disk: rafttest.NewDisk(seed)}
	done := 0
	for i, n := range cuts {
		r.disk.CutAt(n)
		err := r.openAt(all, &done)
		if err == nil {
			var taken int
			taken, err = r.take(steps[done:])
			done += taken
		}
		if err == nil && i == 0 {
			return false, 0
		}
		r.disk.Crash()
	}
	done = r.recover(t, all, done)
	if _, err := r.take(steps[done:]); err != nil {
		t.Fatalf("after the crash: %v", err)
	}
	r.disk.Crash()
	r.recover(t, all, len(steps))
	return true, r.torn
}

// openAt opens the log and finds out how many steps it shows. The disk may lose power meanwhile.
func (r *run) openAt(all []model, done *int) error {
	if err := r.open(); err != nil {
		return err
	}
	if *done+1 < len(all) && all[*done].differs(r.log) != "" && all[*done+1].differs(r.log) == "" {
		*done++
	}
	return nil
}

// Invariant 5, traps 1, 24 and 55, L9, L12, S14: a power cut in every operation of a run that has everything loses
// nothing that was acknowledged, neither entries nor the hard state, and the run can go on.
func TestPowerCutAtEveryOperation(t *testing.T) {
	steps := everything()
	all := states(steps)
	cuts, torn := 0, 0
	for seed := range uint64(3) {
		for n := 1; ; n++ {
			reached, tails := crashAt(t, steps, all, seed, n)
			if t.Failed() {
				t.Fatalf("seed %d, cut at operation %d", seed, n)
			}
			if !reached {
				break
			}
			cuts++
			torn += tails
		}
	}
	t.Logf("%d power cuts, %d torn tails", cuts, torn)
	if cuts < 500 || torn < 50 {
		t.Errorf("%d power cuts and %d torn tails: the run is too tame", cuts, torn)
	}
}

// L9: what a cut has left must not come alive when the next batches meet a cut as well.
func TestL09PowerCutsInARow(t *testing.T) {
	steps := everything()
	all := states(steps)
	for seed := range uint64(400) {
		cuts := []int{int(20 + seed), 5, 11, 3, 30, 17}
		if reached, _ := crashAt(t, steps, all, seed, cuts...); !reached {
			break
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// cutWithin cuts the power in every operation of one step, with several seeds, and calls check with the log that is
// found then. It returns how many cuts there were.
func cutWithin(t *testing.T, before []step, during step, check func(r *run)) int {
	t.Helper()
	for seed := range uint64(8) {
		for n := 1; ; n++ {
			r := mustRun(t, seed, before...)
			r.disk.CutAt(n)
			if _, err := r.take([]step{during}); err == nil {
				if seed == 7 {
					return n - 1
				}
				break
			}
			r.disk.Crash()
			if err := r.open(); err != nil {
				t.Fatalf("seed %d, cut at operation %d: %v", seed, n, err)
			}
			check(r)
			if t.Failed() {
				t.Fatalf("seed %d, cut at operation %d", seed, n)
			}
		}
	}
	return 0
}

// Trap 39, L12, S14: an installed snapshot becomes visible at once: the old log and all of it, or the new base and
// nothing else, and the vote in either case.
func TestTrap39ResetIsAtomic(t *testing.T) {
	before := []step{write(raft.Write{Hard: hard(9, 3)})}
	for i := range raft.Index(30) {
		before = append(before, write(raft.Write{Entries: rafttest.Entries(1+i*3, 2, 3, 500)}))
	}
	before = append(before, step{compact: 40})
	old := states(before)[len(before)]
	reset := write(raft.Write{Reset: mark(500, 8)})
	fresh := old.after(reset)
	seen := map[string]int{}
	n := cutWithin(t, before, reset, func(r *run) {
		if why := old.differs(r.log); why == "" {
			seen["old"]++
		} else if why := fresh.differs(r.log); why == "" {
			seen["new"]++
		} else {
			t.Errorf("neither the old log nor the new one: %s", why)
		}
	})
	if n < 8 || seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("%d places to cut at, seen %v", n, seen)
	}
}

// Trap 42: a power cut while old segments are dropped leaves no hole, and nothing that was to be kept is gone.
func TestTrap42CompactIsAtomic(t *testing.T) {
	var before []step
	for i := range raft.Index(40) {
		before = append(before, write(raft.Write{Hard: hard(raft.Term(i+1), 3), Entries: rafttest.Entries(1+i*3, 2, 3, 800)}))
	}
	compact := step{compact: 100}
	want := states(before)[len(before)].after(compact)
	n := cutWithin(t, before, compact, func(r *run) {
		if why := want.differs(r.log); why != "" {
			t.Error(why)
		}
	})
	if n < 8 {
		t.Errorf("only %d places to cut at", n)
	}
}

// Trap 24: what one call writes comes into force as a whole or not at all, and in the order of the calls.
func TestTrap24WritesAreAtomicAndInOrder(t *testing.T) {
	before := []step{write(raft.Write{Hard: hard(1, 1), Entries: rafttest.Entries(1, 1, 4, 100)})}
	during := write(
		raft.Write{Hard: hard(2, 2)},
		raft.Write{TruncateFrom: 3, Entries: rafttest.Entries(3, 2, 5, 900)},
		raft.Write{Hard: hard(3, 3), Entries: rafttest.Entries(8, 3, 2, 100)})
	old := states(before)[1]
	fresh := old.after(during)
	seen := map[string]int{}
	cutWithin(t, before, during, func(r *run) {
		for name, m := range map[string]model{"old": old, "new": fresh} {
			if m.differs(r.log) == "" {
				seen[name]++
				return
			}
		}
		t.Error(fmt.Sprint("part of a write: ", old.differs(r.log)))
	})
	if seen["old"] == 0 {
		t.Errorf("seen %v", seen)
	}
}
