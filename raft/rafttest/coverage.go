package rafttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lockd/lockd/raft"
)

// Coverage counts what has happened: faults, changes of role, and rare paths.
type Coverage map[string]int

// What a World counts by itself, beside the changes of role.
const (
	FaultCut        = "message stopped by a cut"
	FaultLoss       = "message lost"
	FaultDuplicate  = "message duplicated"
	FaultReorder    = "message overtaken"
	CrashInWrite    = "crash in a write"
	PowerCut        = "power cut"
	FatalStop       = "node stopped by an error"
	Compacted       = "log compacted"
	Fetched         = "entries read for a peer"
	AppliedFromDisk = "entries read to be applied"
	SnapshotSent    = "snapshot sent"
	SnapshotFailed  = "snapshot lost"
	Installed       = "snapshot installed"
	Transferred     = "transfer begun"
	Retired         = "damaged log retired its node"
	LearnerAdded    = "learner added"
	LearnerRemoved  = "learner removed"
	LearnerPromoted = "learner promoted"
	VoterRemoved    = "voter removed"
	VoterDemoted    = "voter demoted"
	VoterReplaced   = "voter replaced"
	EnteredJoint    = "joint configuration entered"
	LeftJoint       = "joint configuration left"
	LedStateless    = "leader without state"
	ReadOnLeader    = "read on a leader"
	ReadOnFollower  = "read on another node"
)

func (c Coverage) hit(what string) { c[what]++ }

// Faults returns the names of the faults that a Swarm may draw.
func Faults() []string {
	names := make([]string, len(faults))
	for i, f := range faults {
		names[i] = f.name
	}
	return names
}

// Expected returns what a large set of seeds must meet at least once each.
func Expected() []string {
	want := []string{
		FaultCut, FaultLoss, FaultDuplicate, FaultReorder, FaultHint,
		CrashInWrite, PowerCut, FatalStop, Retired,
		PlaceWritten, PlaceApplied, PlaceInstalled, PlaceCompacted, PlaceReceived,
		Compacted, Fetched, AppliedFromDisk, SnapshotSent, SnapshotFailed, Installed, Transferred,
		LearnerAdded, LearnerRemoved, LearnerPromoted, VoterRemoved, VoterDemoted, VoterReplaced, EnteredJoint, LeftJoint,
		LedStateless, ReadOnLeader, ReadOnFollower,
	}
	for _, f := range faults {
		want = append(want, f.name)
	}
	for _, refused := range refusals {
		want = append(want, refusal(refused))
	}
	for _, t := range [][2]raft.Role{
		{raft.Follower, raft.PreCandidate},
		{raft.PreCandidate, raft.Candidate},
		{raft.PreCandidate, raft.Follower},
		{raft.Candidate, raft.Leader},
		{raft.Candidate, raft.PreCandidate},
		{raft.Candidate, raft.Follower},
		{raft.Leader, raft.Follower},
		{raft.Follower, raft.Candidate}, // asked to by the leader
	} {
		want = append(want, transition(t[0], t[1]))
	}
	return want
}

// Add adds the counts of another Coverage.
func (c Coverage) Add(other Coverage) {
	for what, n := range other {
		c[what] += n
	}
}

// Missing returns what has never happened of what should have, sorted.
func (c Coverage) Missing(want []string) []string {
	var missing []string
	for _, what := range want {
		if c[what] == 0 {
			missing = append(missing, what)
		}
	}
	slices.Sort(missing)
	return missing
}

func (c Coverage) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%12d  %s\n", c[what], what)
	}
	return b.String()
}

func transition(from, to raft.Role) string { return from.String() + " to " + to.String() }

func standingText(s raft.Standing) string {
	return fmt.Sprintf("%v in term %d, leader %s, configuration %d", s.Role, s.Term, shortID(s.Leader), s.Config)
}
