package raft

import "time"

// Proposal is a command for the log.
type Proposal struct {
	// Term, if not zero, is the term in which the proposer decided: the command is refused in any other.
	Term Term
	// Own marks what the leader itself has to do and nobody asked for: it is never refused for load.
	Own  bool
	Data []byte
}

// Propose appends a command to the leader's log and returns its position. That it will be committed is certain only
// when it is. Errors: *NotLeaderError, ErrTermOver, ErrNoState, ErrTransferring, ErrBusy, ErrTooLarge; all of them mean
// that the command is not in the log. The data is copied.
func (c *Core) Propose(now time.Duration, p Proposal) (Position, error) {
	c.advance(now)
	l, ok := c.role.(*leader)
	switch {
	case !ok && p.Term != 0:
		return Position{}, ErrTermOver
	case !ok:
		return Position{}, c.notLeader()
	case p.Term != 0 && p.Term != c.hard.Term:
		return Position{}, ErrTermOver
	case len(p.Data) > MaxDataBytes:
		return Position{}, ErrTooLarge
	case c.stateless:
		return Position{}, ErrNoState
	case !l.transfer.to.IsZero():
		return Position{}, ErrTransferring
	case !p.Own && l.uncommitted > 0 && l.uncommitted+len(p.Data) > c.opt.MaxUncommittedBytes:
		return Position{}, ErrBusy
	}
	at := Position{c.log.last + 1, c.hard.Term}
	c.push(c.frame(at, KindCommand, p.Data))
	l.charge(at.Index, len(p.Data)+EntryHeaderBytes)
	return at, nil
}

// charge counts what has been proposed; the bytes of one turn share a record.
func (l *leader) charge(i Index, bytes int) {
	const perRecord = 64 << 10
	l.uncommitted += bytes
	if n := len(l.sizes); n > 0 && l.sizes[n-1].bytes < perRecord {
		l.sizes[n-1].last = i
		l.sizes[n-1].bytes += bytes
		return
	}
	l.sizes = append(l.sizes, proposedBytes{i, bytes})
}

// frame builds an entry in memory that it shares with its neighbours: entries come and go together.
func (c *Core) frame(at Position, kind Kind, data []byte) Entry {
	const chunk = 64 << 10
	size := EntryHeaderBytes + len(data)
	if cap(c.arena)-len(c.arena) < size {
		c.arena = make([]byte, 0, max(chunk, size))
	}
	start := len(c.arena)
	c.arena = AppendEntry(c.arena, at, kind, data)
	return Entry{c.arena[start:len(c.arena):len(c.arena)]}
}

// replicate sends p what it lacks, as far as its window allows, and orders a snapshot if entries will not do.
func (l *leader) replicate(c *Core, p *progress) {
	for p.state != installing && l.sendNext(c, p) {
	}
	if (p.state == installing || p.stateless) && !p.snapshot.ordered && c.now >= p.snapshot.retry && !c.stateless {
		p.snapshot = snapshotProgress{ordered: true, index: c.log.base.Index}
		p.hold = true
		c.out.Snapshots = append(c.out.Snapshots, SnapshotOrder{To: p.id, Term: c.hard.Term, Session: p.session})
	}
}

// sendNext sends one Append, and reports whether another may follow.
func (l *leader) sendNext(c *Core, p *progress) bool {
	if p.state == probing && p.waiting || p.state == replicating && p.window.full(&c.opt) {
		return false
	}
	term, ok := c.log.term(p.next - 1)
	prev := Position{p.next - 1, term}
	if !ok {
		p.state = installing
		return false
	}
	if p.next > c.log.last {
		if p.state == probing {
			l.sendEntries(c, p, prev, nil)
		}
		return false
	}
	entries := c.log.slice(p.next, c.log.last, c.opt.MaxAppendBytes)
	if entries == nil {
		l.fetch(c, p)
		return false
	}
	l.sendEntries(c, p, prev, entries)
	return true
}

func (l *leader) sendEntries(c *Core, p *progress, prev Position, entries []Entry) {
	l.sendAppend(c, p, prev, entries)
	if p.state == probing {
		p.waiting, p.probedAt = true, c.now
		return
	}
	bytes := 0
	for _, e := range entries {
		bytes += e.Size()
	}
	p.next += Index(len(entries))
	p.window.add(sentAppend{p.next - 1, bytes, c.now})
}

func (l *leader) sendAppend(c *Core, p *progress, prev Position, entries []Entry) {
	p.told = max(p.told, min(c.commit, prev.Index+Index(len(entries))))
	c.send(Message{To: p.id, Term: c.hard.Term, Body: Append{
		Session: p.session, Prev: prev, Entries: entries, Commit: c.commit,
	}})
}

// fetch asks for entries that left memory.
func (l *leader) fetch(c *Core, p *progress) {
	if p.fetch != 0 {
		return
	}
	p.fetch = p.next
	c.out.Fetches = append(c.out.Fetches, Fetch{
		Peer: p.id, Term: c.hard.Term, Lo: p.next, Hi: c.log.first - 1, MaxBytes: c.opt.MaxAppendBytes,
	})
}

// Fetched brings the entries that a Fetch asked for. No entries means that they have been compacted meanwhile.
func (c *Core) Fetched(now time.Duration, f Fetch, entries []Entry) {
	c.advance(now)
	l, ok := c.role.(*leader)
	if !ok || f.Term != c.hard.Term {
		return
	}
	p := find(l.peers, f.Peer)
	if p == nil || p.fetch != f.Lo {
		return
	}
	p.fetch = 0
	prev := f.Lo - 1
	term, known := c.log.term(prev)
	room := p.state == probing && !p.waiting || p.state == replicating && !p.window.full(&c.opt)
	if p.next == f.Lo && known && room && follows(Position{prev, term}, entries, c.hard.Term) && len(entries) > 0 {
		l.sendEntries(c, p, Position{prev, term}, entries)
	}
}

// SnapshotSent tells how a SnapshotOrder ended: with the snapshot at index accepted by the peer, which will
// acknowledge it once it is in force, or with an error, after which it is tried again in a while.
func (c *Core) SnapshotSent(now time.Duration, o SnapshotOrder, index Index, err error) {
	c.advance(now)
	l, ok := c.role.(*leader)
	if !ok || o.Term != c.hard.Term {
		return
	}
	p := find(l.peers, o.To)
	if p == nil || p.session != o.Session || !p.snapshot.ordered || p.snapshot.sent {
		return
	}
	if err != nil {
		p.snapshot = snapshotProgress{retry: c.now + c.opt.ElectionTimeout}
		p.hold = false
		return
	}
	p.snapshot.sent, p.snapshot.index = true, index
	p.snapshot.retry = c.now + 2*c.opt.ElectionTimeout
}

// KeepFrom returns the first entry that peers which get, or have just got, a snapshot will need: the log must be kept
// from there, or they never catch up with a cluster that is at work. It is far in the future if there are none. The
// second result is the first entry that the slowest other peer lacks; a node that does not lead cannot know it, and says
// zero, as it may have to bring that peer up when it leads.
func (c *Core) KeepFrom() (must, want Index) {
	must, want = ^Index(0), ^Index(0)
	l, ok := c.role.(*leader)
	if !ok {
		return must, 0
	}
	for _, p := range l.peers {
		alive := c.now < p.heard+4*c.opt.ElectionTimeout
		switch {
		case p.hold && alive:
			must = min(must, max(p.match, p.snapshot.index)+1)
		case p.state != installing:
			want = min(want, p.match+1)
		}
	}
	return must, want
}
