package raft

import (
	"fmt"
	"math"
	"time"
)

// never is a deadline that does not come.
const never = time.Duration(math.MaxInt64)

// Core is the Raft algorithm of one node: a state machine without clock, goroutine, randomness or I/O. Its owner
// feeds it messages, time and requests, and after each of them, or after a batch of them, takes an Output and does
// what it says. The same inputs give the same outputs. A Core is not safe for concurrent use.
//
// Time is the reading of a monotonic clock, from any origin, taken after the input it comes with. The owner must pass
// the messages that wait before it calls Wake, so that a node that was stopped hears what was said meanwhile before
// it acts on how late it is.
type Core struct {
	opt     Options
	now     time.Duration
	hard    HardState
	hardNew bool   // the next Write must hold hard
	hardSeq uint64 // the Write that holds it
	log     raftLog
	commit  Index
	role    role
	// configs are the configurations of the log in order: the one in force at the base or committed first, the one in
	// force now last. Truncation takes off the last ones.
	configs   []Config
	stateless bool          // the state machine waits for a snapshot
	heard     time.Duration // a leader said something last
	heardIn   Term          // the leader of that term
	hints     hintBudget
	pause     leaderPause
	elections Elections
	seq       uint64 // of the last Write
	confirmed uint64 // of the last Write known to be durable
	rounds    uint64 // numbers elections and reads; rises for the life of the Core
	rng       uint64
	arena     []byte
	out       Output
}

// role is what a node is in its term. Each role owns the state that must end with it; Core.become is the only way from
// one to another.
type role interface {
	// step handles a message of the node's present term.
	step(c *Core, m Message)
	// wake does what has fallen due.
	wake(c *Core)
	// deadline is when wake is needed next.
	deadline(c *Core) time.Duration
	// flush adds to c.out what was put off to the end of a turn.
	flush(c *Core)
	// leave runs when the role ends.
	leave(c *Core)
}

// NewCore continues a node from what its Storage holds. mark is where its state machine stands: behind the log's base
// it needs a snapshot before it can go on. Errors: invalid Options, a log that does not fit the mark (wrapping
// ErrLogLost), or a damaged configuration.
func NewCore(now time.Duration, opt Options, s State, mark Mark) (*Core, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Core{opt: opt, now: now, hard: s.Hard, log: newLog(s), rng: opt.Seed, rounds: opt.FirstRound}
	if err := c.join(s, mark); err != nil {
		return nil, err
	}
	// A node that has just started knows no leader that it could miss; one that is alive refuses it the PreVote.
	wait := opt.silence() + c.draw(opt.silence())
	if v := c.config().Voters; len(v) == 1 && len(c.config().Outgoing) == 0 && v[0].ID == opt.ID {
		wait = 0
	}
	c.role = &follower{electAt: c.now + wait}
	return c, nil
}

// join fits the state machine's mark to the log.
func (c *Core) join(s State, mark Mark) error {
	c.configs = []Config{mark.Config}
	switch {
	case mark.Index > s.Last && mark.Installed, mark.Index >= s.Base.Index && mark.Installed && !c.log.holds(mark.Position):
		// The process ended between the two steps of an installation; this is the second.
		c.log.resetTo(mark.Position)
		c.commit = mark.Index
		return nil
	case mark.Index > s.Last:
		return fmt.Errorf("%w: the state reflects entry %d, the log ends at %d", ErrLogLost, mark.Index, s.Last)
	case mark.Index < s.Base.Index:
		c.stateless = true
		c.configs = []Config{s.Base.Config}
		c.commit = s.Base.Index
	case !c.log.holds(mark.Position):
		t, _ := c.log.term(mark.Index)
		return fmt.Errorf("%w: the state reflects entry %d of term %d, the log holds it with term %d", ErrInconsistent, mark.Index, mark.Term, t)
	default:
		c.commit = mark.Index
	}
	for _, e := range s.Configs {
		if e.Index() <= c.configs[0].Index {
			continue
		}
		config, err := DecodeConfig(e.Index(), e.Data())
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Index(), err)
		}
		c.configs = append(c.configs, config)
	}
	return nil
}

// Step handles a message. Messages for another node, and bodies that no peer may send, are ignored.
func (c *Core) Step(now time.Duration, m Message) {
	c.advance(now)
	if m.To != c.opt.ID || m.From == c.opt.ID || m.From.IsZero() || !c.admit(m) {
		return
	}
	c.role.step(c, m)
}

