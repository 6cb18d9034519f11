package simproto

import "slices"

// entry is one entry of a log. Entries are compared by identity: two logs hold the same entry or they do not.
type entry struct {
	term uint64
	data []byte // of a command; nil is the first entry of a leader
	from ticket // who waits for its outcome
}

// ticket names a request that a node carries for one of its clients. It dies with the node.
type ticket struct {
	node   int
	boot   int
	number uint64
}

// raft is what a node knows of consensus. Term, vote and the synced part of the log survive a crash.
type raft struct {
	term    uint64
	log     []*entry // index 1 is log[0]; its array is shared with others, unless the node leads
	synced  int      // entries that a crash leaves
	commit  int      // as far as the node knows
	leading bool     // it believes so
	hint    int      // node it believes to lead, -1 if none
	match   []int    // as leader: how far each node has synced this log
	first   int      // as leader: index of its own first entry
	rounds  []round  // as leader: quorum rounds on their way
}

// round is a quorum round, and its read index.
type round struct {
	number uint64
	index  int
	acks   []bool
}

// The messages of raft. An append is a heartbeat, replication and the question of a round at once.
type (
	appendMsg struct {
		term   uint64
		leader int
		log    []*entry
		commit int
		round  uint64
	}
	appendAck struct {
		term   uint64
		from   int
		synced int
		round  uint64
	}
)

// elect holds an election: node i asks all that it can reach for votes of a new term. It reports whether it won.
func (w *world) elect(i int) bool {
	c := w.nodes[i]
	if !c.running() {
		return false
	}
	var term uint64
	for _, n := range w.nodes {
		term = max(term, n.raft.term)
	}
	term++
	var voters []*node
	for _, n := range w.nodes {
		if n.running() && w.reaches(i, n.id) && w.reaches(n.id, i) && !c.raft.behind(&n.raft) {
			voters = append(voters, n)
		}
	}
	if len(voters) <= len(w.nodes)/2 {
		return false
	}
	for _, n := range voters {
		n.follow(term, i)
	}
	c.lead(term)
	w.Hit("election")
	return true
}

// behind reports whether the log of r is less up to date than that of o, so that o refuses its vote.
func (r *raft) behind(o *raft) bool {
	// An entry counts for a vote when it is in the log; one that is not synced may be lost, but is no reason to vote.
	a, b := r.lastTerm(), o.lastTerm()
	return a < b || a == b && len(r.log) < len(o.log)
}

func (r *raft) lastTerm() uint64 {
	if len(r.log) == 0 {
		return 0
	}
	return r.log[len(r.log)-1].term
}

// follow makes the node a follower in the term.
func (n *node) follow(term uint64, leader int) {
	if n.raft.leading {
		n.w.Tracef("node %d steps down from term %d", n.id, n.raft.term)
		n.stepDown()
	}
	n.raft.term = term
	n.raft.hint = leader
}

// lead makes the node leader of the term.
func (n *node) lead(term uint64) {
	r := &n.raft
	r.term, r.leading, r.hint = term, true, n.id
	r.log = slices.Clip(r.log)
	r.match = make([]int, len(n.w.nodes))
	r.rounds = nil
	n.w.Tracef("node %d leads term %d with a log of %d, %d committed", n.id, term, len(r.log), len(n.w.log))
	n.startKeeper(term)
	r.first = len(r.log) + 1
	n.appendEntries(&entry{term: term})
}

// appendEntries adds to the leader's own log and replicates it.
func (n *node) appendEntries(entries ...*entry) {
	r := &n.raft
	r.log = append(r.log, entries...)
	n.sync(r.log)
	n.broadcast(0)
}

// sync makes what the log holds now safe from a crash, after a while, and acknowledges as much of the leader's log as is safe.
func (n *node) sync(leaders []*entry) {
	r, boot, term, log := &n.raft, n.boot, n.raft.term, n.raft.log
	n.w.After(n.w.Between(0, n.w.opts.SyncMost), func() {
		if n.boot != boot || !n.up {
			return
		}
		r.synced = max(r.synced, commonPrefix(r.log, log))
		switch {
		case r.term != term:
		case r.leading:
			n.matched(n.id, r.agrees(leaders))
		case r.hint >= 0:
			n.w.send(n.id, r.hint, appendAck{term: term, from: n.id, synced: r.agrees(leaders)})
		}
	})
}

