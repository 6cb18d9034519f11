package rafttest

import (
	"slices"
	"time"

	"github.com/lockd/lockd/raft"
)

// checker knows what has happened in the whole World, and finds what must never happen. It judges durability by what
// the disks hold, not by what the nodes believe.
type checker struct {
	world    *World
	chains   map[raft.Position]uint64 // of every entry ever written: the sum of the log up to it
	leaders  map[raft.Term]raft.PeerID
	votes    map[ballot]raft.PeerID // durable ones
	commit   raft.Position
	applied  []appliedEntry // by index, from 1 on
	states   map[raft.Index]uint64
	commands map[uint64]raft.Index // where a command was applied
	acked    raft.Index            // the highest index that a client has an answer from

	configAt time.Duration // when a node last took up a configuration
}

type ballot struct {
	voter raft.PeerID
	term  raft.Term
}

type appliedEntry struct {
	term raft.Term
	sum  uint64
}

func newChecker(w *World) *checker {
	return &checker{
		world:    w,
		chains:   map[raft.Position]uint64{},
		leaders:  map[raft.Term]raft.PeerID{},
		votes:    map[ballot]raft.PeerID{},
		states:   map[raft.Index]uint64{},
		commands: map[uint64]raft.Index{},
	}
}

func (c *checker) chainOf(p raft.Position) uint64 {
	chain, ok := c.chains[p]
	if !ok {
		c.world.Fail("a snapshot at %+v, which nobody has written", p)
	}
	return chain
}

// founded takes a state for what all nodes begin with: it is committed and applied by definition.
func (c *checker) founded(n *Node, mark raft.Mark) {
	c.chains[mark.Position] = 0
	c.commit = mark.Position
	c.applied = make([]appliedEntry, mark.Index)
	_, c.states[mark.Index] = n.machine.Applied()
}

// added: log matching (Raft, Figure 3). Two logs that hold an entry of the same index and term are the same up to it.
func (c *checker) added(n *Node, e raft.Entry, chain uint64) {
	have, ok := c.chains[e.Position()]
	if !ok {
		c.chains[e.Position()] = chain
	} else if have != chain {
		c.world.Fail("log matching: %v has another entry, or another log before it, at %+v", n, e.Position())
	}
	if e.Kind() == raft.KindConfig {
		c.configured(n, e)
	}
}

// configured: two configurations that follow each other in a log have a quorum in common.
func (c *checker) configured(n *Node, e raft.Entry) {
	before, err := n.store.ledger.configBefore(e.Index())
	if err == nil {
		var after raft.Config
		if after, err = raft.DecodeConfig(e.Index(), e.Data()); err == nil && len(before.Voters) > 0 && !overlap(before, after) {
			c.world.Fail("%v: configuration %+v follows %+v", n, after, before)
		}
	}
	if err != nil {
		c.world.Fail("%v: %v", n, err)
	}
}

// overlap reports whether every quorum of one configuration meets every one of the other: the same voters, or a step
// into or out of their joint configuration.
func overlap(before, after raft.Config) bool {
	switch {
	case before.Joint() && after.Joint():
		return sameIDs(before.Voters, after.Voters) && sameIDs(before.Outgoing, after.Outgoing)
	case before.Joint():
		return sameIDs(before.Voters, after.Voters)
	case after.Joint():
		return sameIDs(before.Voters, after.Outgoing)
	}
	return sameIDs(before.Voters, after.Voters)
}

func sameIDs(a, b []raft.Peer) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p raft.Peer) bool { return !contains(b, p.ID) })
}

func contains(list []raft.Peer, id raft.PeerID) bool {
	return slices.ContainsFunc(list, func(p raft.Peer) bool { return p.ID == id })
}

// wrote: the durable term never falls, and no vote is ever changed or given twice. A log is given up for a snapshot only
// when the state machine has it.
func (c *checker) wrote(n *Node, w raft.Write) {
	if mark := n.machine.Mark().Index; w.Reset.Index > mark {
		c.world.Fail("%v begins its log after %d, its state is durable at %d", n, w.Reset.Index, mark)
	}
	if w.Hard == (raft.HardState{}) {
		return
	}
	if w.Hard.Term < n.term {
		c.world.Fail("the durable term of %v falls from %d to %d", n, n.term, w.Hard.Term)
	}
	n.term = w.Hard.Term
	if w.Hard.Vote.IsZero() {
		return
	}
	b := ballot{n.id, w.Hard.Term}
	if have, ok := c.votes[b]; ok && have != w.Hard.Vote {
		c.world.Fail("%v votes for %v and %v in term %d", n, have, w.Hard.Vote, w.Hard.Term)
	}
	c.votes[b] = w.Hard.Vote
}

// started: what a node comes back with.
func (c *checker) started(n *Node, s raft.State, mark raft.Mark) {
	if s.Hard.Term < n.term {
		c.world.Fail("%v comes back in term %d after term %d", n, s.Hard.Term, n.term)
	}
	n.commit = 0
	c.hasInstalled(n)
	if mark.Index > 0 && mark.Index > s.Last && !mark.Installed {
		c.world.Fail("%v comes back with a state at %d and a log that ends at %d", n, mark.Index, s.Last)
	}
}

