package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lockd/lockd/internal/wire"
)

// claim is a grant as a client heard of it.
type claim struct {
	process  string
	keys     []string
	token    uint64
	call, at int64
	entered  bool // it may be the second of its token
	show     fmt.Stringer
}

// claimsOf returns the grants that the operations tell of.
func claimsOf(operations []Operation) []claim {
	var list []claim
	for i := range operations {
		o := &operations[i]
		if o.Outcome == OK && (o.Kind == Acquire || o.Kind == HandOn) {
			list = append(list, claim{o.Process, o.Keys, o.Token, o.Call, o.Return, o.Reentrant, o})
		}
	}
	return list
}

// claimsIn returns the grants that the frames tell of.
func claimsIn(t *traffic) []claim {
	var list []claim
	for _, q := range t.commands {
		var names []string
		switch m := q.message.(type) {
		case *wire.Acquire:
			names = m.Names
		case *wire.TakeLease:
			names = []string{m.Name}
		default:
			continue
		}
		for _, a := range q.answers {
			if a.outcome.Code == wire.Granted {
				list = append(list, claim{q.process, names, a.outcome.Token, q.call, a.at, false, shown{q, a}})
				break
			}
		}
	}
	return list
}

// tokens checks that one token has one owner, and that tokens rise in real time: whoever asks when another has been granted gets a
// higher one. There is one counter for all locks.
func tokens(claims []claim, r *report) {
	slices.SortStableFunc(claims, func(a, b claim) int { return cmp.Or(cmp.Compare(a.token, b.token), cmp.Compare(a.call, b.call)) })
	var latest *claim // of the lower tokens, the one that was asked for last
	for i := range claims {
		c := &claims[i]
		if i > 0 && claims[i-1].token == c.token {
			if first := &claims[i-1]; first.process != c.process || !slices.Equal(first.keys, c.keys) || !c.entered {
				r.add("tokens", fmt.Sprintf("token %d was granted twice", c.token), first.show, c.show)
			}
			continue
		}
		if latest != nil && c.at < latest.call {
			r.add("tokens", fmt.Sprintf("token %d had been granted before the lower token %d was asked for", c.token, latest.token),
				c.show, latest.show)
		}
		if latest == nil || c.call > latest.call {
			latest = c
		}
	}
}

// outcomes checks that every request has one outcome, whatever a client is answered how often.
func outcomes(t *traffic, r *report) {
	for _, q := range t.commands {
		var first *answer
		for i := range q.answers {
			a := &q.answers[i]
			switch {
			case !decided(a.outcome.Code), q.seq == 0 && q.kind != wire.TypeOpen:
			case first == nil:
				first = a
			case first.outcome.Code == wire.Reentered && a.outcome.Code == wire.Cancelled: // and left again
			case first.index != a.index || first.outcome.Code != a.outcome.Code || first.outcome.Token != a.outcome.Token:
				r.add("one outcome", "a request has two outcomes", q, first, a)
			}
		}
	}
}

// place is a request in the queue of a name.
type place struct {
	queued int64 // when its client knew that it waits
	call   int64
	token  uint64
	show   shown
}

// order checks that waiters are served first come first served: whoever asks when another is known to wait gets a higher token.
// A request for several names may wait for another of them, and is not compared.
func order(t *traffic, r *report) {
	asked, waits := map[string][]place{}, map[string][]place{}
	for _, q := range t.commands {
		m, ok := q.message.(*wire.Acquire)
		if !ok {
			continue
		}
		p := place{queued: forever, call: q.call}
		for _, a := range q.answers {
			switch a.outcome.Code { //nolint:exhaustive // others are no place in a queue
			case wire.Queued:
				p.queued = min(p.queued, a.at)
			case wire.Granted:
				p.token, p.show = a.outcome.Token, shown{q, a}
			}
		}
		if p.token == 0 {
			continue
		}
		for _, name := range m.Names {
			asked[name] = append(asked[name], p)
		}
		if p.queued < forever && len(m.Names) == 1 {
			waits[m.Names[0]] = append(waits[m.Names[0]], p)
		}
	}
	for _, name := range sortedKeys(waits) {
		slices.SortFunc(waits[name], func(a, b place) int { return cmp.Compare(a.queued, b.queued) })
		overtaken(name, waits[name], asked[name], r)
	}
}

// overtaken looks for requests that were granted before those that waited when they were made. Waits are in the order in which they were
// known to wait, and asked in that of the calls.
func overtaken(name string, waits, asked []place, r *report) {
	var highest *place // token of those that waited
	for i := range asked {
		for len(waits) > 0 && waits[0].queued < asked[i].call {
			if highest == nil || waits[0].token > highest.token {
				highest = &waits[0]
			}
			waits = waits[1:]
		}
		if highest != nil && asked[i].token < highest.token {
			r.add("order", fmt.Sprintf("at %s a request was granted before one that waited already", name), highest.show, asked[i].show)
		}
	}
}

// granted compares the grants and releases that the client's library told of with those of the log.
func (w *witness) granted(operations []Operation) {
	if !w.all() {
		return // it is not known what would have been granted
	}
	for i := range operations {
		o := &operations[i]
		if o.Outcome != OK {
			continue
		}
		switch o.Kind { //nolint:exhaustive // the others say nothing that is in the log
		case Acquire, HandOn:
			g, ok := w.grants[o.Token]
			if !ok {
				g = &grant{} // of nothing
			}
			if o.Kind == Acquire && !sameNames(g.names, o.Keys) || !slices.Contains(g.names, o.Keys[0]) {
				w.r.add("lost", fmt.Sprintf("token %d of %s was granted, and the log grants it to %q", o.Token, strings.Join(o.Keys, ","), g.names), o)
				continue
			}
			if !o.Reentrant {
				w.points = append(w.points, point{index: g.index, rank: other, call: o.Call, at: o.Return, show: o})
			}
		case Release:
			g, ok := w.grants[o.Token]
			if !ok || !g.ended && !g.entered {
				w.r.add("lost", fmt.Sprintf("token %d was released, and by the log it was not", o.Token), o)
			}
		}
	}
}

func sameNames(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(b, func(name string) bool { return !slices.Contains(a, name) })
}
