package history

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/session"
)

// tenure is the time in which a process believed that it held something.
type tenure struct {
	token    uint64
	process  string
	keys     []string
	mode     Mode
	limit    int
	from, to int64
	shows    []*Operation
}

// validity checks that holders which exclude each other never believe at one moment that they hold: by what their clients' library told them,
// and by the KeepAlives that were confirmed to them.
func validity(h *History, t *traffic, skewed []string, r *report) {
	byKey := map[string][]*tenure{}
	for _, x := range tenures(h.Operations, reaches(t)) {
		if slices.Contains(skewed, x.process) || x.to <= x.from {
			continue
		}
		for _, key := range x.keys {
			byKey[key] = append(byKey[key], x)
		}
	}
	for _, key := range sortedKeys(byKey) {
		list := byKey[key]
		slices.SortFunc(list, func(a, b *tenure) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.token, b.token)) })
		overlaps(key, list, r)
	}
}

// reaches returns until when the session of each token is valid, as its client works it out from what was confirmed.
func reaches(t *traffic) map[uint64]int64 {
	sessions := map[session.Life]int64{}
	byToken := map[uint64]int64{}
	for _, q := range t.commands {
		switch m := q.message.(type) {
		case *wire.Open:
			if len(q.answers) > 0 {
				l := session.Life{ID: session.ID(m.Session), Index: q.answers[0].index}
				sessions[l] = t.reach(l, q.call, q.answers[0].at)
			}
		case *wire.Acquire:
			for _, a := range q.answers {
				if until, ok := sessions[life(m.Request.Life)]; ok && m.LeaseTTL == 0 && a.outcome.Code == wire.Granted {
					byToken[a.outcome.Token] = until
				}
			}
		}
	}
	return byToken
}

// reach returns until when a session is valid that was asked for at one time and told to be open at another.
func (t *traffic) reach(l session.Life, asked, opened int64) int64 {
	span := t.spans[l.ID]
	carries := int64(span/100*99 - min(span/10, time.Second))
	until := asked + carries
	if opened > until {
		return 0
	}
	list := slices.Clone(t.renewals[l])
	slices.SortFunc(list, func(a, b renewal) int { return cmp.Compare(a.at, b.at) })
	for _, k := range list {
		if k.at > 0 && k.verdict == wire.Renewed && k.at < until { // later ones come to a client that has given up
			until = max(until, k.sent+carries)
		}
	}
	return until
}

// tenures puts together what is known of each token.
func tenures(operations []Operation, reaches map[uint64]int64) []*tenure {
	known := map[uint64]*tenure{}
	ends := map[uint64]int64{}
	end := func(token uint64, at int64) {
		if before, ok := ends[token]; !ok || at < before {
			ends[token] = at
		}
	}
	for i := range operations {
		o := &operations[i]
		switch o.Kind {
		case Release, Lost:
			end(o.Token, o.Call)
		case HandOn:
			end(o.Before, o.Call)
		default:
		}
		if o.Outcome != OK || o.Token == 0 {
			continue
		}
		x := known[o.Token]
		switch o.Kind {
		case Acquire, HandOn:
			if x == nil {
				x = &tenure{token: o.Token, process: o.Process, keys: o.Keys, mode: o.Mode, limit: o.Limit, from: o.Return, to: reaches[o.Token]}
				if before := known[o.Before]; o.Kind == HandOn && before != nil {
					x.keys, x.mode, x.limit = before.keys, before.mode, before.limit
				}
				known[o.Token] = x
			}
		case Renew, Held:
		default:
			continue
		}
		if x != nil && o.Until > 0 {
			x.to = max(x.to, o.Until)
			x.shows = append(x.shows[:min(1, len(x.shows))], o) // the first and the last
		}
	}
	for token, at := range ends {
		if x := known[token]; x != nil {
			x.to = min(x.to, at)
		}
	}
	return slices.Collect(maps.Values(known))
}

// overlaps goes through the tenures of one lock, in the order in which they began.
func overlaps(key string, list []*tenure, r *report) {
	var last, alone *tenure // that ends last; among the exclusive ones
	var slots holding
	for _, x := range list {
		against := last
		switch x.mode {
		case Shared:
			against = alone
		case Slot:
			against = alone
			for len(slots) > 0 && slots[0].to <= x.from {
				heap.Pop(&slots)
			}
			if heap.Push(&slots, x); x.limit > 0 && len(slots) > x.limit {
				r.add("validity", fmt.Sprintf("%d hold the %d slots of %s at %s", len(slots), x.limit, key, moment(x.from)), slots)
			}
		case Exclusive:
		}
		if against != nil && against.to > x.from {
			r.add("validity", fmt.Sprintf("two hold %s at %s", key, moment(x.from)), holding{against, x})
		}
		if last == nil || x.to > last.to {
			last = x
		}
		if x.mode != Shared && x.mode != Slot && (alone == nil || x.to > alone.to) {
			alone = x
		}
	}
}

// holding is a heap of those that hold, whoever ends first at the top.
type holding []*tenure

func (e holding) Len() int           { return len(e) }
func (e holding) Less(i, j int) bool { return e[i].to < e[j].to }
func (e holding) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *holding) Push(x any) {
	added, _ := x.(*tenure)
	*e = append(*e, added)
}

func (e *holding) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (e holding) String() string {
	var lines []string
	for _, x := range e {
		lines = append(lines, fmt.Sprintf("%s holds token %d (%s) from %s to %s", x.process, x.token, x.mode, moment(x.from), moment(x.to)))
		for _, o := range x.shows {
			lines = append(lines, "    as of "+o.String())
		}
	}
	return strings.Join(lines, "\n    ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
