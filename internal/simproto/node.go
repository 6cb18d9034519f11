package simproto

import (
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// node is one server: the machines, and the plumbing around them.
type node struct {
	w     *world
	id    int
	boot  int
	up    bool
	clock simworld.Clock
	cut   []bool // which nodes its messages do not reach

	inbox   []any
	planned time.Duration // of its next turn, simworld.Never if none is planned
	paused  time.Duration // until when
	lagging time.Duration // until when it applies nothing
	skipped time.Duration // of its pauses, what a leader must not count

	raft    raft
	table   *locktable.Table
	applied int
	disk    disk
	keeper  *session.Keeper
	watch   *simworld.Watch // as leader
	beatAt  time.Duration
	unfit   bool

	front
}

func newNode(w *world, id int) *node {
	n := &node{w: w, id: id, up: true, cut: make([]bool, w.opts.Nodes), planned: simworld.Never}
	n.clock = simworld.Clock{Base: w.Between(0, time.Hour), Drift: w.Drift()}
	n.raft.hint = -1
	n.table = locktable.NewTable()
	n.disk.records = map[string][]byte{}
	n.front = newFront()
	return n
}

func (n *node) running() bool { return n.up && n.paused <= n.w.Now() }

// local reads the node's clock.
func (n *node) local() time.Duration { return n.clock.At(n.w.Now()) }

// awake is how long the node has been awake, as far as a leader may count it.
func (n *node) awake() time.Duration { return n.w.Now() - n.skipped }

func (n *node) String() string { return fmt.Sprintf("node %d", n.id) }

// Up implements simworld.Server.
func (n *node) Up() bool { return n.up }

// Connected implements simworld.Server.
func (n *node) Connected(c *simworld.Conn) { n.conns = append(n.conns, c) }

// Receive implements simworld.Server.
func (n *node) Receive(c *simworld.Conn, msg any) { n.receive(fromClient{c, msg}) }

// receive puts something into the node's inbox.
func (n *node) receive(msg any) {
	if !n.up {
		return
	}
	n.inbox = append(n.inbox, msg)
	n.plan(n.w.Now())
}

// plan makes the node take a turn at the time, or earlier.
func (n *node) plan(at time.Duration) {
	at = max(at, n.w.Now(), n.paused)
	if at >= n.planned {
		return
	}
	n.planned = at
	n.w.At(at, func() {
		if n.planned == at {
			n.planned = simworld.Never
			n.turn()
		}
	})
}

// turn is one turn of the node's loop.
func (n *node) turn() {
	if !n.up {
		return
	}
	if n.paused > n.w.Now() {
		n.plan(n.paused)
		return
	}
	if n.keeper != nil {
		n.keeper.Turn(n.local())
	}
	for len(n.inbox) > 0 && n.w.Err == nil {
		msg := n.inbox[0]
		n.inbox = n.inbox[1:]
		n.handle(msg)
	}
	n.apply()
	if n.keeper != nil {
		n.duties()
	}
	n.flushKeepAlives(false)
	n.sweep()
	n.planNext()
}

func (n *node) planNext() {
	next := n.w.Now() + session.TurnMax
	if n.raft.leading {
		next = min(next, n.beatAt)
	}
	if len(n.kept) > 0 {
		next = min(next, n.batchAt)
	}
	n.plan(next)
}

func (n *node) handle(msg any) {
	switch m := msg.(type) {
	case appendMsg:
		n.handleAppend(m)
	case appendAck:
		n.handleAck(m)
	case fromClient:
		n.handleClient(m)
	case forwardMsg:
		if n.raft.leading {
			n.proposeData(m.ticket, m.data)
		}
	case keepAlivesMsg:
		n.handleKeepAlives(m)
	case confirmedMsg:
		n.handleConfirmed(m)
	case disconnectedMsg:
		if n.keeper != nil {
			n.keeper.Disconnected(n.local(), m.life)
		}
	case lateProposal:
		// Between the Keeper and the log there is a queue, which may outlive the leadership it was made in.
		if n.raft.leading {
			n.proposeData(ticket{}, m.data)
		}
	}
}

// lateProposal is a proposal of the leader's own on its way to its log.
type lateProposal struct{ data []byte }

func (n *node) startKeeper(term uint64) {
	n.keeper = session.NewKeeper(term, n.local())
	n.watch = n.w.Judge.Watch(n.id)
	n.plan(n.w.Now())
}

func (n *node) stepDown() {
	n.raft.leading, n.raft.rounds = false, nil
	n.keeper, n.watch = nil, nil
}

// duties are what the leader does at the end of a turn.
func (n *node) duties() {
	w := n.w
	if w.deposed(n) {
		w.Hit("stale leader")
	}
	out := n.keeper.Output(n.local(), uint64(n.applied), n.table.Work())
	if out.Round != 0 {
		n.beginRound(out.Round)
	}
	for _, a := range out.Answers {
		w.Judge.Confirmed(a)
		n.confirm(a)
	}
	for lives := out.Expire; len(lives) > 0; {
		some := lives[:min(len(lives), locktable.ExpireMax)]
		lives = lives[len(some):]
		for _, life := range some {
			n.watch.Expiring(life, n.awake())
		}
		n.own(&locktable.Expire{Term: n.keeper.Term(), Lives: some})
	}
	if out.Tick {
		n.own(&locktable.Tick{Term: n.keeper.Term()})
	}
	if w.Now() >= n.beatAt {
		n.broadcast(0)
	}
	n.unfit = n.unfit || out.Unfit
	n.plan(n.clock.When(out.Wake))
}

// own proposes a command of the leader's own.
func (n *node) own(cmd locktable.Command) {
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, n.keeper.Stamp(n.local()))
	boot := n.boot
	n.w.After(n.w.Between(0, n.w.opts.SyncMost), func() {
		if n.boot == boot {
			n.receive(lateProposal{data: data})
		}
	})
}

