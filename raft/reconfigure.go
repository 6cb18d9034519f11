package raft

import (
	"fmt"
	"slices"
	"time"
)

// Reconfigure proposes another configuration, in place of the one with index base. A change of voters passes through a
// joint configuration, which the leader leaves by itself once it is committed (thesis, section 4.3); until then it
// needs the majority of the old voters too, so a cluster of two cannot remove a dead one. A new voter must be a learner
// that has caught up. Errors: *NotLeaderError, ErrTransferring, ErrConfigPending, ErrConfigChanged, ErrNotCaughtUp, or
// one that wraps ErrBadConfig.
func (c *Core) Reconfigure(now time.Duration, base Index, next Config) (Position, error) {
	c.advance(now)
	l, ok := c.role.(*leader)
	current := c.config()
	switch {
	case !ok:
		return Position{}, c.notLeader()
	case !l.transfer.to.IsZero():
		return Position{}, ErrTransferring
	case base != current.Index:
		return Position{}, ErrConfigChanged
	case c.commit < l.first || c.commit < current.Index || current.Joint():
		// Before the leader's own first entry is committed, an earlier leader's change may still be alive
		// (Ongaro, "bug in single-server membership changes", raft-dev, 2015).
		return Position{}, ErrConfigPending
	case next.Joint():
		return Position{}, fmt.Errorf("%w: the joint phase is not the caller's to choose", ErrBadConfig)
	}
	if !samePeers(next.Voters, current.Voters) {
		for _, v := range next.Voters {
			if p := find(l.peers, v.ID); !hasPeer(current.Voters, v.ID) && (p == nil || !l.caughtUp(p)) {
				return Position{}, fmt.Errorf("%w: %v", ErrNotCaughtUp, v.ID)
			}
		}
		next.Outgoing = current.Voters
	}
	if err := next.Validate(); err != nil {
		return Position{}, err
	}
	return l.pushConfig(c, next), nil
}

// caughtUp reports whether p holds what the leader held a heartbeat ago, so that it cannot hold up commits.
func (l *leader) caughtUp(p *progress) bool {
	return p.state == replicating && !p.stateless && p.match >= l.lastBeat
}

func (l *leader) pushConfig(c *Core, next Config) Position {
	at := Position{c.log.last + 1, c.hard.Term}
	data := next.AppendBinary(nil)
	c.push(NewEntry(at, KindConfig, data))
	l.charge(at.Index, EntryHeaderBytes+len(data))
	l.arrange(c)
	return at
}

// settleConfig goes on from a committed configuration: out of a joint one, or out of office if this node is no voter.
func (l *leader) settleConfig(c *Core) {
	config := c.config()
	if c.commit < l.first || c.commit < config.Index {
		return
	}
	if config.Joint() {
		config.Outgoing = nil
		l.pushConfig(c, config)
		return
	}
	if config.IsVoter(c.opt.ID) {
		return
	}
	if best := l.successor(); best != nil {
		c.send(Message{To: best.id, Term: c.hard.Term, Body: TimeoutNow{}})
	}
	c.become(&follower{electAt: c.now + c.drawTimeout()})
}

// samePeers reports whether both lists hold the same peers, in any order.
func samePeers(a, b []Peer) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p Peer) bool { return !hasPeer(b, p.ID) })
}
