package simproto

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// front is the part of a node that faces the clients. It dies with the node.
type front struct {
	conns    []*simworld.Conn
	tickets  uint64
	pending  map[uint64]request                // requests that are on their way, by ticket
	waits    map[waitName]*simworld.Conn       // who hears of the outcome of a wait
	attached map[session.Life][]*simworld.Conn // who hears of the end of a session
	kept     []keptAlive                       // KeepAlives for the next batch
	batchAt  time.Duration                     // when it leaves
	asked    []keptAlive                       // KeepAlives that were in a batch and are not answered
	confirms []confirmedMsg                    // confirmations whose read index is not applied yet
	troubled time.Duration                     // when the clients were told last that rounds fail
}

type waitName struct {
	life session.Life
	seq  uint64
}

// request is what a node remembers of a request of a client.
type request struct {
	conn *simworld.Conn
	msg  any
}

// keptAlive is a KeepAlive in the hands of a node.
type keptAlive struct {
	conn   *simworld.Conn
	life   session.Life
	number uint64
	taken  time.Duration // by the node's clock
}

// The messages between the nodes' fronts and the leader.
type (
	forwardMsg struct {
		ticket ticket
		data   []byte
	}
	keepAlivesMsg struct{ list []session.KeepAlive }
	confirmedMsg  struct {
		answer  session.Answer
		cluster time.Duration
	}
	disconnectedMsg struct{ life session.Life }
)

func newFront() front {
	return front{
		pending: map[uint64]request{}, waits: map[waitName]*simworld.Conn{}, attached: map[session.Life][]*simworld.Conn{}, batchAt: simworld.Never,
	}
}

// requestTimeout is how long a node waits for the outcome of a request before it says that it knows none.
const requestTimeout = 700 * time.Millisecond

func (n *node) handleClient(m fromClient) {
	if !slices.Contains(n.conns, m.conn) {
		return // of an earlier process, or closed
	}
	switch msg := m.msg.(type) {
	case nil:
		n.hungUp(m.conn)
	case machine.KeepAlive:
		n.attach(m.conn, msg.Life)
		n.keep(keptAlive{conn: m.conn, life: sessionLife(msg.Life), number: msg.Number, taken: n.local()})
	case machine.OpenRequest:
		n.carryOn(m, &locktable.Open{ID: session.ID(msg.ID), TTL: msg.TTL, Grace: msg.Grace})
	case machine.CloseRequest:
		n.carryOn(m, &locktable.Close{Session: sessionLife(msg.Life)})
	case machine.Request:
		n.attach(m.conn, msg.Life)
		n.carryOn(m, simworld.Command(msg))
	}
}

// carryOn takes a command to the leader, once.
func (n *node) carryOn(m fromClient, cmd locktable.Command) {
	n.tickets++
	t := ticket{node: n.id, boot: n.boot, number: n.tickets}
	n.pending[t.number] = request{conn: m.conn, msg: m.msg}
	data := locktable.Encode(cmd)
	switch {
	case n.raft.leading:
		n.proposeData(t, data)
	case n.raft.hint >= 0:
		n.w.send(n.id, n.raft.hint, forwardMsg{ticket: t, data: data})
	}
	n.w.After(requestTimeout, func() {
		if n.boot == t.boot && n.running() {
			n.giveUp(t.number)
		}
	})
}

// giveUp says that no outcome of a request is known.
func (n *node) giveUp(number uint64) {
	r, ok := n.pending[number]
	if !ok {
		return
	}
	delete(n.pending, number)
	switch msg := r.msg.(type) {
	case machine.OpenRequest:
		r.conn.Tell(machine.OpenAnswer{ID: msg.ID, Code: machine.Retry})
	case machine.Request:
		r.conn.Tell(machine.Answer{Life: msg.Life, Seq: msg.Seq, Code: machine.Retry})
	}
}

// answer answers a request with what its entry did.
func (n *node) answer(number uint64, reply locktable.Reply) {
	r, ok := n.pending[number]
	if !ok {
		return
	}
	delete(n.pending, number)
	cluster := n.table.Clock()
	switch msg := r.msg.(type) {
	case machine.OpenRequest:
		a := machine.OpenAnswer{ID: msg.ID, Code: machine.Done, Index: reply.Index, Cluster: cluster}
		if reply.Code != locktable.OK {
			n.w.Fail("Open is answered with %d", reply.Code)
		}
		n.attach(r.conn, machine.Life{ID: msg.ID, Index: reply.Index})
		r.conn.Tell(a)
	case machine.CloseRequest:
		r.conn.Tell(machine.CloseAnswer{Life: msg.Life})
	case machine.Request:
		if reply.Code == locktable.Queued {
			n.waits[waitName{sessionLife(msg.Life), msg.Seq}] = r.conn
		}
		n.w.Judge.Answered(sessionLife(msg.Life), msg.Seq, reply)
		a := n.w.Answer(sessionLife(msg.Life), msg.Seq, reply)
		a.Cluster = cluster
		r.conn.Tell(a)
	}
}

