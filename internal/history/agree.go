package history

import (
	"bytes"
	"fmt"
	"slices"
)

// agree checks that all nodes applied the same entries and came to the same states, and returns the log: every entry once, with the
// earliest time at which a node had applied it.
func agree(audits []*Audit, r *report) []Entry {
	var most uint64
	first := ^uint64(0)
	told := uint64(0)
	for _, a := range audits {
		told += uint64(len(a.Entries))
		for i := range a.Entries {
			most, first = max(most, a.Entries[i].Index), min(first, a.Entries[i].Index)
		}
	}
	if most == 0 {
		r.add("audits", "no node has applied anything")
		return nil
	}
	if most-first >= told {
		r.add("audits", fmt.Sprintf("entries %d to %d cannot all be among the %d that nodes tell of", first, most, told))
		return nil
	}
	log := make([]Entry, most-first+1)
	from := make([]*Audit, len(log))
	for _, a := range audits {
		for i := range a.Entries {
			e := &a.Entries[i]
			place := e.Index - first
			known := &log[place]
			if from[place] == nil {
				*known, from[place] = *e, a
				continue
			}
			if e.Term != known.Term || e.Hash != known.Hash || e.Token != known.Token || !bytes.Equal(e.Command, known.Command) {
				r.add("audits", fmt.Sprintf("two nodes differ at entry %d", e.Index), seen{from[place].Node, known}, seen{a.Node, e})
			}
			known.At = min(known.At, e.At)
		}
	}
	if gap := slices.Index(from, nil); gap >= 0 {
		r.add("audits", fmt.Sprintf("no node tells of entry %d, and some do of %d", first+uint64(gap), most))
		return log[:gap]
	}
	for i := 1; i < len(log); i++ {
		if log[i].Term < log[i-1].Term {
			r.add("audits", "terms fall", seen{from[i-1].Node, &log[i-1]}, seen{from[i].Node, &log[i]})
		}
	}
	return log
}

// seen is an entry as a node tells it.
type seen struct {
	node string
	e    *Entry
}

func (s seen) String() string {
	e := s.e
	return fmt.Sprintf("%s: entry %d of term %d: token %d, hash %x, applied %s: %s", s.node, e.Index, e.Term, e.Token, e.Hash, moment(e.At),
		commandLine(e.Command))
}
