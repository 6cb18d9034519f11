package raft

import (
	"fmt"
	"time"
)

// follower answers a leader, and waits for one.
type follower struct {
	leader   PeerID // zero while unknown
	electAt  time.Duration
	cause    Cause         // of the next election; a hint's says that leader is gone
	listenAt time.Duration // silence before this is not the leader's: this node was late itself
	deferred bool          // electAt was put off once because this node itself was late
	asked    readQuestion
}

// hintBudget bounds the elections that hints bring forward against one leader: a node with bad ears falls back to the
// plain timeout.
type hintBudget struct {
	term  Term
	since time.Duration
	used  int
}

// leaderPause is the longest silence of a term's leader that turned out to be alive.
type leaderPause struct {
	term  Term
	took  time.Duration
	until time.Duration // it is remembered
}

func (f *follower) step(c *Core, m Message) {
	switch b := m.Body.(type) {
	case Append:
		if f.hear(c, m.From) {
			f.append(c, m, b)
		}
	case Heartbeat:
		if f.hear(c, m.From) {
			f.heartbeat(c, m, b)
		}
	case Install:
		if f.hear(c, m.From) {
			f.install(c, m, b)
		}
	case Vote:
		c.ballot(m, b)
	case TimeoutNow:
		if m.From == f.leader && c.promotable() && !c.diskStalled() {
			c.campaign(CauseTransfer)
		}
	case ReadIndexReply:
		f.asked.answer(c, m.From, f.leader, b)
	case ReadIndex:
		c.acknowledge(m, ReadIndexReply{Read: b.Read})
	}
}

// hear notes a sign of life of the term's leader. It refuses a second leader of one term.
func (f *follower) hear(c *Core, from PeerID) bool {
	if f.leader.IsZero() {
		f.leader = from
	}
	if f.leader != from {
		c.fail(fmt.Errorf("%w: %v and %v both lead term %d", ErrInconsistent, f.leader, from, c.hard.Term))
		return false
	}
	if f.suspects() && c.heardIn == c.hard.Term {
		c.notePause()
	}
	c.heard, c.heardIn, f.cause, f.deferred = c.now, c.hard.Term, CauseTimeout, false
	f.electAt = c.now + c.drawTimeout()
	return true
}

// append is the receiver's side of AppendEntries (Raft, Figure 2).
func (f *follower) append(c *Core, m Message, a Append) {
	reply := AppendReply{Session: a.Session, Stateless: c.stateless}
	if a.Prev.Index < c.log.base.Index {
		reply.OK, reply.Match = true, c.commit // committed and compacted: nothing to compare, nothing to learn
		c.reply(m, reply)
		return
	}
	if !c.log.holds(a.Prev) {
		reply.Prev, reply.Hint = a.Prev.Index, c.log.agree(a.Prev)
		c.reply(m, reply)
		return
	}
	if !follows(a.Prev, a.Entries, m.Term) {
		return // no leader sends this
	}
	for _, e := range a.Entries {
		if c.log.holds(e.Position()) {
			continue
		}
		if e.Index() <= c.commit {
			c.fail(fmt.Errorf("%w: %v overrules committed entry %d", ErrInconsistent, m.From, e.Index()))
			return
		}
		if e.Index() <= c.log.last {
			c.truncateFrom(e.Index())
		}
		c.push(e)
	}
	reply.OK, reply.Match = true, a.Prev.Index+Index(len(a.Entries))
	c.commitTo(min(a.Commit, reply.Match))
	c.reply(m, reply)
}

// follows reports whether entries continue prev without a gap, with terms that rise to at most term.
func follows(prev Position, entries []Entry, term Term) bool {
	for _, e := range entries {
		if e.Index() != prev.Index+1 || e.Term() < prev.Term || e.Term() > term {
			return false
		}
		prev = e.Position()
	}
	return true
}

func (f *follower) heartbeat(c *Core, m Message, h Heartbeat) {
	if h.Commit > c.log.last {
		c.fail(fmt.Errorf("%w: the leader has this node's word for entry %d, the log ends at %d", ErrLogLost, h.Commit, c.log.last))
		return
	}
	c.commitTo(h.Commit)
	if h.Round > 0 {
		c.acknowledge(m, HeartbeatReply{Round: h.Round, Stateless: c.stateless})
	}
}

// install takes over a snapshot that lies ready, unless the log has come further by itself. What the log holds after
// the snapshot's position stays only if the log agrees with that position.
func (f *follower) install(c *Core, m Message, i Install) {
	switch {
	case i.Mark.Index <= c.commit && !c.stateless:
		c.reply(m, AppendReply{Session: i.Session, OK: true, Match: c.commit})
		return
	case c.stateless && i.Mark.Index < c.log.base.Index:
		return // too old to continue with this log
	case c.log.holds(i.Mark.Position):
		c.commitTo(i.Mark.Index)
		if c.stateless {
			c.out.Install = i.Mark
		}
	default:
		c.log.resetTo(i.Mark.Position)
		c.configs = []Config{i.Mark.Config}
		c.commit = i.Mark.Index
		c.out.Install = i.Mark
	}
	c.stateless = false
	c.reply(m, AppendReply{Session: i.Session, OK: true, Match: i.Mark.Index})
}

