package history

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Limits of a search, beyond which it may take for ever.
const (
	searchOperations = 200
	searchProcesses  = 10
	searchLimit      = 10 * time.Second
)

// step is an operation on one lock as the search sees it. A hold that was not given back ended at some moment after its validity, unseen.
type step struct {
	kind   stepKind
	token  uint64
	before uint64 // of a HandOn
	mode   Mode
	limit  int
	known  map[uint64]bool // of a query: the tokens that the history tells of
	show   *Operation      // nil: an end that nobody saw
}

type stepKind uint8

const (
	stepGrant stepKind = iota
	stepEnd
	stepHandOn
	stepQuery
)

// holder is one of those who hold the lock.
type holder struct {
	token uint64
	mode  Mode
}

// lockState is a lock as the search sees it.
type lockState struct {
	highest uint64
	holders []holder
}

// search looks, lock by lock and from what the client's library told alone, for an order that explains everything. It knows neither the log nor the
// specification of the service: only that a lock excludes and that its tokens rise.
func search(h *History, o Options, r *report) error {
	byKey := map[string][]*Operation{}
	for i := range h.Operations {
		switch op := &h.Operations[i]; op.Kind {
		case Acquire, Release, HandOn, Query, Held:
			for _, key := range op.Keys {
				byKey[key] = append(byKey[key], op)
			}
		case Renew, SetValue, Lost, Write:
		}
	}
	for _, key := range sortedKeys(byKey) {
		steps, processes := stepsOf(byKey[key], o.Skewed)
		if len(steps) > searchOperations || processes > searchProcesses {
			r.TooLong++
			continue
		}
		r.Searched++
		result, info := porcupine.CheckOperationsVerbose(lockModel, steps, cmp.Or(o.SearchLimit, searchLimit))
		if result == porcupine.Ok {
			continue
		}
		text := fmt.Sprintf("no order explains what happened to %s", key)
		if result == porcupine.Unknown {
			text = fmt.Sprintf("it is not decided whether some order explains what happened to %s", key)
		}
		var shown []any
		for _, op := range byKey[key] {
			shown = append(shown, op)
		}
		if o.Dir != "" {
			path := filepath.Join(o.Dir, fmt.Sprintf("search-%d.html", r.Searched))
			if err := picture(path, info); err != nil {
				return err
			}
			shown = append(shown, "picture: "+path)
		}
		r.add("search", text, shown...)
	}
	return nil
}

func picture(path string, info porcupine.LinearizationInfo) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if err := cmp.Or(porcupine.Visualize(lockModel, info, f), f.Close()); err != nil {
		return fmt.Errorf("history: picture: %w", err)
	}
	return nil
}

// steps gathers the steps of one lock.
type steps struct {
	list    []porcupine.Operation
	clients map[string]int
	known   map[uint64]bool  // tokens that the history tells of
	given   map[uint64]bool  // those that were given back
	ends    map[uint64]int64 // when a hold can have ended by itself
	again   map[uint64]int   // how often a hold was entered once more and not left yet
}

// stepsOf returns the steps of one lock, and how many processes took part.
func stepsOf(operations []*Operation, skewed []string) ([]porcupine.Operation, int) {
	s := &steps{
		clients: map[string]int{}, known: map[uint64]bool{}, given: map[uint64]bool{}, ends: map[uint64]int64{}, again: map[uint64]int{},
	}
	for _, o := range operations {
		if _, ok := s.clients[o.Process]; !ok {
			s.clients[o.Process] = len(s.clients)
		}
		if o.Outcome != OK {
			s.perhaps(o)
			continue
		}
		s.happened(o)
		if _, held := s.ends[o.Token]; held && !slices.Contains(skewed, o.Process) {
			s.ends[o.Token] = max(s.ends[o.Token], o.Until)
		}
	}
	for i, token := range slices.Sorted(maps.Keys(s.ends)) {
		if !s.given[token] {
			end := step{kind: stepEnd, token: token}
			s.list = append(s.list, porcupine.Operation{ClientId: len(s.clients) + i, Input: end, Call: s.ends[token], Return: forever})
		}
	}
	return s.list, len(s.clients)
}

