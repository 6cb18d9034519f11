package raft

import (
	"slices"
	"sort"
	"time"
)

// leader replicates its log.
type leader struct {
	first    Index         // its own first entry; before it is committed the leader knows no commit index (Raft, section 8)
	peers    []*progress   // everybody in the configuration, in the order of PeerID
	voters   []*progress   // of those, the halves of the configuration
	outgoing []*progress   //
	self     *progress     // nil if the leader is not in the configuration
	round    uint64        // of the last heartbeat sent
	beatAt   time.Duration // when the next is due, whatever rounds the reads begin meanwhile
	excused  time.Duration // when the quorum check was last put off because this node itself was late
	lastBeat Index         // the end of the log when a heartbeat was due last
	newsAt   time.Duration // when a commit that no Append has carried yet is told by itself; zero if there is none
	reads    readQueue
	transfer struct {
		to    PeerID
		until time.Duration
	}
	// uncommitted is what has been proposed in this term and is not committed: bytes, and how they fall on the log.
	uncommitted int
	sizes       []proposedBytes
}

type proposedBytes struct {
	last  Index
	bytes int
}

// newLeader takes office: its first entry makes what earlier leaders left behind committable (Raft, section 5.4.2).
func newLeader(c *Core) *leader {
	l := &leader{beatAt: c.now, excused: c.now - c.opt.ElectionTimeout}
	l.first = c.log.last + 1
	l.arrange(c)
	c.push(NewEntry(Position{l.first, c.hard.Term}, KindNoop, nil))
	return l
}

// arrange fits the leader's view to the configuration in force. Peers that stay keep what is known of them.
func (l *leader) arrange(c *Core) {
	config := c.config()
	old := l.peers
	l.peers, l.self = nil, nil
	for _, peer := range config.Peers() {
		p := find(old, peer.ID)
		if p == nil {
			p = &progress{id: peer.ID, session: max(config.Index, 1), next: c.log.last + 1, heard: c.now}
		}
		if peer.ID == c.opt.ID {
			l.self, p.match = p, c.log.stable()
		}
		l.peers = append(l.peers, p)
	}
	l.voters, l.outgoing = pick(l.peers, config.Voters), pick(l.peers, config.Outgoing)
}

func find(list []*progress, id PeerID) *progress {
	n := sort.Search(len(list), func(k int) bool { return list[k].id.Compare(id) >= 0 })
	if n < len(list) && list[n].id == id {
		return list[n]
	}
	return nil
}

func pick(list []*progress, peers []Peer) []*progress {
	out := make([]*progress, 0, len(peers))
	for _, p := range peers {
		out = append(out, find(list, p.ID))
	}
	return out
}

func (l *leader) step(c *Core, m Message) {
	if v, ok := m.Body.(Vote); ok {
		c.ballot(m, v)
		return
	}
	if r, ok := m.Body.(ReadIndex); ok {
		l.read(c, readRequest{from: m.From, id: r.Read})
		return
	}
	p := find(l.peers, m.From)
	if p == nil {
		return
	}
	p.heard = c.now
	switch b := m.Body.(type) {
	case AppendReply:
		if b.Session == p.session {
			l.acked(c, p, b)
		}
	case HeartbeatReply:
		if b.Round == l.round { // an older one may be from before a snapshot
			p.tellsState(!b.Stateless)
		}
		p.round = max(p.round, min(b.Round, l.round))
		l.reads.ready(c, l)
		l.nudge(c, p)
		l.handOver(c)
	}
}

// acked takes the answer to an Append, or to a snapshot.
func (l *leader) acked(c *Core, p *progress, r AppendReply) {
	p.tellsState(!r.Stateless)
	if !r.OK {
		l.rejected(c, p, r)
		return
	}
	if r.Match > c.log.last {
		return // no peer of this session has more than it was sent
	}
	p.acked(r.Match)
	switch {
	case p.state == probing:
		p.stream()
	case p.state == installing && p.match >= max(c.log.base.Index, p.snapshot.index):
		p.stream()
		p.snapshot.ordered = p.stateless && p.snapshot.ordered
	}
	if l.caughtUp(p) {
		p.hold = false
	}
	l.advance(c)
	if c.role == role(l) { // a committed configuration may have ended the office
		l.handOver(c)
	}
}

