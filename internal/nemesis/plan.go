package nemesis

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// scenarioLength is how long faults happen in one scenario, if no shorter one is asked for.
const scenarioLength = 45 * time.Second

// block is how many scenarios in a row, from one with number 1 modulo block on, have every kind of fault between them.
const block = 3

// fault is one fault of a plan. Whom it hits is known when it is injected, as it depends on who runs and who leads then.
type fault struct {
	kind kind
	at   time.Duration // since the beginning
	last time.Duration // how long
	pick uint64        // draws whom it hits
	size float64       // how bad it is, from 0 to 1
}

// plan is what happens in a scenario.
type plan struct {
	seed   uint64
	length time.Duration
	faults []fault // by at
}

// newPlan draws a plan: the same for the same seed and length.
func newPlan(seed uint64, length time.Duration) plan {
	p := plan{seed: seed, length: length}
	dice := rand.New(rand.NewPCG(seed, 1))
	for l := range lanes {
		p.faults = append(p.faults, l.draw(seed, length, dice)...)
	}
	slices.SortStableFunc(p.faults, func(a, b fault) int { return cmp.Compare(a.at, b.at) })
	return p
}

// draw fills a lane: first with what the scenario was dealt, then with any kinds that keep the clocks as the guarantees assume them.
func (l lane) draw(seed uint64, length time.Duration, dice *rand.Rand) []fault {
	var faults []fault
	dealt := l.deal(seed)
	rest := slices.DeleteFunc(l.of(), func(k kindInfo) bool { return k.beyond || k.leadersSkewed })
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(dice.Int64N(int64(most-least)))
	}
	for at := between(time.Second, 3*time.Second); ; {
		var k kindInfo
		if len(dealt) > 0 {
			k, dealt = dealt[0], dealt[1:]
		} else {
			k = rest[dice.IntN(len(rest))]
		}
		f := fault{kind: k.kind, at: at, last: between(k.least, k.most), pick: dice.Uint64(), size: dice.Float64()}
		if f.at+f.last > length {
			return faults
		}
		faults = append(faults, f)
		at += f.last + between(time.Second/2, 2*time.Second)
	}
}

// deal returns the part of a lane's kinds that falls to a scenario, in an order drawn for its block.
func (l lane) deal(seed uint64) []kindInfo {
	deck := l.of()
	shuffle := rand.New(rand.NewPCG((seed+block-1)/block, uint64(l)+2))
	shuffle.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	var dealt []kindInfo
	for i := int((seed + block - 1) % block); i < len(deck); i += block {
		dealt = append(dealt, deck[i])
	}
	return dealt
}

// counts returns how often each kind is planned.
func (p plan) counts() map[kind]int {
	n := map[kind]int{}
	for _, f := range p.faults {
		n[f.kind]++
	}
	return n
}

// clocksBeyond reports whether the plan breaks the assumption about clock rates, and whether it disturbs the leader's count of time.
func (p plan) clocksBeyond() (everybody, leaders bool) {
	for _, f := range p.faults {
		everybody = everybody || f.kind.info().beyond
		leaders = leaders || f.kind.info().leadersSkewed
	}
	return everybody, leaders
}

// String returns the plan, a line for each fault.
func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan of seed %d, %v:\n", p.seed, p.length)
	for _, f := range p.faults {
		fmt.Fprintf(&b, "%s\n", f)
	}
	return b.String()
}

// String returns the fault in a line.
func (f fault) String() string {
	return fmt.Sprintf("%6.1fs +%.1fs %s (%.2f)", f.at.Seconds(), f.last.Seconds(), f.kind, f.size)
}
