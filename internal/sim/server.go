package sim

import (
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// server is what a node's process has around its raft and its state: the part that leads, and the part that faces clients and other
// nodes. All but what follows an applied entry at once happens in one loop, which takes what arrived in its order.
type server struct {
	*service
	*state
	place int // counts from zero
	boot  int
	up    bool

	inbox    []any
	draining bool // the loop will look into the inbox

	standing raft.Standing
	reign    *tenure.Reign
	watch    *simworld.Watch
	applies  raft.Position
	skipped  time.Duration // of its stops, what a leader must not count
	turned   time.Duration // when the leader's last turn was, true time
	planned  time.Duration // of its next one
	unserved []*command    // that wait for the leader's own first entry

	front
}

// pace is how long the leader's turns are apart that are taken for KeepAlives and rounds.
const pace = 10 * time.Millisecond

func newServer(m *state) *server {
	n := &server{service: m.s, state: m, place: int(m.node.ID().Node - 1), planned: simworld.Never}
	n.front = newFront(n)
	return n
}

func (n *server) started() {
	n.boots++
	n.boot = n.boots
	n.up, n.planned, n.skipped = true, simworld.Never, 0
	n.standing = raft.Standing{}
	n.applies = raft.Position{Index: n.replica.Mark().Index, Term: n.replica.Mark().Term}
	n.Tracef("node %d starts at %d", n.place, n.applies.Index)
	n.sweep()
}

// ended forgets what only the process knew. Its connections end with it.
func (n *server) ended() {
	n.Tracef("node %d ends", n.place)
	n.up, n.draining, n.inbox, n.unserved = false, false, nil, nil
	n.reign, n.watch = nil, nil
	for _, c := range n.clients {
		c.Break()
	}
	n.front = newFront(n)
}

func (n *server) resumed(after time.Duration) {
	n.skipped += max(0, after-session.StallMax)
}

// awake is how long the node has been awake, as far as a leader may count it.
func (n *server) awake() time.Duration { return n.Now() - n.skipped }

// receive puts something into the inbox. A process that is stopped looks into it when it goes on.
func (n *server) receive(msg any) {
	if !n.up {
		return
	}
	n.inbox = append(n.inbox, msg)
	if n.draining {
		return
	}
	n.draining = true
	n.node.After(n.Between(0, 100*time.Microsecond), "server", n.drain)
}

// drain takes what has arrived.
func (n *server) drain() {
	n.draining = false
	for len(n.inbox) > 0 && n.Err == nil && n.up {
		msg := n.inbox[0]
		n.inbox = n.inbox[1:]
		n.handle(msg)
	}
}

func (n *server) handle(msg any) {
	switch m := msg.(type) {
	case raft.Standing:
		n.stands(m)
	case fromClient:
		n.fromClient(m)
	case forward:
		n.forwarded(m)
	case outcome:
		n.outcomes(m)
	case digest:
		n.digested(m)
	case digestAnswer:
		n.answered(m)
	case parted:
		n.disconnected(m.lives)
	case roundOver:
		n.roundOver(m)
	case func():
		m()
	}
}

// stands follows raft: a leadership begins, or is over.
func (n *server) stands(s raft.Standing) {
	n.standing = s
	leads := s.Role == raft.Leader
	if n.reign != nil && (!leads || n.reign.Term() != s.Term) {
		n.Tracef("node %d leads term %d no more", n.place, n.reign.Term())
		n.reign.End()
		n.reign, n.watch = nil, nil
	}
	if leads && n.reign == nil {
		n.Tracef("node %d leads term %d", n.place, s.Term)
		n.reign = tenure.NewReign(s.Term, n.node.Clock())
		n.watch = n.Judge.Watch(n.place)
		n.Hit("leadership")
		n.turnAt(n.Now())
	}
	n.reroute()
	n.beatNow()
}

// applied follows an entry: the tenure first, then whom it concerns.
func (n *server) applied(a replica.Applied) {
	n.applies = raft.Position{Index: a.Index, Term: a.Term}
	if n.reign != nil {
		n.reign.Applied(n.node.Clock(), a)
		switch {
		case n.reign.Serving():
			for _, e := range a.Effects {
				if e.Kind == locktable.Opened {
					n.watch.Began(e.Session, n.awake())
				}
			}
		case a.Term == n.reign.Term():
			n.turnAt(n.Now())
		}
	}
	n.tell(a)
	n.release()
}

// installed tells that a snapshot has replaced the state.
func (n *server) installed() {
	n.Hit("state installed")
	n.replica.View(func(t *locktable.Table) {
		index, term := t.Index()
		n.applies = raft.Position{Index: raft.Index(index), Term: raft.Term(term)}
		n.Judge.Compare(n.place, t)
	})
	n.hangUp()
	n.release()
}

// turnAt makes the leader take a turn at a true time, or earlier.
func (n *server) turnAt(at time.Duration) {
	at = max(at, n.Now())
	if at >= n.planned {
		return
	}
	n.planned = at
	n.node.After(at-n.Now(), "turn of the leader", func() {
		if n.planned == at {
			n.planned = simworld.Never
			n.turn()
		}
	})
}

// soon makes it take a turn when the pace allows.
func (n *server) soon() { n.turnAt(n.turned + pace) }

// turn is a turn of the leader's loop.
func (n *server) turn() {
	r := n.reign
	if r == nil {
		return
	}
	n.turned = n.Now()
	var d tenure.Decision
	now := n.node.Clock()
	n.replica.View(func(t *locktable.Table) {
		d = r.Decide(now, n.applies, t)
		if d.Began {
			for terms := range t.Lives() {
				n.watch.Began(terms.Life, n.awake())
			}
		}
	})
	if d.Began {
		n.Tracef("node %d serves term %d at %d", n.place, r.Term(), n.applies.Index)
		n.serve()
	}
	if d.Late > 0 {
		n.Hit("late turn")
	}
	if d.Round != 0 {
		n.beginRound(r, d.Round)
	}
	n.decided(d.Clock, d.Answers)
	for _, life := range d.Expire {
		n.watch.Expiring(life, n.awake())
	}
	if d.Expiring {
		n.expire(r)
	}
	if d.Tick {
		n.Hit("tick")
		n.own(r, &locktable.Tick{Term: uint64(r.Term())}, func(err error) {
			r.TickOver()
			if err == nil {
				n.turnAt(n.Now())
			}
		})
	}
	if d.Unfit {
		n.Hit("unfit leader")
		n.node.Transfer(raft.PeerID{})
	}
	n.turnAt(n.offset + n.node.When(now+d.Wait))
}

// roundOver is the end of a quorum round.
type roundOver struct {
	reign  *tenure.Reign
	number uint64
	index  raft.Index
	err    error
}

func (n *server) beginRound(r *tenure.Reign, number uint64) {
	n.Stats.Rounds++
	n.node.Read(func(q *raft.Request) {
		n.receive(roundOver{r, number, q.At.Index, q.Err})
	})
}

// roundOver counts a round whose answer cannot be that of another leader.
func (n *server) roundOver(m roundOver) {
	if s := n.node.Standing(); m.err == nil && (s.Role != raft.Leader || s.Term != m.reign.Term()) {
		n.Hit("round of another leadership")
		m.err = errDeposed
	}
	m.reign.RoundOver(m.number, m.index, m.err)
	if m.err == nil && n.reign == m.reign {
		n.soon()
	}
}

// expire ends the sessions that are due, entry by entry.
func (n *server) expire(r *tenure.Reign) {
	lives := r.Due()
	if len(lives) == 0 {
		return
	}
	n.own(r, &locktable.Expire{Term: uint64(r.Term()), Lives: lives}, func(err error) {
		if err != nil {
			n.Hit("expire refused")
		}
		r.Settle(lives)
		n.expire(r)
	})
}

// own proposes a command of the leader's own, in the term in which it was decided. Between the decision and the log lies a while.
func (n *server) own(r *tenure.Reign, cmd locktable.Command, then func(error)) {
	data := locktable.Encode(cmd)
	n.node.After(n.Between(0, n.opts.DecideMost), "own proposal", func() {
		locktable.SetStamp(data, r.Stamp(n.node.Clock()))
		n.node.Propose(raft.Proposal{Term: r.Term(), Own: true, Data: data}, func(q *raft.Request) {
			err := q.Err
			n.receive(func() {
				if n.reign == r {
					then(err)
				}
			})
		})
	})
}
