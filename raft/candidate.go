package raft

import (
	"slices"
	"time"
)

// candidate asks for votes; first whether it would get them, then for them.
type candidate struct {
	pre     bool
	cause   Cause
	round   uint64
	seq     uint64 // the Write that makes the own vote durable
	granted []PeerID
	refused []PeerID
	until   time.Duration
}

// campaign stands for election. A transfer skips the question, as the leader itself has asked for it.
func (c *Core) campaign(cause Cause) {
	cause = c.lasting(cause)
	c.rounds++
	c.elections.Campaigns[cause]++
	r := &candidate{pre: cause != CauseTransfer, cause: cause, round: c.rounds}
	r.until = c.now + c.opt.ElectionTimeout/4 + c.draw(c.opt.ElectionTimeout/4)
	if r.pre {
		c.become(r)
		r.poll(c, c.hard.Term+1, c.send)
	} else {
		c.setHard(HardState{c.hard.Term + 1, c.opt.ID})
		r.seq = c.nextSeq()
		c.become(r)
		r.poll(c, c.hard.Term, c.afterWrite)
	}
	r.count(c)
}

func (r *candidate) poll(c *Core, term Term, send func(Message)) {
	for _, p := range c.config().Peers() {
		if p.ID != c.opt.ID && c.config().IsVoter(p.ID) {
			send(Message{To: p.ID, Term: term, Body: Vote{
				Pre: r.pre, Round: r.round, Last: c.log.lastPosition(), Transfer: r.cause == CauseTransfer,
			}})
		}
	}
}

// count ends the election if it is decided. The own vote counts when it is durable.
func (r *candidate) count(c *Core) {
	own := r.pre || c.confirmed >= r.seq
	for_ := func(id PeerID) bool { return slices.Contains(r.granted, id) || own && id == c.opt.ID }
	against := func(id PeerID) bool { return !slices.Contains(r.refused, id) }
	switch {
	case c.config().quorum(for_) && r.pre:
		r.win(c)
	case c.config().quorum(for_):
		c.elections.Won[r.cause]++
		c.become(newLeader(c))
	case !c.config().quorum(against):
		c.become(&follower{cause: r.cause.again(), electAt: max(r.until, c.now) + c.draw(c.opt.ElectionTimeout)})
	}
}

func (r *candidate) win(c *Core) {
	c.rounds++
	next := &candidate{cause: r.cause, round: c.rounds, until: r.until}
	c.setHard(HardState{c.hard.Term + 1, c.opt.ID})
	next.seq = c.nextSeq()
	c.become(next)
	next.poll(c, c.hard.Term, c.afterWrite)
	next.count(c)
}

func (r *candidate) step(c *Core, m Message) {
	switch b := m.Body.(type) {
	case Append, Heartbeat, Install:
		// This term has a leader. To who only asks it is the one that was taken for gone.
		f := &follower{leader: m.From, electAt: c.now + c.drawTimeout()}
		if r.pre {
			f.cause = r.cause
		}
		c.become(f)
		c.role.step(c, m)
	case Vote:
		c.ballot(m, b)
	case VoteReply:
		if b.Pre != r.pre || b.Round != r.round {
			return
		}
		if b.Granted {
			r.granted = append(r.granted, m.From)
		} else {
			r.refused = append(r.refused, m.From)
		}
		r.count(c)
	case ReadIndex:
		c.acknowledge(m, ReadIndexReply{Read: b.Read})
	}
}

func (r *candidate) wake(c *Core) {
	if c.now < r.until {
		return
	}
	if !c.promotable() || c.diskStalled() {
		c.become(&follower{electAt: c.now + c.drawTimeout()})
		return
	}
	c.campaign(r.cause.again())
}

func (r *candidate) deadline(*Core) time.Duration { return r.until }
func (r *candidate) flush(*Core)                  {}
func (r *candidate) leave(*Core)                  {}
