package history

import (
	"cmp"
	"fmt"
	"slices"
)

// fencing checks the resources: tokens of accepted writes never fall, and no increment is lost. At a resource that does not check tokens
// the lost ones are counted.
func fencing(operations []Operation, unfenced []string, r *report) {
	accepted := map[string][]*Operation{}
	for i := range operations {
		if o := &operations[i]; o.Kind == Write && o.Outcome == OK {
			accepted[o.Keys[0]] = append(accepted[o.Keys[0]], o)
		}
	}
	for _, key := range sortedKeys(accepted) {
		list := accepted[key]
		slices.SortFunc(list, func(a, b *Operation) int { return cmp.Compare(a.Order, b.Order) })
		before := &Operation{Kind: Write, Keys: []string{key}, Before: ^uint64(0), Outcome: OK} // that made the counter 0
		for _, o := range list {
			inOrder(before, o, slices.Contains(unfenced, key), r)
			before = o
		}
	}
}

// inOrder checks two writes that the resource accepted one after the other. Between them there may be others whose writers do not know.
func inOrder(first, second *Operation, unfenced bool, r *report) {
	missing := second.Order - first.Order - 1
	switch {
	case second.Order == first.Order:
		r.add("fencing", fmt.Sprintf("two writes are number %d at %s", first.Order, first.Keys[0]), first, second)
	case second.Before != first.Before+1+missing && unfenced:
		r.Lost++
	case second.Before != first.Before+1+missing:
		r.add("fencing", fmt.Sprintf("an increment was lost at %s", first.Keys[0]), first, second)
	}
	if !unfenced && second.Token < first.Token {
		r.add("fencing", fmt.Sprintf("%s has accepted a token after a higher one", first.Keys[0]), first, second)
	}
	if second.Return < first.Call {
		r.add("fencing", fmt.Sprintf("%s has numbered a write after one that began when it had been answered", first.Keys[0]), first, second)
	}
}
