package raft

import (
	"cmp"
	"slices"
)

// quorum reports whether the peers for which yes is true decide: a majority of the voters, and of the outgoing voters
// while the configuration is joint (thesis, section 4.3). No voters decide nothing.
func (c Config) quorum(yes func(PeerID) bool) bool {
	return majority(c.Voters, yes) && (len(c.Outgoing) == 0 || majority(c.Outgoing, yes))
}

func majority(voters []Peer, yes func(PeerID) bool) bool {
	n := 0
	for _, p := range voters {
		if yes(p.ID) {
			n++
		}
	}
	return n > len(voters)/2
}

// reached returns the highest value that a quorum of both halves has reached.
func reached[T cmp.Ordered](voters, outgoing []*progress, value func(*progress) T) T {
	v := majorityValue(voters, value)
	if len(outgoing) > 0 {
		v = min(v, majorityValue(outgoing, value))
	}
	return v
}

func majorityValue[T cmp.Ordered](voters []*progress, value func(*progress) T) T {
	var space [MaxVoters]T
	values := space[:0]
	for _, p := range voters {
		values = append(values, value(p))
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}