// rejected moves the search for the common end back. Answers to an older probe than the last one are not news.
func (l *leader) rejected(c *Core, p *progress, r AppendReply) {
	switch {
	case p.state == replicating && r.Prev > p.match:
		p.probe() // an Append was lost; begin again after what is known to be there
	case p.state == probing && r.Prev == p.next-1:
		p.next = max(p.match, min(r.Prev-1, c.log.agree(r.Hint).Index)) + 1
		p.waiting = false
	}
}

// nudge looks after a peer that answers heartbeats but owes an answer to an Append.
func (l *leader) nudge(c *Core, p *progress) {
	overdue := c.now - 2*c.opt.Heartbeat
	if p.snapshot.ordered && p.snapshot.sent && c.now >= p.snapshot.retry {
		p.snapshot.ordered = false // the acknowledgement, or the peer's state, is lost: ask
		if p.state == installing {
			p.probeFrom(p.snapshot.index + 1)
		}
	}
	switch {
	case p.state == probing && p.probedAt <= overdue:
		p.waiting = false
	case p.state == replicating && p.window.overdue(overdue):
		// The last Append may be lost, and nothing after it tells the peer so. An empty one asks; if the log has been
		// compacted beyond it meanwhile, only a snapshot can help.
		prev := p.next - 1
		t, ok := c.log.term(prev)
		if !ok {
			p.probe()
			return
		}
		l.sendAppend(c, p, Position{prev, t}, nil)
		p.window.sent[0].at = c.now
	}
}

// persisted counts the leader's own disk.
func (l *leader) persisted(c *Core) {
	if l.self != nil {
		l.self.match = c.log.stable()
		l.self.next = l.self.match + 1
	}
	l.advance(c)
}

// advance moves the commit index to what a quorum has on disk, if that is an entry of this term (Raft, Figure 8).
func (l *leader) advance(c *Core) {
	i := reached(l.voters, l.outgoing, func(p *progress) Index { return p.match })
	if t, ok := c.log.term(i); !ok || t != c.hard.Term || i <= c.commit {
		return
	}
	c.commit = i
	for len(l.sizes) > 0 && l.sizes[0].last <= i {
		l.uncommitted -= l.sizes[0].bytes
		l.sizes = l.sizes[1:]
	}
	l.reads.ready(c, l)
	l.settleConfig(c)
}

func (l *leader) wake(c *Core) {
	if c.diskStalled() || l.deserted(c) {
		c.become(&follower{electAt: c.now + c.drawTimeout()})
		return
	}
	if !l.transfer.to.IsZero() && c.now >= l.transfer.until {
		l.transfer.to = PeerID{}
	}
	if c.now >= l.beatAt {
		l.beatAt = c.now + c.opt.Heartbeat
		l.beat(c)
		l.lastBeat = c.log.last
	}
}

// deserted reports whether no quorum has been heard for an ElectionTimeout. A leader that was itself stopped gets a
// moment first, as the answers may still be on their way in; but only once in an ElectionTimeout.
func (l *leader) deserted(c *Core) bool {
	heard := reached(l.voters, l.outgoing, func(p *progress) time.Duration {
		if p == l.self {
			return c.now
		}
		return p.heard
	})
	if c.now < heard+c.opt.ElectionTimeout {
		return false
	}
	if late := c.now - l.beatAt; late > c.opt.Heartbeat && c.now >= l.excused+c.opt.ElectionTimeout {
		l.excused = c.now
	}
	return c.now >= l.excused+c.opt.Heartbeat
}

