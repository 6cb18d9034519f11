package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Partition is a time in which a minority of the nodes, and some processes of clients with them, were cut off from all others.
type Partition struct {
	From, To  int64    // when all links had been cut, and when the first of them was healed
	Nodes     []string // of the minority, as their audits name them
	Processes []string // of clients on its side
	Heard     bool     // what the others send reaches them: they may learn what the majority has decided
}

// Parted is what a check has found about one Partition.
type Parted struct {
	Tried     int64         // acquires of the minority's clients that were under way
	Late      int64         // grants that came to them just after the cut, decided before it
	News      int64         // grants by the majority that they heard of
	Lost      int64         // their holds that ended by their own validity
	HandOvers int64         // of these, how many the majority granted to one of its own clients before the network was healed
	Soonest   time.Duration // least time from the end of such a validity to that grant
	Grants    int64         // to the majority's clients meanwhile
	Served    time.Duration // from the healing until every process had been granted something
}

// partedSlack is how long after a cut an answer that was decided before may arrive, and how much later than the first node a majority's
// may apply an entry.
const partedSlack = int64(time.Second)

// parting is a Partition that is being checked.
type parting struct {
	Partition
	Parted

	*witness

	majority map[uint64]int64 // when a node of the majority has first applied each entry
	tenures  []*tenure
	released map[uint64]int64 // by token: when its release began
	byKey    map[string][]uint64
	owner    map[uint64]string // of a token: the process that heard of its grant
}

// partitions checks what happened while nodes were cut off: the minority decides nothing and confirms nothing, what its clients hold ends by
// their own validity before anybody else is granted it, the majority goes on and loses nothing, and afterwards everybody is served.
func (w *witness) partitions(h *History, audits []*Audit, o Options) {
	if len(o.Partitions) == 0 {
		return
	}
	known := &parting{
		witness: w, tenures: tenures(h.Operations, reaches(w.t)), released: map[uint64]int64{}, byKey: map[string][]uint64{}, owner: map[uint64]string{},
	}
	slices.SortFunc(known.tenures, func(a, b *tenure) int { return cmp.Compare(a.token, b.token) })
	for i := range h.Operations {
		switch op := &h.Operations[i]; {
		case op.Kind == Release && known.released[op.Token] == 0:
			known.released[op.Token] = op.Call
		case op.Kind == Acquire && op.Outcome == OK:
			known.owner[op.Token] = op.Process
		}
	}
	for token, g := range w.grants {
		for _, name := range g.names {
			known.byKey[name] = append(known.byKey[name], token)
		}
	}
	for _, tokens := range known.byKey {
		slices.Sort(tokens)
	}
	for _, part := range o.Partitions {
		p := *known
		p.Partition = part
		p.applied(audits)
		p.operations(h.Operations)
		p.renewals()
		p.handOvers()
		p.served(h.Operations, o.Served)
		p.enough()
		w.r.Partitions = append(w.r.Partitions, p.Parted)
	}
	w.untouched(h.Operations, o.Partitions)
}

// bad notes a violation.
func (p *parting) bad(text string, shown ...any) {
	p.r.add("partition", fmt.Sprintf("%q were cut off from %s to %s, and %s", p.Nodes, moment(p.From), moment(p.To), text), shown...)
}

// within reports whether something is in the partition, and not so early that it may have been decided before.
func (p *parting) within(at int64) bool { return at > p.From+partedSlack && at <= p.To }

func (p *parting) minority(process string) bool { return slices.Contains(p.Processes, process) }

// when returns when a node had first applied the entry that granted a token, the end of all time if the log does not grant it.
func (p *parting) when(token uint64) (index uint64, at int64) {
	g, ok := p.grants[token]
	if !ok {
		return 0, forever
	}
	return g.index, p.log[g.index-p.log[0].Index].At
}

// decided reports whether a node of the majority had applied an entry soon after somebody else knew of it.
func (p *parting) decided(index uint64, known int64) bool {
	at, ok := p.majority[index]
	return ok && at <= known+partedSlack
}

// applied checks that the minority commits nothing: what any node applies one of the majority has applied, too.
func (p *parting) applied(audits []*Audit) {
	p.majority = map[uint64]int64{}
	for _, a := range audits {
		if slices.Contains(p.Nodes, a.Node) {
			continue
		}
		for i := range a.Entries {
			e := &a.Entries[i]
			if before, ok := p.majority[e.Index]; !ok || e.At < before {
				p.majority[e.Index] = e.At
			}
		}
	}
	for i := range p.log {
		if e := &p.log[i]; p.within(e.At) && !p.decided(e.Index, e.At) {
			p.bad("an entry was applied by them alone", seen{"log", e})
		}
	}
}