// Wake tells that time has passed.
func (c *Core) Wake(now time.Duration) {
	c.advance(now)
	c.role.wake(c)
}

// Deadline returns when Wake is needed next; far in the future if not before another input.
func (c *Core) Deadline() time.Duration { return c.role.deadline(c) }

// Persisted tells that all writes up to the one numbered seq are durable.
func (c *Core) Persisted(now time.Duration, seq uint64) {
	c.advance(now)
	c.confirmed = max(c.confirmed, seq)
	c.log.confirm(seq)
	c.log.evict(c.opt.CacheBytes)
	switch r := c.role.(type) {
	case *candidate:
		r.count(c)
	case *leader:
		r.persisted(c)
	}
}

// Compacted tells that the Storage no longer holds what precedes base.
func (c *Core) Compacted(base Position) {
	c.log.compactTo(base)
	for len(c.configs) > 1 && c.configs[1].Index <= base.Index {
		c.configs = c.configs[1:]
	}
}

// Suspect takes a hint that the leader's process is gone. It only brings forward the moment at which this node asks
// the others whether they think so too; with IgnoreHints not even that. The cause is CauseConnection, or CauseSuspicion,
// which counts for nothing while the leader is heard.
func (c *Core) Suspect(now time.Duration, peer PeerID, cause Cause) {
	c.advance(now)
	f, ok := c.role.(*follower)
	switch {
	case !ok || f.leader != peer || c.opt.IgnoreHints:
	case cause == CauseConnection:
		f.suspect(c, cause, c.opt.grace())
	case c.now >= c.heard+c.opt.silence():
		f.suspect(c, cause, c.silenceGrace())
	}
}

// advance never lets time go back.
func (c *Core) advance(now time.Duration) { c.now = max(c.now, now) }

// admit compares terms; nothing else does. It reports whether the role should see the message.
func (c *Core) admit(m Message) bool {
	switch {
	case m.Term == 0:
		return false
	case m.Term > c.hard.Term:
		return c.admitNewer(m)
	case m.Term < c.hard.Term:
		c.refuseOlder(m)
		return false
	}
	return true
}

func (c *Core) admitNewer(m Message) bool {
	switch b := m.Body.(type) {
	case Vote:
		if b.Pre {
			return true
		}
		if !b.Transfer && c.sticky() {
			return false // a live leader is not disturbed by a node that lost sight of it (thesis, section 4.2.3)
		}
	case VoteReply:
		if b.Pre && b.Granted {
			return true // the term is the one that was asked about
		}
	case Append, Heartbeat, Install:
		c.adopt(m.Term, m.From)
		return true
	}
	c.adopt(m.Term, PeerID{})
	return true
}

// refuseOlder tells a sender whose term is over what the term is, so that a node that has seen a newer one than the
// leader does not stay outside for ever.
func (c *Core) refuseOlder(m Message) {
	switch b := m.Body.(type) {
	case Append:
		c.reply(m, AppendReply{Session: b.Session, Prev: b.Prev.Index, Stateless: c.stateless})
	case Heartbeat, Install:
		c.reply(m, AppendReply{})
	case Vote:
		c.reply(m, VoteReply{Pre: b.Pre, Round: b.Round})
	}
}

// adopt takes up a newer term, as a follower of leader if that is known.
func (c *Core) adopt(term Term, leader PeerID) {
	c.setHard(HardState{Term: term})
	c.become(&follower{leader: leader, electAt: c.now + c.drawTimeout()})
}

func (c *Core) become(r role) {
	old := c.role
	c.role = r
	old.leave(c)
}

func (c *Core) setHard(h HardState) {
	c.hard = h
	c.hardNew = true
}

// sticky reports whether this node knows a leader and has no evidence of its own that it is gone.
func (c *Core) sticky() bool {
	switch r := c.role.(type) {
	case *leader:
		return true
	case *follower:
		return !r.leader.IsZero() && !r.doubts(c) && !c.overdue()
	}
	return false
}

// noteEarlyVote counts a promise that would not be given without a hint.
func (c *Core) noteEarlyVote() {
	var cause Cause
	switch r := c.role.(type) {
	case *candidate:
		cause = r.cause
	case *follower:
		cause = r.cause
	}
	if c.lasting(cause).IsHint() {
		c.elections.EarlyVotes++
	}
}

// overdue reports whether no leader was heard for the election timeout.
func (c *Core) overdue() bool { return c.now >= c.heard+c.opt.ElectionTimeout }