// proposeData puts a command into the leader's log.
func (n *node) proposeData(from ticket, data []byte) {
	data = append([]byte(nil), data...)
	if from != (ticket{}) {
		locktable.SetStamp(data, n.keeper.Stamp(n.local()))
	}
	n.appendEntries(&entry{term: n.raft.term, data: data, from: from})
}

// apply applies what is committed.
func (n *node) apply() {
	for n.applied < n.raft.commit && n.lagging <= n.w.Now() && n.w.Err == nil {
		e := n.raft.log[n.applied]
		n.applied++
		if e.data == nil {
			if n.raft.leading && n.applied == n.raft.first {
				n.serve()
			}
			if err := n.table.Skip(uint64(n.applied), e.term); err != nil {
				n.w.Fail("node %d: %v", n.id, err)
			}
			continue
		}
		applied, err := n.table.Apply(uint64(n.applied), e.term, e.data)
		if err != nil {
			n.w.Fail("node %d: %v", n.id, err)
			return
		}
		n.w.Judge.Compare(n.id, n.table)
		n.report(e, applied)
		if n.table.Full() || n.w.Chance(5) {
			n.checkpoint()
		}
	}
	n.release()
}

// serve begins the leader's service: its own first entry is applied.
func (n *node) serve() {
	n.keeper.Start(n.local(), n.table.Clock(), n.table.Lives())
	for terms := range n.table.Lives() {
		n.watch.Began(terms.Life, n.awake())
	}
	n.w.Tracef("node %d serves term %d at %d", n.id, n.raft.term, n.applied)
}

// report tells whom an entry concerns: the Keeper, and the clients of this node.
func (n *node) report(e *entry, applied locktable.Applied) {
	if e.from.node == n.id && e.from.boot == n.boot {
		n.answer(e.from.number, applied.Reply)
	}
	for _, effect := range applied.Effects {
		switch effect.Kind {
		case locktable.Opened:
			if n.keeper != nil {
				if terms, _, ok := n.table.Session(effect.Session); ok {
					n.keeper.Opened(n.local(), terms)
					n.watch.Began(effect.Session, n.awake())
				}
			}
		case locktable.Ended:
			if n.keeper != nil {
				n.keeper.Ended(effect.Session)
			}
			n.tell(effect.Session, machine.Answer{Life: clientLife(effect.Session), Code: machine.SessionUnknown})
		case locktable.WaitOver:
			n.waitOver(effect)
		case locktable.Revoked, locktable.Changed:
		}
	}
}

func clientLife(l session.Life) machine.Life {
	return machine.Life{ID: machine.SessionID(l.ID), Index: l.Index}
}

func sessionLife(l machine.Life) session.Life {
	return session.Life{ID: session.ID(l.ID), Index: l.Index}
}

// crash ends the node: what is not synced may be lost.
func (n *node) crash() {
	r := &n.raft
	keep := r.synced
	if tail := len(r.log) - r.synced; tail > 0 {
		keep += n.w.Rand.IntN(tail + 1)
		n.w.Hit("lost tail")
	}
	n.w.Tracef("node %d crashes and keeps %d of %d entries", n.id, keep, len(r.log))
	n.stepDown()
	r.log, r.synced, r.hint, r.commit = r.log[:keep:keep], keep, -1, 0
	n.up, n.inbox, n.keeper = false, nil, nil
	n.boot++
	for _, c := range n.conns {
		c.Break()
	}
	n.front = newFront()
}

// restart brings a crashed node up again, from its checkpoint.
func (n *node) restart() {
	table, index, err := n.disk.load()
	if err != nil {
		n.w.Fail("node %d: %v", n.id, err)
		return
	}
	n.table, n.applied, n.raft.commit = table, index, index
	n.up, n.paused, n.lagging, n.planned = true, 0, 0, simworld.Never
	n.w.Tracef("node %d starts at %d", n.id, index)
	n.plan(n.w.Now())
}