// operations checks that no acquire of the minority's clients is granted but by the majority, and counts what both sides do.
func (p *parting) operations(list []Operation) {
	for i := range list {
		o := &list[i]
		if o.Kind != Acquire && o.Kind != HandOn {
			continue
		}
		granted := o.Outcome == OK
		if !p.minority(o.Process) {
			if granted && p.within(o.Return) {
				p.Grants++
			}
			continue
		}
		if o.Call < p.To && (o.Return == 0 || o.Return > p.From+partedSlack) {
			p.Tried++
		}
		switch {
		case granted && o.Return > p.From && o.Return <= p.From+partedSlack:
			p.Late++
		case granted && p.within(o.Return):
			if index, _ := p.when(o.Token); !p.Heard || !p.decided(index, o.Return) {
				p.bad("a client on their side was granted something", o)
				continue
			}
			p.News++
		}
	}
}

// renewals checks that the minority confirms no session.
func (p *parting) renewals() {
	for life, list := range p.t.renewals {
		for i := range list {
			k := &list[i]
			if p.minority(k.process) && p.within(k.at) && k.verdict == wire.Renewed && (!p.Heard || k.sent > p.From) {
				p.bad("a session on their side was renewed", beat{life, k})
			}
		}
	}
}

// handOvers checks that what the minority's clients held was granted to nobody before they knew that it had ended.
func (p *parting) handOvers() {
	for _, x := range p.tenures {
		if !p.minority(x.process) || x.mode != Exclusive || x.to <= p.From || x.from >= p.To {
			continue
		}
		released, ok := p.released[x.token]
		alone := (!ok || released > x.to) && x.to <= p.To // nothing but its validity has ended it
		if alone {
			p.Lost++
		}
		for _, key := range x.keys {
			tokens := p.byKey[key]
			next, _ := slices.BinarySearch(tokens, x.token+1)
			if next == len(tokens) {
				continue
			}
			index, at := p.when(tokens[next])
			if at < x.to {
				p.bad(fmt.Sprintf("%s was granted to somebody else while one of their clients held it", key), holding{x}, seen{"log", &p.log[index-p.log[0].Index]})
				continue
			}
			if owner := p.owner[tokens[next]]; alone && at <= p.To && owner != "" && !p.minority(owner) {
				if wait := time.Duration(at - x.to); p.HandOvers == 0 || wait < p.Soonest {
					p.Soonest = wait
				}
				p.HandOvers++
			}
		}
	}
}

// served checks that every process is granted something soon after the network was healed.
func (p *parting) served(list []Operation, limit time.Duration) {
	first := map[string]int64{}
	for i := range list {
		o := &list[i]
		if _, ok := first[o.Process]; !ok {
			first[o.Process] = forever
		}
		if o.Kind == Acquire && o.Outcome == OK && o.Return > p.To {
			first[o.Process] = min(first[o.Process], o.Return)
		}
	}
	for _, process := range sortedKeys(first) {
		if first[process] == forever || time.Duration(first[process]-p.To) > limit {
			p.bad(fmt.Sprintf("%s was granted nothing within %v of the healing", process, limit))
			continue
		}
		p.Served = max(p.Served, time.Duration(first[process]-p.To))
	}
}

// enough checks that the partition shows anything.
func (p *parting) enough() {
	if p.Tried == 0 {
		p.bad("none of their clients asked for anything")
	}
	if p.Grants == 0 {
		p.bad("the others granted nothing to their own clients")
	}
}

// untouched checks that clients that were never cut off lose nothing.
func (w *witness) untouched(list []Operation, partitions []Partition) {
	cut := func(process string) bool {
		return slices.ContainsFunc(partitions, func(p Partition) bool { return slices.Contains(p.Processes, process) })
	}
	for i := range list {
		if o := &list[i]; o.Kind == Lost && !cut(o.Process) {
			w.r.add("partition", "a client that was never cut off has lost what it held", o)
		}
	}
	for _, q := range w.t.commands {
		m, ok := q.message.(*wire.Open)
		if !ok || len(q.answers) == 0 || cut(q.process) {
			continue
		}
		l := session.Life{ID: session.ID(m.Session), Index: q.answers[0].index}
		if ended, dead := w.ended[l]; dead && ended.how == locktable.Expired {
			w.r.add("partition", fmt.Sprintf("session %v of %s, which was never cut off, has expired", l, q.process), seen{"log", &w.log[ended.entry]})
		}
	}
}