// lasting is the cause of what a node does now for a cause that it had: what it does when the election timeout has passed it would do
// without the hint too.
func (c *Core) lasting(cause Cause) Cause {
	if cause.IsHint() && c.overdue() {
		return CauseTimeout
	}
	return cause
}

// ballot answers a Vote (Raft, section 5.4.1; PreVote: thesis, section 9.6). A PreVote changes nothing here.
func (c *Core) ballot(m Message, v Vote) {
	last := c.log.lastPosition()
	current := v.Last.Term > last.Term || v.Last.Term == last.Term && v.Last.Index >= last.Index
	if v.Pre {
		reply := VoteReply{Pre: true, Round: v.Round, Granted: m.Term > c.hard.Term && current && !c.sticky()}
		term := c.hard.Term
		if reply.Granted {
			term = m.Term
			c.noteEarlyVote()
		}
		c.send(Message{To: m.From, Term: term, Body: reply})
		return
	}
	role, leader := c.standing()
	free := c.hard.Vote.IsZero() && role != Leader && leader.IsZero()
	grant := current && (free || c.hard.Vote == m.From)
	if grant && free {
		c.setHard(HardState{c.hard.Term, m.From})
		c.become(&follower{electAt: c.now + c.drawTimeout()})
	}
	c.reply(m, VoteReply{Round: v.Round, Granted: grant})
}

// config returns the configuration in force: the latest in the log, committed or not.
func (c *Core) config() Config { return c.configs[len(c.configs)-1] }

// promotable reports whether this node may stand for election. A voter that a change removes is needed until the change
// is committed: it may be the only one that has the change's entry (thesis, section 4.2.2).
func (c *Core) promotable() bool {
	n := len(c.configs) - 1
	voter := c.configs[n].IsVoter(c.opt.ID) || n > 0 && c.configs[n].Index > c.commit && c.configs[n-1].IsVoter(c.opt.ID)
	return voter && !c.log.reset
}

// diskStalled reports whether a write has waited for the disk for too long.
func (c *Core) diskStalled() bool {
	at, ok := c.log.oldestWrite()
	return ok && c.now >= at+c.opt.DiskStall
}

// push adds an entry to the log; one that holds a configuration puts it in force.
func (c *Core) push(e Entry) {
	c.log.append(e)
	if e.Kind() != KindConfig {
		return
	}
	config, err := DecodeConfig(e.Index(), e.Data())
	if err != nil {
		c.fail(fmt.Errorf("entry %d: %w", e.Index(), err))
		return
	}
	c.configs = append(c.configs, config)
}

// truncateFrom removes entries that a leader has overruled, with the configurations among them.
func (c *Core) truncateFrom(i Index) {
	c.log.truncateFrom(i)
	for len(c.configs) > 1 && c.configs[len(c.configs)-1].Index >= i {
		c.configs = c.configs[:len(c.configs)-1]
	}
}

func (c *Core) commitTo(i Index) { c.commit = max(c.commit, min(i, c.log.last)) }

// fail reports that the node cannot go on. Its owner must not use the Core after this.
func (c *Core) fail(err error) {
	if c.out.Fatal == nil {
		c.out.Fatal = err
	}
}

// send queues a message that promises nothing about the disk.
func (c *Core) send(m Message) {
	m.From = c.opt.ID
	c.out.Send = append(c.out.Send, m)
}

// reply queues an answer in the present term. It leaves when all that the node has decided so far is durable.
func (c *Core) reply(m Message, b Body) {
	c.afterWrite(Message{To: m.From, Term: c.hard.Term, Body: b})
}

// acknowledge queues an answer that promises nothing but not to follow an earlier term: it need not wait for entries.
func (c *Core) acknowledge(m Message, b Body) {
	if c.hardNew || c.confirmed < c.hardSeq {
		c.reply(m, b)
		return
	}
	c.send(Message{To: m.From, Term: c.hard.Term, Body: b})
}

// afterWrite queues a message that must not leave before everything decided so far is durable.
func (c *Core) afterWrite(m Message) {
	m.From = c.opt.ID
	c.out.then = append(c.out.then, m)
}

// draw returns a number in [0, n): splitmix64 (Steele, Lea and Flood, 2014).
func (c *Core) draw(n time.Duration) time.Duration {
	c.rng += 0x9e3779b97f4a7c15
	z := c.rng
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return time.Duration(z % uint64(n))
}

// drawTimeout draws how long to wait for a leader.
func (c *Core) drawTimeout() time.Duration {
	return c.opt.ElectionTimeout + c.draw(c.opt.ElectionTimeout)
}