// waitOver tells the outcome of a wait to who waits for it here.
func (n *node) waitOver(e locktable.Effect) {
	name := waitName{e.Session, e.Seq}
	c := n.waits[name]
	if c == nil {
		return
	}
	delete(n.waits, name)
	a := n.w.Answer(e.Session, e.Seq, e.Reply)
	a.Cluster = n.table.Clock()
	c.Tell(a)
}

// attach notes that a connection serves a life.
func (n *node) attach(c *simworld.Conn, l machine.Life) {
	if life := sessionLife(l); c.Name(life) {
		n.attached[life] = append(n.attached[life], c)
	}
}

// tell sends a message to every connection of a life.
func (n *node) tell(life session.Life, msg machine.Message) {
	for _, c := range n.attached[life] {
		c.Tell(msg)
	}
	delete(n.attached, life)
}

// hungUp notes the end of a connection: the KeepAlives it brought go on first, then the report of its end.
func (n *node) hungUp(c *simworld.Conn) {
	c.Close()
	n.conns = slices.DeleteFunc(n.conns, func(o *simworld.Conn) bool { return o == c })
	n.flushKeepAlives(true)
	for _, life := range c.Named() {
		if at := slices.Index(n.attached[life], c); at >= 0 {
			n.attached[life] = slices.Delete(n.attached[life], at, at+1)
			n.toLeader(disconnectedMsg{life: life})
		}
	}
}

// toLeader sends a message to the leader, if one is known.
func (n *node) toLeader(msg any) {
	switch {
	case n.raft.leading:
		n.receive(msg)
	case n.raft.hint >= 0:
		n.w.send(n.id, n.raft.hint, msg)
	}
}

// keep takes a KeepAlive into the next batch: the highest number of each life and connection.
func (n *node) keep(k keptAlive) {
	for i := range n.kept {
		if o := &n.kept[i]; o.life == k.life && o.conn == k.conn {
			if k.number > o.number {
				*o = k
			}
			return
		}
	}
	if len(n.kept) == 0 {
		n.batchAt = n.w.Now() + n.w.opts.Batch
	}
	n.kept = append(n.kept, k)
}

// flushKeepAlives sends the batch, if it is time.
func (n *node) flushKeepAlives(now bool) {
	if len(n.kept) == 0 || !now && n.w.Now() < n.batchAt {
		return
	}
	list := make([]session.KeepAlive, len(n.kept))
	for i, k := range n.kept {
		age := (n.local() - k.taken).Truncate(time.Millisecond)
		list[i] = session.KeepAlive{Life: k.life, Number: k.number, Age: age, From: uint64(n.id)}
	}
	n.asked = append(n.asked, n.kept...)
	n.kept, n.batchAt = nil, simworld.Never
	n.toLeader(keepAlivesMsg{list: list})
}

// handleKeepAlives gives a batch to the Keeper.
func (n *node) handleKeepAlives(m keepAlivesMsg) {
	if n.keeper == nil {
		return
	}
	for _, ka := range m.list {
		n.keeper.KeepAlive(n.local(), ka)
		n.watch.KeptAlive(ka, n.awake())
	}
}

// confirm sends the Keeper's answer to the node that passed the KeepAlive on.
func (n *node) confirm(a session.Answer) {
	m := confirmedMsg{answer: a, cluster: n.keeper.Stamp(n.local())}
	if int(a.From) == n.id {
		n.receive(m)
	} else {
		n.w.send(n.id, int(a.From), m)
	}
}

// handleConfirmed passes a confirmation on, or keeps it until its read index is applied.
func (n *node) handleConfirmed(m confirmedMsg) {
	n.confirms = append(n.confirms, m)
	n.release()
}

// release passes on the confirmations whose read index is applied: after the session's own events, in one stream.
func (n *node) release() {
	n.confirms = slices.DeleteFunc(n.confirms, func(m confirmedMsg) bool {
		if uint64(n.applied) < m.answer.ReadIndex {
			return false
		}
		n.asked = slices.DeleteFunc(n.asked, func(k keptAlive) bool {
			if k.life != m.answer.Life || k.number != m.answer.Number {
				return false
			}
			k.conn.Tell(machine.KeepAliveAnswer{
				Life: clientLife(k.life), Number: k.number, Code: verdicts[m.answer.Verdict], Cluster: m.cluster,
			})
			return true
		})
		return true
	})
}

var verdicts = map[session.Confirmation]machine.Code{
	session.Renewed: machine.Done, session.NotRenewed: machine.Retry, session.Unknown: machine.SessionUnknown,
}

// sweep forgets KeepAlives that nobody will answer, and tells the clients when rounds fail.
func (n *node) sweep() {
	if len(n.asked) == 0 {
		return
	}
	if age := n.local() - n.asked[0].taken; age > time.Second && n.w.Now()-n.troubled > time.Second {
		n.troubled = n.w.Now()
		for _, c := range n.conns {
			c.Tell(machine.NoQuorum{})
		}
	}
	n.asked = slices.DeleteFunc(n.asked, func(k keptAlive) bool { return n.local()-k.taken > 10*time.Second })
}
