package membership

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Policy says what autopilot may do.
type Policy struct {
	// Size is the declared number of voters. 0: learners that want to be voters are promoted, and nobody is ever replaced or removed.
	Size int
	// Stable is how long a server must have been healthy to be promoted, and a leader in office to judge.
	Stable time.Duration
	// Dead is how long a server must have been silent, to gossip and to the leader, to be replaced.
	Dead time.Duration
	// Lag is by how many entries a learner may be behind and still count as caught up.
	Lag uint64
}

// DefaultPolicy is autopilot without a declared size. A rolling restart of machines takes minutes, so the dead are waited for.
func DefaultPolicy() Policy {
	return Policy{Stable: 10 * time.Second, Dead: 10 * time.Minute, Lag: 250}
}

// Server is what a leader knows of one of the configuration.
type Server struct {
	ID       string // how Advice names it
	Name     string
	Voter    bool
	NonVoter bool          // it wants to stay a learner
	Leader   bool          // it is the leader that asks
	Contact  time.Duration // since the leader last heard of it; negative: never
	Gossip   Status
	Behind   uint64        // entries that it does not have yet
	Healthy  time.Duration // since when Fit has held without a break; 0: it does not
	Silent   time.Duration // since when neither gossip nor the leader has heard of it; 0: one has
}

// contactLate is how long a healthy server may be silent to the leader: some heartbeats.
const contactLate = 500 * time.Millisecond

// Fit reports whether the server is healthy now: the leader hears of it, and it has what it should.
func (p Policy) Fit(s Server) bool {
	return s.Leader || s.Contact >= 0 && s.Contact <= contactLate && s.Behind <= p.Lag && s.Gossip != Left
}

// Action is what a leader should do.
type Action byte

// Actions.
const (
	Nothing Action = iota
	Promote        // make a learner a voter
	Replace        // make a learner a voter and remove a voter, in one change
	Remove         // remove a server
)

// String returns "nothing", "promote", "replace" or "remove".
func (a Action) String() string {
	return [...]string{"nothing", "promote", "replace", "remove"}[a]
}

// Advice is one step.
type Advice struct {
	Action Action
	In     string // who becomes a voter: Promote, Replace
	Out    string // who is removed: Replace, Remove
	Why    string // for people; for Nothing it may say what is waited for
}

// Advise returns the next step of a leader that has been in office for so long. It is a pure function: the same input gives the same
// advice, whatever was advised before. It gives one step at a time, none while a change is under way (the caller does not ask then),
// never one that leaves fewer voters than declared, and never one that needs the consent of who is not there:
//
//   - a stable learner that wants to be a voter is promoted, up to the declared size if there is one;
//   - a dead voter is replaced by a stable learner; without one it stays, and its seat is kept;
//   - a dead voter beyond the declared size is removed, a dead learner too.
//
// A leader is never replaced: who gives advice is alive.
func Advise(p Policy, inOffice time.Duration, servers []Server) Advice {
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b Server) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	if inOffice < p.Stable {
		return Advice{Why: fmt.Sprintf("the leader is new: it judges after %v", p.Stable)}
	}
	if len(voters(p, servers)) == 0 || Margin(voters(p, servers)) < 0 {
		return Advice{Why: "nothing can be decided: " + count(voters(p, servers))}
	}
	learner, ready := standby(p, servers)
	dead, gone := deadVoter(p, servers)
	n := len(voters(p, servers))
	switch {
	case gone && p.Size > 0 && n > p.Size:
		return Advice{Action: Remove, Out: dead.ID, Why: fmt.Sprintf("%s has been silent for %v, and %d voters are more than the %d declared", dead.Name, dead.Silent, n, p.Size)}
	case gone && p.Size > 0 && ready:
		return Advice{
			Action: Replace, In: learner.ID, Out: dead.ID,
			Why: fmt.Sprintf("%s has been silent for %v; %s has been healthy for %v", dead.Name, dead.Silent, learner.Name, learner.Healthy),
		}
	case ready && (p.Size == 0 || n < p.Size):
		return Advice{Action: Promote, In: learner.ID, Why: fmt.Sprintf("%s has been healthy for %v", learner.Name, learner.Healthy)}
	}
	if p.Size > 0 {
		if l, ok := deadLearner(p, servers); ok {
			return Advice{Action: Remove, Out: l.ID, Why: fmt.Sprintf("the learner %s has been silent for %v", l.Name, l.Silent)}
		}
	}
	if gone && p.Size > 0 {
		return Advice{Why: fmt.Sprintf("%s has been silent for %v; no learner is there to replace it", dead.Name, dead.Silent)}
	}
	return Advice{}
}

func voters(p Policy, servers []Server) []Voter {
	var list []Voter
	for _, s := range servers {
		if s.Voter {
			list = append(list, Voter{s.Name, p.Fit(s)})
		}
	}
	return list
}

// standby returns the learner that has been stable for longest.
func standby(p Policy, servers []Server) (best Server, ok bool) {
	for _, s := range servers {
		if !s.Voter && !s.NonVoter && p.Fit(s) && s.Healthy >= p.Stable && (!ok || s.Healthy > best.Healthy) {
			best, ok = s, true
		}
	}
	return best, ok
}

// deadVoter returns the voter that has been dead for longest.
func deadVoter(p Policy, servers []Server) (worst Server, ok bool) {
	return longestDead(p, servers, func(s Server) bool { return s.Voter })
}

func deadLearner(p Policy, servers []Server) (worst Server, ok bool) {
	return longestDead(p, servers, func(s Server) bool { return !s.Voter })
}

func longestDead(p Policy, servers []Server, of func(Server) bool) (worst Server, ok bool) {
	for _, s := range servers {
		if of(s) && !s.Leader && !p.Fit(s) && s.Silent >= max(p.Dead, p.Stable) && (!ok || s.Silent > worst.Silent) {
			worst, ok = s, true
		}
	}
	return worst, ok
}