// agrees returns how much of the leader's log is safe here.
func (r *raft) agrees(leaders []*entry) int { return min(r.synced, commonPrefix(r.log, leaders)) }

// broadcast sends the log, the commit index and the question of a round to all others.
func (n *node) broadcast(round uint64) {
	r := &n.raft
	for _, to := range n.w.nodes {
		if to != n {
			n.w.send(n.id, to.id, appendMsg{term: r.term, leader: n.id, log: r.log, commit: r.commit, round: round})
		}
	}
	n.beatAt = n.w.Now() + n.w.opts.Heartbeat
}

// handleAppend takes the log of a leader.
func (n *node) handleAppend(m appendMsg) {
	r := &n.raft
	if m.term < r.term {
		n.w.send(n.id, m.leader, appendAck{term: r.term, from: n.id})
		return
	}
	if m.term > r.term || r.leading {
		n.follow(m.term, m.leader)
	}
	r.hint = m.leader
	if k := commonPrefix(r.log, m.log); k < len(m.log) {
		if k < r.synced {
			r.synced = k
		}
		if k < r.commit {
			n.w.Fail("node %d drops the committed entry %d for the leader of term %d", n.id, k+1, m.term)
			return
		}
		// What follows in the own log is older than the leader's, or the leader would be older than it.
		r.log = slices.Clip(m.log)
		n.sync(m.log)
	}
	r.commit = max(r.commit, min(m.commit, len(m.log)))
	n.w.send(n.id, m.leader, appendAck{term: r.term, from: n.id, synced: r.agrees(m.log), round: m.round})
}

// commonPrefix returns how many entries two logs share. By log matching, one shared entry means that all before it are.
func commonPrefix(a, b []*entry) int {
	k := min(len(a), len(b))
	for k > 0 && a[k-1] != b[k-1] {
		k--
	}
	return k
}

// handleAck takes the answer to an append.
func (n *node) handleAck(m appendAck) {
	r := &n.raft
	switch {
	case m.term > r.term:
		n.follow(m.term, -1)
	case m.term < r.term || !r.leading:
	default:
		n.matched(m.from, m.synced)
		if m.round != 0 {
			n.acknowledged(m.from, m.round)
		}
	}
}

// matched notes how far a node has the log, and commits what a majority has, if it ends in an entry of the own term.
func (n *node) matched(from, synced int) {
	r := &n.raft
	r.match[from] = max(r.match[from], synced)
	sorted := slices.Sorted(slices.Values(r.match))
	index := sorted[(len(sorted)-1)/2]
	if index > r.commit && r.log[index-1].term == r.term {
		r.commit = index
		n.w.commit(r.log[:index])
		n.broadcast(0)
	}
}

// beginRound begins a quorum round of the Keeper.
func (n *node) beginRound(number uint64) {
	r := &n.raft
	acks := make([]bool, len(n.w.nodes))
	acks[n.id] = true
	r.rounds = append(r.rounds, round{number: number, index: r.commit, acks: acks})
	n.broadcast(number)
}

// acknowledged counts an answer to a round. A round that a majority acknowledged speaks for those before it.
func (n *node) acknowledged(from int, number uint64) {
	r := &n.raft
	for i, round := range r.rounds {
		if round.number != number {
			continue
		}
		round.acks[from] = true
		if count(round.acks) > len(n.w.nodes)/2 {
			r.rounds = r.rounds[i+1:]
			n.keeper.RoundDone(number, uint64(round.index))
			n.w.Stats.Rounds++
		}
		return
	}
}

func count(bits []bool) int {
	n := 0
	for _, b := range bits {
		if b {
			n++
		}
	}
	return n
}
