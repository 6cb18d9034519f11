package rafttest

import "github.com/lockd/lockd/raft"

// sent: what a message promises is durable when it leaves.
func (c *checker) sent(n *Node, m raft.Message) {
	w := c.world
	w.trace.note(w.now, n, "sends", m)
	ledger := n.store.ledger
	switch b := m.Body.(type) {
	case raft.Vote:
		if b.Pre {
			return
		}
		c.voted(n, m.Term, n.id)
	case raft.VoteReply:
		switch {
		case b.Pre:
			return // promises nothing
		case b.Granted:
			c.voted(n, m.Term, m.To)
		}
	case raft.AppendReply:
		if b.OK && m.Term == ledger.hard.Term && b.Match > ledger.last() {
			w.Fail("%v acknowledges %d, its log is durable up to %d", n, b.Match, ledger.last())
		}
	case raft.TimeoutNow:
		c.handsOver(n, m)
	case raft.ReadIndex:
		return
	case raft.ReadIndexReply:
		if !b.OK {
			return
		}
	}
	if m.Term > ledger.hard.Term {
		w.Fail("%v speaks in term %d, durable is %d", n, m.Term, ledger.hard.Term)
	}
}

// handsOver: who is told to stand for election has all that its leader has. (A leader that leaves the configuration may
// tell the best there is.)
func (c *checker) handsOver(n *Node, m raft.Message) {
	status, _ := n.engine.Status()
	if status.Transfer == m.To && !c.world.nodes[m.To].store.ledger.covers(status.Last) {
		c.world.Fail("%v hands over to %v, which lacks %+v", n, m.To, status.Last)
	}
}

// voted: a vote is durable when it leaves. It is as good if a later term is: the node can never vote in this one again.
func (c *checker) voted(n *Node, term raft.Term, to raft.PeerID) {
	b := ballot{n.id, term}
	have, ok := c.votes[b]
	if !ok && n.store.ledger.hard.Term > term {
		c.votes[b] = to
		return
	}
	if have != to {
		c.world.Fail("%v votes for %v in term %d; the durable vote is for %v", n, to, term, have)
	}
}

// applies: state machine safety (Raft, Figure 3). Every node applies the same entries, in order, without a gap; only
// what is committed, and is durable on the node itself.
func (c *checker) applies(n *Node, b raft.Batch) {
	w := c.world
	before, _ := n.machine.Applied()
	for i, e := range b.Entries {
		if e.Index() != before.Index+1+raft.Index(i) {
			w.Fail("%v applies entry %d after %d", n, e.Index(), before.Index+raft.Index(i))
			return
		}
		if e.Index() > n.store.ledger.last() {
			w.Fail("%v applies entry %d, its log is durable up to %d", n, e.Index(), n.store.ledger.last())
		}
		c.fix(n, e)
	}
	last := b.Entries[len(b.Entries)-1].Index()
	if last > c.commit.Index {
		w.Fail("%v applies entry %d, committed is %d", n, last, c.commit.Index)
	}
	if b.Config.Index > last {
		w.Fail("%v applies up to %d with the configuration of entry %d", n, last, b.Config.Index)
	}
}

// fix: an index that has been applied anywhere is fixed for ever, and no command is applied at two of them.
func (c *checker) fix(n *Node, e raft.Entry) {
	entry := appliedEntry{e.Term(), entrySum(e)}
	switch i := int(e.Index()); {
	case i <= len(c.applied):
		if c.applied[i-1] != entry {
			c.world.Fail("state machine safety: %v applies another entry %d: %v", n, i, e)
		}
		return
	case i > len(c.applied)+1:
		c.world.Fail("%v applies entry %d, nobody has applied %d", n, i, len(c.applied)+1)
		return
	}
	c.applied = append(c.applied, entry)
	if e.Kind() != raft.KindCommand {
		return
	}
	if id, ok := c.world.opt.CommandID(e.Data()); ok {
		if at, twice := c.commands[id]; twice {
			c.world.Fail("command %d is applied at %d and at %d", id, at, e.Index())
		}
		c.commands[id] = e.Index()
	}
}

// hasApplied: equal logs make equal states.
func (c *checker) hasApplied(n *Node) {
	at, sum := n.machine.Applied()
	have, ok := c.states[at.Index]
	if !ok {
		c.states[at.Index] = sum
	} else if have != sum {
		c.world.Fail("%v has another state at %d than an earlier node", n, at.Index)
	}
}

// hasInstalled: a state that did not come from the log is one that a node had at that entry.
func (c *checker) hasInstalled(n *Node) {
	at, sum := n.machine.Applied()
	if at.Index == 0 {
		return
	}
	if have, ok := c.states[at.Index]; !ok || have != sum {
		c.world.Fail("%v has a state at %d that no node had there", n, at.Index)
	}
}

// acknowledged: what a client was told has happened is there, and stays.
func (c *checker) acknowledged(n *Node, r *raft.Request, data []byte) {
	want := entrySum(raft.NewEntry(r.At, raft.KindCommand, data))
	if i := int(r.At.Index); i == 0 || i > len(c.applied) || c.applied[i-1] != (appliedEntry{r.At.Term, want}) {
		c.world.Fail("%v acknowledges a command at %+v, where another one or none is applied", n, r.At)
	}
	c.acked = max(c.acked, r.At.Index)
}

// begun returns what a read that begins now must see: all that is known to be committed anywhere.
func (c *checker) begun() raft.Index { return max(c.commit.Index, c.acked) }

// answered: a read sees everything that was committed when it began.
func (c *checker) answered(n *Node, begun raft.Index, r *raft.Request) {
	at, _ := n.machine.Applied()
	if r.At.Index < begun || at.Index < r.At.Index {
		c.world.Fail("stale read: %v reads at %d, its state at %d; %d was committed before the read began", n, r.At.Index, at.Index, begun)
	}
}
