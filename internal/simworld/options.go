package simworld

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
)

// Options say what the programs do and what happens to them. Probabilities are in 1,000. The times of faults are means; 0 means that
// the world does not know the fault.
type Options struct {
	Clients, Workers, Names int

	TTL        time.Duration
	Grace      int           // clients in 1,000 that ask for release on disconnect
	Drift      int           // most parts per million of a clock, at most 4,900
	StreamMost time.Duration // of a message between client and node
	NoticeMost time.Duration // until an end sees that its connection broke
	Stall      int           // messages of a stream
	LateMost   time.Duration // and for how long

	Break, ClientPause, Suspend, Kill, Leave time.Duration

	Hold, Think time.Duration // of the workers
	Abandon     int           // calls in 1,000 that are given up
	Leases      int           // jobs in 1,000 that ask for a lease
	Elections   int           // jobs in 1,000 that stand for election
	Checks      int           // turns in 1,000 that check tokens

	Trace func(string) // nil, or what prints every line of the trace
}

// LeaseMost returns the longest TTL of a lease.
func (o *Options) LeaseMost() time.Duration { return locktable.LeaseMin + o.TTL }

// String prints what is drawn about the programs.
func (o *Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clients=%d workers=%d names=%d ttl=%v grace=%d drift=%dppm stream=%v notice=%v stall=%d latest=%v", o.Clients, o.Workers,
		o.Names, o.TTL, o.Grace, o.Drift, o.StreamMost, o.NoticeMost, o.Stall, o.LateMost)
	fmt.Fprintf(&b, " break=%v client-pause=%v suspend=%v kill=%v leave=%v", o.Break, o.ClientPause, o.Suspend, o.Kill, o.Leave)
	fmt.Fprintf(&b, " hold=%v think=%v abandon=%d leases=%d elections=%d checks=%d", o.Hold, o.Think, o.Abandon, o.Leases, o.Elections, o.Checks)
	return b.String()
}

// Stats are the figures of a run.
type Stats struct {
	Events, Commits, Grants, Rounds int
	Time                            time.Duration  // virtual
	Faults                          map[string]int // how often what has happened: faults, and rare paths
}

// Add adds the figures of another run.
func (s *Stats) Add(o Stats) {
	s.Events += o.Events
	s.Commits += o.Commits
	s.Grants += o.Grants
	s.Rounds += o.Rounds
	s.Time += o.Time
	if s.Faults == nil {
		s.Faults = map[string]int{}
	}
	for kind, n := range o.Faults {
		s.Faults[kind] += n
	}
}
