package locktable

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLineIsAnOrderedList compares a line with a sorted slice, through random additions and removals.
func TestLineIsAnOrderedList(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var l line[uint64]
		var want []uint64
		key := uint64(0)
		for range 400 {
			if rng.IntN(100) < 45+int(seed%20) {
				key += 1 + rng.Uint64N(3)
				k := key
				l.push(k, &k)
				want = append(want, k)
			} else {
				k := rng.Uint64N(key + 2)
				if rng.IntN(2) == 0 && len(want) > 0 {
					k = want[0]
				}
				l.remove(k)
				want = slices.DeleteFunc(want, func(w uint64) bool { return w == k })
			}
			checkLine(t, &l, want, rng.Uint64N(key+2))
		}
	}
}

func checkLine(t *testing.T, l *line[uint64], want []uint64, k uint64) {
	t.Helper()
	var got []uint64
	for x := range l.all {
		got = append(got, *x)
	}
	if !slices.Equal(got, want) || l.len() != len(want) {
		t.Fatalf("%d: %v, want %v", l.len(), got, want)
	}
	value := func(x *uint64) uint64 {
		if x == nil {
			return 0
		}
		return *x
	}
	i, found := slices.BinarySearch(want, k)
	at := func(i int) uint64 {
		if i < 0 || i >= len(want) {
			return 0
		}
		return want[i]
	}
	after := i
	if found {
		after++
	}
	for name, pair := range map[string][2]uint64{
		"first":    {value(l.first()), at(0)},
		"last":     {value(l.last()), at(len(want) - 1)},
		"after":    {value(l.after(k)), at(after)},
		"previous": {value(l.previous(k)), at(i - 1)},
		"get":      {value(l.get(k)), map[bool]uint64{true: k}[found]},
	} {
		if pair[0] != pair[1] {
			t.Fatalf("%s(%d) = %d, want %d in %v", name, k, pair[0], pair[1], want)
		}
	}
}