// suspect brings the election forward, to a grace from now, in which a live leader's next word comes, and by rank, so
// that the followers do not all stand at once.
func (f *follower) suspect(c *Core, cause Cause, grace time.Duration) {
	if f.suspects() || !c.spendHint() {
		return
	}
	f.cause = cause
	c.elections.Hints[cause]++
	f.electAt = min(f.electAt, c.now+grace+c.opt.rankDelay(f.rank(c)))
}

func (f *follower) suspects() bool { return f.cause.IsHint() }

// doubts reports whether a hint is enough to vote for another one: a silence no longer than the leader's pauses is not.
func (f *follower) doubts(c *Core) bool {
	return f.suspects() && (f.cause == CauseConnection || c.now >= c.heard+pauseFactor*c.lastPause())
}

// listen notices that the leader is silent. A node that notices late was starved or stopped, so what the leader said
// may wait in its sockets: it listens for another heartbeat. One that is always late leaves it to the plain timeout
// (the local health of Lifeguard: Dadgar, Phillips and Currey, 2018).
func (f *follower) listen(c *Core) {
	silent := f.silentAt(c)
	switch {
	case !f.listens(c) || c.now < silent:
	case c.now > silent+c.opt.Heartbeat:
		f.listenAt = c.now + c.opt.Heartbeat
	default:
		f.suspect(c, CauseSilence, c.silenceGrace())
	}
}

// listens reports whether silence would be a hint.
func (f *follower) listens(c *Core) bool {
	return !f.leader.IsZero() && !f.suspects() && !c.opt.IgnoreHints
}

// silentAt is when silence becomes a hint.
func (f *follower) silentAt(c *Core) time.Duration { return max(c.heard+c.opt.silence(), f.listenAt) }

// rank is this node's place among the voters that could succeed the leader.
func (f *follower) rank(c *Core) int {
	rank := 0
	for _, p := range c.config().Voters {
		if p.ID != f.leader && p.ID.Compare(c.opt.ID) < 0 {
			rank++
		}
	}
	return rank
}

func (c *Core) spendHint() bool {
	if c.hints.term != c.hard.Term || c.now >= c.hints.since+hintWindow*c.opt.ElectionTimeout {
		c.hints = hintBudget{term: c.hard.Term, since: c.now}
	}
	if c.hints.used == hintsPerWindow {
		return false
	}
	c.hints.used++
	return true
}

// notePause remembers that the leader was silent and is not gone.
func (c *Core) notePause() {
	took := c.now - c.heard
	if took < c.opt.silence() {
		return // the hint was another one
	}
	c.pause = leaderPause{c.hard.Term, max(took, c.lastPause()), c.now + pauseMemory*c.opt.ElectionTimeout}
}

// lastPause is the longest silence of this leader of late that was a false hint.
func (c *Core) lastPause() time.Duration {
	if c.pause.term != c.hard.Term || c.now >= c.pause.until {
		return 0
	}
	return c.pause.took
}

// silenceGrace is how long silence goes on, since it is a hint, before it leads to an election. A leader that has paused may pause for
// longer the next time: on a host that stops its processes now and then, a change of the leader would cost more than the wait.
func (c *Core) silenceGrace() time.Duration {
	return max(silenceGraceBeats*c.opt.Heartbeat, pauseFactor*c.lastPause()-c.opt.silence())
}

func (f *follower) wake(c *Core) {
	f.asked.wake(c, f.leader)
	if c.promotable() {
		f.listen(c)
	}
	if c.now < f.electAt {
		return
	}
	if late := c.now - f.electAt; late > c.opt.Heartbeat && !f.deferred {
		// This node was stopped or starved, so what the leader said may still be on its way in. It gets a moment, once.
		f.deferred = true
		f.electAt = c.now + c.opt.Heartbeat
		return
	}
	if !c.promotable() || c.diskStalled() {
		// It does not stand, but gives up the leader all the same: reads must not go on asking one that is gone.
		c.become(&follower{electAt: c.now + c.drawTimeout()})
		return
	}
	c.campaign(f.cause)
}

func (f *follower) deadline(c *Core) time.Duration {
	d := f.asked.deadline()
	if !c.promotable() && f.leader.IsZero() {
		return d
	}
	d = min(d, f.electAt)
	if silent := f.silentAt(c); f.listens(c) && c.now < silent {
		d = min(d, silent)
	}
	return d
}

func (f *follower) flush(c *Core) { f.asked.ask(c, f.leader) }

func (f *follower) leave(c *Core) { f.asked.abandon(c) }