// turned looks at a node after its turn.
func (c *checker) turned(n *Node) {
	before := n.at
	n.at = n.engine.Standing()
	status, applied := n.engine.Status()
	if n.at != before {
		c.stood(n, before, status)
	}
	if status.Commit > n.commit {
		c.committed(n, before, status)
	}
	if status.Commit < n.commit || applied < n.appliedTo {
		c.world.Fail("%v: commit %d after %d, applied %d after %d", n, status.Commit, n.commit, applied, n.appliedTo)
	}
	if before.Role == raft.Leader && n.at.Role == raft.Leader && before.Term == n.at.Term && status.Last.Index < n.last {
		c.world.Fail("leader append-only: the log of %v ends at %d after %d", n, status.Last.Index, n.last)
	}
	if n.at.Role == raft.Leader && before == n.at && status.Stateless && status.Last.Index > n.last {
		c.world.Fail("%v, a leader without a state, takes requests", n)
	}
	if !status.Transfer.IsZero() && !status.Stateless && n.clock.read(c.world.now) >= n.transferTill {
		c.world.Fail("%v goes on with a transfer to %v that has had its time", n, status.Transfer)
	}
	n.commit, n.last, n.appliedTo, n.config = status.Commit, status.Last.Index, applied, status.Config
	c.world.trace.mix(uint64(n.at.Term), uint64(n.at.Role), uint64(status.Commit), uint64(status.Last.Index))
}

// stood: a change of role, term, leader or configuration.
func (c *checker) stood(n *Node, before raft.Standing, s raft.Status) {
	w := c.world
	if n.at.Term < before.Term {
		w.Fail("the term of %v falls from %d to %d", n, before.Term, n.at.Term)
	}
	if n.at.Role != before.Role {
		w.cover.hit(transition(before.Role, n.at.Role))
	}
	w.trace.note(w.now, n, "is", standingText(n.at))
	if n.at.Config != before.Config {
		c.configAt = w.now
		c.reconfigured(n, before, s)
	}
	if n.at.Role == raft.Leader && (before.Role != raft.Leader || before.Term != n.at.Term) {
		c.elected(n, s)
	}
}

// reconfigured: a leader changes the configuration only when an entry of its own and the change before are committed.
func (c *checker) reconfigured(n *Node, before raft.Standing, s raft.Status) {
	if n.at.Role != raft.Leader || before.Role != raft.Leader || before.Term != n.at.Term {
		return
	}
	if !s.Ready || s.Commit < n.config.Index {
		c.world.Fail("%v changes the configuration to %+v after %+v; committed is %d, entry of its own: %v", n, s.Config, n.config, s.Commit, s.Ready)
	}
	switch {
	case s.Config.Joint():
		c.world.cover.hit(EnteredJoint)
	case n.config.Joint():
		c.world.cover.hit(LeftJoint)
	}
}

// elected: election safety, by durable votes; leader completeness.
func (c *checker) elected(n *Node, s raft.Status) {
	w := c.world
	if other, ok := c.leaders[s.Term]; ok && other != n.id {
		w.Fail("election safety: %v and %v lead term %d", other, n, s.Term)
	}
	c.leaders[s.Term] = n.id
	if s.Stateless {
		w.cover.hit(LedStateless)
	}
	before, err := n.store.ledger.config()
	if err != nil {
		w.Fail("%v: %v", n, err)
	}
	voted := func(id raft.PeerID) bool { return c.votes[ballot{id, s.Term}] == n.id }
	if !quorum(s.Config, voted) && !quorum(before, voted) {
		w.Fail("%v leads term %d without a quorum of durable votes in %+v", n, s.Term, s.Config)
	}
	held := n.store.ledger
	if s.Last.Index < c.commit.Index || !held.covers(c.commit) && c.commit.Index <= held.last() {
		w.Fail("leader completeness: the log of %v, leader of term %d, ends at %+v and lacks the committed %+v", n, s.Term, s.Last, c.commit)
	}
}

// committed: what a node takes for committed is on the disks of a quorum, as an entry of its leader's term.
func (c *checker) committed(n *Node, before raft.Standing, s raft.Status) {
	if s.Commit <= c.commit.Index {
		return
	}
	w := c.world
	if before.Role != raft.Leader {
		w.Fail("%v, no leader, commits %d before any leader did: %d", n, s.Commit, c.commit.Index)
		return
	}
	p := raft.Position{Index: s.Commit, Term: before.Term}
	durable := func(id raft.PeerID) bool { return w.nodes[id] != nil && w.nodes[id].store.ledger.covers(p) }
	if !quorum(s.Config, durable) && !quorum(n.config, durable) {
		w.Fail("%v commits %+v, which is not on the disks of a quorum of %+v", n, p, s.Config)
	}
	c.commit = p
}

func quorum(c raft.Config, yes func(raft.PeerID) bool) bool {
	return majority(c.Voters, yes) && (!c.Joint() || majority(c.Outgoing, yes))
}

func majority(voters []raft.Peer, yes func(raft.PeerID) bool) bool {
	n := 0
	for _, p := range voters {
		if yes(p.ID) {
			n++
		}
	}
	return n > len(voters)/2
}

// ended forgets what only a process knows.
func (c *checker) ended(n *Node) { n.last, n.appliedTo = 0, 0 }
