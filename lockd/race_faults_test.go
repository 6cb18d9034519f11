package lockd_test

import (
	"slices"
	"time"

	"github.com/lockd/lockd/membership"
)

// mischief does something now and then, and more often while a founding is under way.
func (r *race) mischief(m *raced) {
	chance := r.pace
	open, all := false, true
	for _, n := range r.racers[:racers] {
		s := n.config.Disk.Seen()
		open = open || s.Promise != ""
		all = all && s.Cluster != ""
	}
	if open {
		chance *= 4
	}
	if all || r.rng.Float64() >= chance {
		return
	}
	if r.disturb() {
		m.at = true
	}
}

// disturb does one thing, if what it has drawn is allowed now.
func (r *race) disturb() bool {
	const longest = 4 * time.Second
	n := r.racers[r.rng.IntN(racers)]
	other := r.racers[r.rng.IntN(racers)]
	switch kind := r.rng.IntN(8); {
	case kind < 3: // whoever founds is hit more often than others
		for _, f := range r.racers[:racers] {
			if f.config.Disk.Seen().Founder && r.rng.IntN(2) == 0 {
				n = f
			}
		}
		if !n.up || !r.mayGo(n) {
			return false
		}
		n.crash(r.upTo(longest), false)
		r.count("crash")
	case kind == 3:
		if !n.up || !r.mayGo(n) || !r.mayBeWiped(n) {
			return false
		}
		r.spare--
		n.crash(r.upTo(longest), true)
		r.count("wipe")
	case kind == 4:
		inside := r.rng.Uint64()
		until := time.Now().Add(r.upTo(longest))
		for i := range racers {
			for j := range i {
				if inside>>i&1 != inside>>j&1 {
					r.cut(i, j, until, r.net.Cut)
				}
			}
		}
		r.count("partition")
	case kind == 5:
		r.cut(n.i, other.i, time.Now().Add(r.upTo(longest)), r.net.Cut)
		r.count("partial cut")
	case kind == 6:
		r.cut(n.i, other.i, time.Now().Add(r.upTo(longest)), r.net.CutOneWay)
		r.count("one-way cut")
	default:
		if n.i != other.i {
			r.net.Delay(wildHost(n.i), wildHost(other.i), r.upTo(raceDelay))
		}
		r.count("delay")
	}
	return true
}

// mayGo reports whether a node may be crashed: not who founds a cluster beside another operator, until both know of one.
func (r *race) mayGo(n *racer) bool {
	return r.free || !slices.Contains(r.callers, n.i) || r.settled()
}

func (r *race) settled() bool {
	return !slices.ContainsFunc(r.callers, func(i int) bool { return r.racers[i].config.Disk.Seen().Cluster == "" })
}

// mayBeWiped reports whether a node may lose its disk: none that founds or has a cluster, and as long as others cannot have relied on it.
func (r *race) mayBeWiped(n *racer) bool {
	s := n.config.Disk.Seen()
	switch {
	case r.spare == 0 || n.founder || s.Founder || s.Cluster != "" || slices.Contains(r.callers, n.i):
		return false
	case r.way == byList:
		return slices.ContainsFunc(r.racers[:racers], func(n *racer) bool { return !n.once })
	case r.way == byInit:
		return r.counted("order to found") == 0
	}
	return true
}

// cut cuts two nodes from each other for a while, but never two whose operators may both found.
func (r *race) cut(i, j int, until time.Time, how func(a, b string)) {
	both := slices.Contains(r.callers, i) && slices.Contains(r.callers, j)
	if i == j || both && !r.settled() {
		return
	}
	r.saying("cut n%d from n%d until %s", i+1, j+1, until.Format("04:05.000"))
	r.cuts[pair(i, j)] = until
	how(wildHost(i), wildHost(j))
}

// mend ends all faults, as an operator would.
func (r *race) mend(m *raced) {
	r.saying("all faults end")
	r.leaves = time.Time{}
	r.whole(m)
	for _, n := range r.racers {
		if n.correct != nil {
			n.crash(0, false)
			n.correct(&n.config)
			r.whole(m)
		}
	}
	// A founding by a number wants exactly so many: those above it wait until there is a cluster.
	if r.expect == 0 || r.expect == racers {
		return
	}
	for over := time.Now().Add(raceSettle); time.Now().Before(over) && (r.bound() || !r.acquainted()) && !r.formed(); r.tick() {
		r.step(m) // whoever has promised waits for the founder, and whose seeds are down finds nobody
	}
	if r.formed() {
		return
	}
	held := racers - r.expect
	for _, n := range r.racers[:racers] {
		if held > 0 {
			held--
			n.crash(time.Hour, false)
		}
	}
	for over := time.Now().Add(raceSettle); time.Now().Before(over) && !r.formed(); r.tick() {
		r.step(m)
	}
	r.whole(m)
}

func (r *race) formed() bool {
	return slices.ContainsFunc(r.racers, func(n *racer) bool { return n.config.Disk.Seen().Cluster != "" })
}

func (r *race) bound() bool {
	return slices.ContainsFunc(r.racers, func(n *racer) bool { return n.config.Disk.Seen().Promise != "" })
}

// acquainted reports whether all know all.
func (r *race) acquainted() bool {
	for _, n := range r.racers[:racers] {
		known := 0
		if s := n.running(); s != nil {
			members, _ := s.GossipMembers() // none before it listens
			for _, m := range members {
				if m.Status == membership.Alive.String() {
					known++
				}
			}
		}
		if known < racers {
			return false
		}
	}
	return true
}

// whole heals the network and starts everybody.
func (r *race) whole(m *raced) {
	for p := range r.cuts {
		r.heal(p)
	}
	for _, n := range r.racers {
		if !n.up {
			n.at = time.Now()
		}
	}
	for slices.ContainsFunc(r.racers, func(n *racer) bool { return !n.up }) {
		r.step(m)
		r.tick()
	}
}

const bridging = 2 // the node that bridge is about

// bridge lets three nodes see each other at first; then the third is cut off from the other two, ends, and comes back to two others: at
// best when the first have founded, and it has not heard of that. What it has promised must keep it from founding with those.
func (r *race) bridge(late time.Duration) {
	r.pace = 0
	r.leaves = time.Now().Add(late/2 + r.upTo(3*time.Second))
	for i := range racers {
		for j := range i {
			if j <= bridging && bridging < i {
				r.cut(i, j, r.leaves.Add(time.Minute), r.net.Cut)
			}
		}
	}
}

func (r *race) leave(m *raced) {
	n := r.racers[bridging]
	begun := n.config.Disk.Seen().Cluster == "" && slices.ContainsFunc(r.racers[:bridging], func(n *racer) bool { return n.config.Disk.Seen().Cluster != "" })
	if r.leaves.IsZero() || time.Now().Before(r.leaves) && !begun || !n.up {
		return
	}
	r.leaves = time.Time{}
	for i := range racers {
		switch {
		case i < bridging:
			r.cut(i, bridging, time.Now().Add(time.Minute), r.net.Cut)
		case i > bridging:
			r.heal(pair(i, bridging))
		}
	}
	n.crash(r.upTo(time.Second), false)
	r.count("crash")
	r.count("partition")
	m.at = true
}
