package history

import "testing"

const operations = 500 // of a history

// histories returns how many of a whole number of histories are tried: fewer in the short form, which is for the race detector. The
// checkers are the same for each of them.
func histories(whole int) int {
	if testing.Short() {
		return whole / 10
	}
	return whole
}

// TestCleanHistories: what can be true is found to be true.
func TestCleanHistories(t *testing.T) {
	var all Verdict
	n := histories(200)
	for seed := range uint64(n) {
		s := newWorld(t, seed, 6, 3).run(operations)
		v, err := Check(s.h, s.audits, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Err(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		all.Grants += v.Grants
		all.Writes += v.Writes
		all.Unknown += v.Unknown
		all.Happened += v.Happened
		all.Never += v.Never
		all.Answers += v.Answers
		all.Reads += v.Reads
		all.Renewals += v.Renewals
		all.Expiries += v.Expiries
		all.Searched += v.Searched
		all.TooLong += v.TooLong
	}
	for what, count := range map[string]int64{
		"grants": all.Grants, "writes": all.Writes, "unknown": all.Unknown, "happened": all.Happened, "never": all.Never, "reads": all.Reads,
		"renewals": all.Renewals, "expiries": all.Expiries, "searched": all.Searched,
	} {
		if count < int64(n/4) {
			t.Errorf("%d histories have no more than %d %s: they show nothing of them", n, count, what)
		}
	}
	t.Logf("%+v", all)
}