// beat starts a round: its answers prove that this node still leads when the round begins.
func (l *leader) beat(c *Core) {
	c.rounds++
	l.round = c.rounds
	if l.self != nil {
		l.self.round = l.round
	}
	for _, p := range l.peers {
		if p != l.self {
			l.heartbeat(c, p, l.round)
		}
	}
	l.reads.started(l.round)
	l.reads.ready(c, l)
}

func (l *leader) heartbeat(c *Core, p *progress, round uint64) {
	p.told = min(c.commit, p.match)
	c.send(Message{To: p.id, Term: c.hard.Term, Body: Heartbeat{Commit: p.told, Round: round}})
}

func (l *leader) deadline(c *Core) time.Duration {
	d := l.beatAt
	if l.newsAt > 0 {
		d = min(d, l.newsAt)
	}
	if !l.transfer.to.IsZero() {
		d = min(d, l.transfer.until)
	}
	return d
}

// flush sends what has gathered: entries to whoever has room, a round for the reads, the news of a commit.
func (l *leader) flush(c *Core) {
	if l.reads.waiting() {
		l.beat(c)
	}
	for _, p := range l.peers {
		if p != l.self {
			l.replicate(c, p)
		}
	}
	l.tell(c)
}

// tell brings the news of a commit to peers that no Append brings it to. Whoever waited for the commit often proposes
// next, so the news waits a moment for an Append to ride on.
func (l *leader) tell(c *Core) {
	old := func(p *progress) bool {
		return p != l.self && p.state == replicating && p.told < min(c.commit, p.match)
	}
	switch {
	case !slices.ContainsFunc(l.peers, old):
		l.newsAt = 0
	case l.newsAt == 0:
		l.newsAt = c.now + newsDelay
	case c.now >= l.newsAt:
		l.newsAt = 0
		for _, p := range l.peers {
			if old(p) {
				l.heartbeat(c, p, 0)
			}
		}
	}
}

func (l *leader) leave(c *Core) { l.reads.abandon(c) }

// handOver sends TimeoutNow once the chosen peer holds the whole log. A leader without state hands over to the first
// voter that has both log and state.
func (l *leader) handOver(c *Core) {
	if c.stateless && l.transfer.to.IsZero() {
		for _, p := range slices.Concat(l.voters, l.outgoing) {
			if p != l.self && !p.stateless && p.match == c.log.last {
				l.startTransfer(c, p.id)
				break
			}
		}
	}
	if p := find(l.peers, l.transfer.to); p != nil && p.match == c.log.last {
		c.send(Message{To: p.id, Term: c.hard.Term, Body: TimeoutNow{}})
	}
}

func (l *leader) startTransfer(c *Core, to PeerID) {
	l.transfer.to = to
	l.transfer.until = c.now + c.opt.ElectionTimeout
}

// Transfer hands leadership to another voter, or to the most advanced one if to is zero. Proposals are refused with
// ErrTransferring until it has worked, or has not within an ElectionTimeout. Errors: *NotLeaderError, ErrBadTarget.
func (c *Core) Transfer(now time.Duration, to PeerID) error {
	c.advance(now)
	l, ok := c.role.(*leader)
	if !ok {
		return c.notLeader()
	}
	if to.IsZero() {
		if best := l.successor(); best != nil {
			to = best.id
		}
	}
	if to == c.opt.ID || !c.config().IsVoter(to) {
		return ErrBadTarget
	}
	l.startTransfer(c, to)
	l.handOver(c)
	return nil
}

// successor is the most advanced of the other voters, or nil.
func (l *leader) successor() *progress {
	var best *progress
	for _, p := range slices.Concat(l.voters, l.outgoing) {
		if p != l.self && !p.stateless && (best == nil || p.match > best.match) {
			best = p
		}
	}
	return best
}

func (c *Core) notLeader() error {
	_, leader := c.standing()
	return &NotLeaderError{Leader: leader}
}
