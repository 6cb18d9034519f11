package raft

import "time"

// Read asks for a read index (ReadIndex; thesis, section 6.4) under a number of the caller's choice. The answer comes
// in an Output. On a follower the question goes to the leader.
func (c *Core) Read(now time.Duration, read uint64) {
	c.advance(now)
	switch r := c.role.(type) {
	case *leader:
		r.read(c, readRequest{from: c.opt.ID, id: read})
	case *follower:
		if !r.leader.IsZero() {
			r.asked.waiting = append(r.asked.waiting, read)
			return
		}
		c.readFailed(read)
	default:
		c.readFailed(read)
	}
}

func (c *Core) readFailed(read uint64) {
	c.out.Reads = append(c.out.Reads, ReadDone{Read: read, Err: c.notLeader()})
}

// readRequest is a read on its way through a leader.
type readRequest struct {
	from  PeerID
	id    uint64
	index Index  // the commit index when the leader took it
	round uint64 // the first round that began afterwards
}

// readQueue holds a leader's reads. A read is answered when a quorum has acknowledged a round that began after it
// came: then no newer leader can have committed anything before it (thesis, section 6.4).
type readQueue struct {
	early []readRequest // the leader does not know the commit index yet
	fresh []readRequest // wait for a round to begin
	open  []readRequest // wait for their round, in its order
}

func (l *leader) read(c *Core, r readRequest) {
	switch {
	case c.stateless:
		c.answer(r, false)
	case c.commit < l.first:
		l.reads.early = append(l.reads.early, r)
	default:
		r.index = c.commit
		l.reads.fresh = append(l.reads.fresh, r)
	}
}

func (q *readQueue) waiting() bool { return len(q.fresh) > 0 }

func (q *readQueue) started(round uint64) {
	for _, r := range q.fresh {
		r.round = round
		q.open = append(q.open, r)
	}
	q.fresh = q.fresh[:0]
}

// ready answers the reads whose round is acknowledged, and takes in those that came too early.
func (q *readQueue) ready(c *Core, l *leader) {
	if c.commit >= l.first && len(q.early) > 0 {
		early := q.early
		q.early = nil
		for _, r := range early {
			l.read(c, r)
		}
	}
	if len(q.open) == 0 {
		return
	}
	acked := reached(l.voters, l.outgoing, func(p *progress) uint64 { return p.round })
	n := 0
	for n < len(q.open) && q.open[n].round <= acked {
		c.answer(q.open[n], true)
		n++
	}
	q.open = q.open[n:]
}

// abandon fails all reads: a deposed leader cannot answer them.
func (q *readQueue) abandon(c *Core) {
	for _, list := range [][]readRequest{q.early, q.fresh, q.open} {
		for _, r := range list {
			c.answer(r, false)
		}
	}
	*q = readQueue{}
}

func (c *Core) answer(r readRequest, ok bool) {
	switch {
	case r.from != c.opt.ID:
		c.send(Message{To: r.from, Term: c.hard.Term, Body: ReadIndexReply{Read: r.id, OK: ok, Index: r.index}})
	case ok:
		c.out.Reads = append(c.out.Reads, ReadDone{Read: r.id, Index: r.index})
	default:
		c.readFailed(r.id)
	}
}

// readQuestion is a follower's side: the reads that came while one question is out share the next.
type readQuestion struct {
	waiting []uint64
	asked   []askedRead // in the order of their questions
	number  uint64      // of the last question
	until   time.Duration
}

// askedRead is a read and the first question that was sent after it came: the answer to that one or to any later one
// serves it.
type askedRead struct{ id, question uint64 }

// ask sends the next question unless one is out.
func (q *readQuestion) ask(c *Core, leader PeerID) {
	if len(q.asked) == 0 && len(q.waiting) > 0 && !leader.IsZero() {
		q.send(c, leader)
	}
}

// send sends a question under a number of its own: the answer to an earlier one must not serve later reads.
func (q *readQuestion) send(c *Core, leader PeerID) {
	c.rounds++
	q.number, q.until = c.rounds, c.now+c.opt.grace()
	for _, id := range q.waiting {
		q.asked = append(q.asked, askedRead{id, q.number})
	}
	q.waiting = nil
	c.send(Message{To: leader, Term: c.hard.Term, Body: ReadIndex{Read: q.number}})
}

func (q *readQuestion) answer(c *Core, from, leader PeerID, r ReadIndexReply) {
	if from != leader || r.Read > q.number {
		return
	}
	for len(q.asked) > 0 && q.asked[0].question <= r.Read {
		if r.OK {
			c.out.Reads = append(c.out.Reads, ReadDone{Read: q.asked[0].id, Index: r.Index})
		} else {
			c.readFailed(q.asked[0].id)
		}
		q.asked = q.asked[1:]
	}
}

// wake asks again when the answer is overdue. The first answer to come is taken: it may just have a long way.
func (q *readQuestion) wake(c *Core, leader PeerID) {
	if len(q.asked) > 0 && c.now >= q.until {
		q.send(c, leader)
	}
}

func (q *readQuestion) deadline() time.Duration {
	if len(q.asked) > 0 {
		return q.until
	}
	return never
}

func (q *readQuestion) abandon(c *Core) {
	for _, r := range q.asked {
		c.readFailed(r.id)
	}
	for _, id := range q.waiting {
		c.readFailed(id)
	}
}
