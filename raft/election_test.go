package raft_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/raft"
)

// possibleStarts returns every state of a node with a log of at most two entries and terms up to three after the base's.
func possibleStarts() (all []start) {
	const first, last = 2, 4
	logs := [][]raft.Term{nil}
	for a := raft.Term(first); a <= last; a++ {
		logs = append(logs, []raft.Term{a})
		for b := a; b <= last; b++ {
			logs = append(logs, []raft.Term{a, b})
		}
	}
	for _, log := range logs {
		least := raft.Term(1)
		if len(log) > 0 {
			least = log[len(log)-1]
		}
		for term := least; term <= last; term++ {
			all = append(all, start{raft.HardState{Term: term}, log})
		}
	}
	return all
}

// mayMeet reports whether two logs can be of one cluster: an entry of the same index and term has the same log before it.
func mayMeet(a, b start) bool {
	return len(a.terms) < 2 || len(b.terms) < 2 || a.terms[1] != b.terms[1] || a.terms[0] == b.terms[0]
}

// wereElected reports whether every term that stands in a log can have had a leader: a majority has seen it.
func wereElected(starts []start) bool {
	for _, s := range starts {
		for _, term := range s.terms {
			seen := 0
			for _, voter := range starts {
				if voter.hard.Term >= term {
					seen++
				}
			}
			if seen <= len(starts)/2 {
				return false
			}
		}
	}
	return true
}

// TestEveryStateElects starts clusters of three and five nodes in every combination of short logs and low terms, the
// low term with the long log and the high term with the short one among them: all of them agree on a leader, and on one
// log, within a few elections. (Trap 6: a term learned from the refusal of a PreVote is adopted.)
func TestEveryStateElects(t *testing.T) {
	starts := possibleStarts()
	for _, c := range []struct {
		name   string
		nodes  int
		orders int // in which nodes take the states
	}{{"three", 3, 6}, {"five", 5, 1}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			count, most := 0, 0
			combine(starts, c.nodes, func(number int, chosen []start) {
				if testing.Short() && number%20 != 0 {
					return
				}
				for order := range c.orders {
					count++
					most = max(most, electFrom(t, ordered(chosen, number+order)))
				}
			})
			if count < 300 {
				t.Errorf("only %d clusters were tried", count)
			}
			t.Logf("%d clusters; most elections before all agree: %d", count, most)
		})
	}
}

// ordered gives the states to the nodes in another order for each number.
func ordered(chosen []start, number int) []start {
	list := slices.Clone(chosen)
	if number%2 == 1 {
		slices.Reverse(list)
	}
	turn := number / 2 % len(list)
	return slices.Concat(list[turn:], list[:turn])
}

// combine calls try with every choice of n starts, in an order that does not fall, whose logs can be of one cluster.
func combine(starts []start, n int, try func(number int, chosen []start)) {
	number := 0
	chosen := make([]start, 0, n)
	var extend func(from int)
	extend = func(from int) {
		if len(chosen) == n {
			if wereElected(chosen) {
				try(number, chosen)
				number++
			}
			return
		}
		for i := from; i < len(starts); i++ {
			if slices.ContainsFunc(chosen, func(s start) bool { return !mayMeet(s, starts[i]) }) {
				continue
			}
			chosen = append(chosen, starts[i])
			extend(i)
			chosen = chosen[:len(chosen)-1]
		}
	}
	extend(0)
}

// electFrom returns how many elections began before all nodes agreed.
func electFrom(t *testing.T, starts []start) int {
	t.Helper()
	const enough = 12
	g := newGroup(t, starts...)
	if !g.run(15*time.Second, func() bool { return g.rounds > enough || g.agreed() != nil }) || g.rounds > enough {
		t.Fatalf("from %v: no agreement after %v and %d elections", starts, g.now, g.rounds)
	}
	return g.rounds
}

// campaigns returns when a node that hears nothing stands for election, from which moment each wait is drawn anew.
func campaigns(t *testing.T, seed uint64, n int) (waits []time.Duration) {
	t.Helper()
	base := raft.Mark{Position: raft.Position{Index: 1, Term: 1}, Config: raft.Config{Index: 1, Voters: peersOf(3)}}
	core, err := raft.NewCore(0, raft.Options{ID: raft.PeerID{Node: 1}, Seed: seed}, raft.State{
		Hard: raft.HardState{Term: 1}, Base: base, Last: 1,
	}, base)
	if err != nil {
		t.Fatal(err)
	}
	var now, before time.Duration
	for len(waits) < n {
		now = core.Deadline()
		core.Wake(now)
		if len(core.Output().Send) > 0 {
			waits = append(waits, now-before)
			before = now
		}
	}
	return waits
}

// TestTimeoutsAreDrawnAnew: waits differ from campaign to campaign and from node to node, within their bounds, and are
// the same for the same seed. (Trap 14; Raft, section 5.2.)
func TestTimeoutsAreDrawnAnew(t *testing.T) {
	a, again, b := campaigns(t, 1, 20), campaigns(t, 1, 20), campaigns(t, 2, 20)
	if !slices.Equal(a, again) {
		t.Errorf("one seed, two series:\n%v\n%v", a, again)
	}
	for i := range a {
		if slices.Contains(a[:i], a[i]) || slices.Contains(b, a[i]) {
			t.Errorf("wait %d, of %v, comes twice", i, a[i])
		}
		if least, most := 240*time.Millisecond, 2*time.Second; a[i] < least || a[i] > most {
			t.Errorf("wait %d, of %v, is outside %v to %v", i, a[i], least, most)
		}
	}
}
