package sim

import (
	"slices"
	"strings"

	"github.com/lockd/lockd/raft/rafttest"
)

// Expected returns what a large set of seeds must meet at least once each: every fault, and every path that is rare.
func Expected() []string {
	want := []string{
		// of programs and their connections
		"break", "stream stall", "client pause", "suspend", "kill", "leave", "abandoned", "second node", "jeopardy", "session lost",
		"campaign", "tokens checked", "lease renewed", "lease released", "lease forgotten", "lease ran out", "lease taken over",
		"lease not taken over", "lease lost",
		// between the nodes
		"loss", "double", "late", "service message stopped by a cut", "forwarded", "interrupted", "no leader", "no quorum", "disconnected",
		// of leaders
		"leadership", "tick", "expired", "expire refused", "round of another leadership", "late turn",
		"answer waits for its index",
		// of states
		"flushed", "crash in a flush", "state damaged", "state installed", "hung up after an install", "backup", "restore",
		"restore without waiting",
	}
	for _, kind := range rafttest.Expected() {
		// Who reads and writes registers counts how it was refused; the service has its own counts.
		if !strings.HasPrefix(kind, "refused: ") && !strings.HasPrefix(kind, "read on ") {
			want = append(want, kind)
		}
	}
	slices.Sort(want)
	return want
}