// perhaps takes an operation that may have ended a hold, for all that its process knows.
func (s *steps) perhaps(o *Operation) {
	token := o.Token
	switch o.Kind {
	case HandOn:
		token = o.Before
	case Release:
	default:
		return
	}
	if until, held := s.ends[token]; held {
		s.ends[token] = min(until, o.Call)
	}
}

func (s *steps) happened(o *Operation) {
	x := step{token: o.Token, mode: o.Mode, limit: o.Limit, known: s.known, show: o}
	call := o.Call
	switch o.Kind {
	case Acquire:
		if s.known[o.Token] && o.Reentrant {
			s.again[o.Token]++
			return
		}
		x.kind = stepGrant
		s.known[o.Token], s.ends[o.Token] = true, o.Call
	case HandOn:
		x.kind, x.before = stepHandOn, o.Before
		s.known[o.Token], s.ends[o.Token], s.given[o.Before] = true, o.Call, true
	case Release:
		if s.again[o.Token] > 0 {
			s.again[o.Token]--
			return
		}
		x.kind = stepEnd
		s.given[o.Token] = true
		// The release of a lease that has run out succeeds if an earlier attempt, of which nothing was heard, may have done it.
		if o.Lease {
			call = min(call, s.ends[o.Token])
		}
	case Query:
		x.kind = stepQuery
	default:
		return
	}
	s.list = append(s.list, porcupine.Operation{ClientId: s.clients[o.Process], Input: x, Call: call, Return: o.Return})
}

// lockModel is the specification of one lock that a search needs.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Equal: func(a, b any) bool {
		one, _ := a.(lockState)
		two, _ := b.(lockState)
		return one.equal(two)
	},
	Step: func(state, input, _ any) (bool, any) {
		before, _ := state.(lockState)
		x, _ := input.(step)
		return before.after(x)
	},
	DescribeOperation: func(input, _ any) string {
		s, _ := input.(step)
		if s.show == nil {
			return fmt.Sprintf("token %d ends", s.token)
		}
		return s.show.String()
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

func (s lockState) equal(other lockState) bool {
	return s.highest == other.highest && slices.Equal(s.holders, other.holders)
}

func (s lockState) index(token uint64) int {
	return slices.IndexFunc(s.holders, func(h holder) bool { return h.token == token })
}

// after returns the state after a step, and whether the step can be.
func (s lockState) after(x step) (bool, lockState) {
	switch x.kind {
	case stepGrant:
		if x.token <= s.highest || !s.admits(x.mode, x.limit) {
			return false, s
		}
		return true, lockState{x.token, append(slices.Clone(s.holders), holder{x.token, x.mode})}
	case stepEnd:
		i := s.index(x.token)
		if i < 0 {
			return false, s
		}
		return true, lockState{s.highest, slices.Delete(slices.Clone(s.holders), i, i+1)}
	case stepHandOn:
		i := s.index(x.before)
		if i < 0 || x.token <= s.highest {
			return false, s
		}
		next := lockState{x.token, slices.Clone(s.holders)}
		next.holders[i].token = x.token
		return true, next
	default:
		// A token that nobody tells of was granted to somebody who did not hear of it.
		if x.known[x.token] || x.token == 0 {
			newest := uint64(0)
			for _, h := range s.holders {
				newest = max(newest, h.token)
			}
			return x.token == newest, s
		}
		return true, s
	}
}

func (s lockState) admits(mode Mode, limit int) bool {
	switch mode {
	case Slot:
		return limit == 0 || len(s.holders) < limit
	case Shared:
		return !slices.ContainsFunc(s.holders, func(h holder) bool { return h.mode != Shared })
	default:
		return len(s.holders) == 0
	}
}
