package wal_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
)

// randomStep is something that a node may do with a log that holds m.
func randomStep(random *rand.Rand, m model) step {
	switch n := random.IntN(20); {
	case n == 0:
		return step{reopen: true}
	case n < 4 && m.last() > m.base:
		return step{compact: m.base + 1 + raft.Index(random.Uint64N(uint64(m.last()-m.base)))}
	}
	var s step
	for range 1 + random.IntN(3) {
		var w raft.Write
		term := max(m.hard.Term, 1)
		if random.IntN(3) == 0 {
			term++
			w.Hard = hard(term, raft.NodeID(random.IntN(4)))
		}
		last := m.last()
		switch n := random.IntN(30); {
		case n == 0:
			last += raft.Index(random.IntN(5))
			w.Reset = mark(max(last, 1), term)
			last = max(last, 1)
		case n < 8 && last > m.base:
			back := 1 + raft.Index(random.Uint64N(min(20, uint64(last-m.base))))
			last -= back
			w.TruncateFrom = last + 1
		}
		size := []int{0, 10, 300, 2000, 9000}[random.IntN(5)]
		w.Entries = rafttest.Entries(last+1, term, random.IntN(8), size)
		if random.IntN(5) == 0 && len(w.Entries) > 0 {
			at := w.Entries[0].Position()
			w.Entries[0] = raft.NewEntry(at, raft.KindConfig, mark(at.Index, at.Term).Config.AppendBinary(nil))
		}
		m = m.after(write(w))
		s.writes = append(s.writes, w)
	}
	return s
}

// reboot opens the log again after a fault of any kind, whatever else happens meanwhile.
func (r *run) reboot(random *rand.Rand, err error) error {
	for range 20 {
		switch {
		case !errors.Is(err, rafttest.ErrPowerCut):
			r.disk.Kill()
		case random.IntN(3) == 0:
			r.disk.Resume()
		default:
			r.disk.Crash()
		}
		if random.IntN(4) == 0 {
			r.disk.CutAt(1 + random.IntN(10))
		}
		if err = r.open(); err == nil {
			_, err = r.disk.List() // the power may be gone since, while a spare was made
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// Invariant 5 in random runs: power cuts, kills, failed flushes and a full disk, in recovery too. After each a log holds
// what was acknowledged, and the write that was interrupted whole or not at all.
func TestRandomRuns(t *testing.T) {
	faults, full := 0, 0
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 2))
		r := &run{disk: rafttest.NewDisk(seed)}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		m := model{}
		for i := range 120 {
			switch random.IntN(25) {
			case 0, 1:
				r.disk.CutAt(1 + random.IntN(15))
			case 2:
				r.disk.FailSync(1 + random.IntN(5))
			case 3:
				r.disk.SetFull(r.disk.Used() + random.Int64N(2*smallSegment))
			case 4, 5, 6:
				r.disk.SetFull(0)
			}
			s := randomStep(random, m)
			_, err := r.take([]step{s})
			switch {
			case err == nil:
				m = m.after(s)
				continue
			case errors.Is(err, raft.ErrDiskFull):
				full++
				continue
			}
			faults++
			if err := r.reboot(random, err); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, i, err)
			}
			if after := m.after(s); m.differs(r.log) != "" && after.differs(r.log) == "" {
				m = after
			}
			if why := m.differs(r.log); why != "" {
				t.Fatalf("seed %d, step %d: %s", seed, i, why)
			}
		}
	}
	t.Logf("%d faults, %d times full", faults, full)
	if faults < 500 || full < 200 {
		t.Errorf("%d faults, %d times full: the runs are too tame", faults, full)
	}
}
