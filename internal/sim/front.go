package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// Times of the client port, as production has them.
const (
	leaderWait = 2 * time.Second       // how long a request waits for a leader
	retryEvery = 10 * time.Millisecond // how often what no leader took is offered again
	linkWait   = time.Second           // a link that is silent for so long is taken for broken
)

// front is the part of a server that faces the clients and the other nodes. It dies with the process.
type front struct {
	clients []*client
	byConn  map[*simworld.Conn]*client
	listen  map[session.ID][]*client // who hears of a session
	pending map[uint64]*command      // on their way to another node
	tickets uint64
	waiting []*command // for a leader
	rests   bool       // they are offered again soon
	beats
}

// client is a connection of a client.
type client struct {
	*simworld.Conn
	lives []session.Life // that it named; without an index where that is not known yet
}

// command is a command on its way to the log, and who asked for it.
type command struct {
	ticket  uint64
	client  *client // of this node
	msg     any
	from    *origin // of another node
	data    []byte
	arrived time.Duration
}

// origin names a command at the node that it came from.
type origin struct {
	place, boot int
	ticket      uint64
}

// The messages about commands.
type (
	fromClient struct {
		conn *simworld.Conn
		msg  any
	}
	forward struct {
		from origin
		data []byte
	}
	outcome struct {
		boot   int // of the node that asked
		ticket uint64
		verdict
	}
)

// verdict is what became of a command.
type verdict struct {
	reply locktable.Reply
	clock time.Duration
	retry bool // nobody knows, or it had no effect
}

func newFront(n *server) front {
	return front{
		byConn: map[*simworld.Conn]*client{}, listen: map[session.ID][]*client{}, pending: map[uint64]*command{},
		beats: beats{batches: map[uint64]*batch{}, flushed: n.Now() - digestEvery},
	}
}

// fromClient takes a message of a client.
func (n *server) fromClient(m fromClient) {
	c := n.byConn[m.conn]
	if c == nil {
		return // of an earlier process, or closed
	}
	switch msg := m.msg.(type) {
	case nil:
		n.hungUp(c)
	case machine.KeepAlive:
		n.join(c, sessionLife(msg.Life))
		n.take(c, msg)
	case machine.OpenRequest:
		n.join(c, session.Life{ID: session.ID(msg.ID)})
		n.carry(c, msg, &locktable.Open{ID: session.ID(msg.ID), TTL: msg.TTL, Grace: msg.Grace})
	case machine.CloseRequest:
		n.join(c, sessionLife(msg.Life))
		n.carry(c, msg, &locktable.Close{Session: sessionLife(msg.Life)})
	case machine.Request:
		n.join(c, sessionLife(msg.Life))
		n.carry(c, msg, simworld.Command(msg))
	case *simworld.Ask:
		n.ask(c, msg)
	}
}

// ask serves a request outside of any session.
func (n *server) ask(c *client, m *simworld.Ask) {
	if m.Command != nil {
		n.carry(c, m, m.Command)
		return
	}
	n.node.Read(func(q *raft.Request) {
		err := q.Err
		n.receive(func() {
			if err != nil {
				c.Tell(&simworld.Told{Number: m.Number, Retry: true})
				return
			}
			told := &simworld.Told{Number: m.Number}
			n.replica.View(func(t *locktable.Table) {
				told.Index, _ = t.Index()
				for _, token := range m.Tokens {
					told.Checks = append(told.Checks, t.CheckToken(token.Name, token.Token))
				}
			})
			c.Tell(told)
		})
	})
}

// join makes a connection listen for what happens to a session, before its command is passed on.
func (n *server) join(c *client, life session.Life) {
	for i := range c.lives {
		if c.lives[i].ID == life.ID {
			if life.Index != 0 {
				c.lives[i] = life
			}
			return
		}
	}
	c.lives = append(c.lives, life)
	n.listen[life.ID] = append(n.listen[life.ID], c)
}

// carry takes a command of a client on its way.
func (n *server) carry(c *client, msg any, cmd locktable.Command) {
	n.dispatch(&command{client: c, msg: msg, data: locktable.Encode(cmd), arrived: n.Now()})
}

// dispatch takes a command to the leader, once; while there is none it waits.
func (n *server) dispatch(cmd *command) {
	leader := int(n.standing.Leader.Node) - 1
	switch {
	case n.reign != nil:
		n.propose(cmd)
	case n.standing.Role == raft.Leader || n.standing.Leader.IsZero() || leader == n.place:
		n.waiting = append(n.waiting, cmd)
		n.rest()
	default:
		n.tickets++
		cmd.ticket = n.tickets
		n.pending[cmd.ticket] = cmd
		n.Hit("forwarded")
		n.send(leader, forward{origin{n.place, n.boot, cmd.ticket}, cmd.data})
		n.node.After(linkWait, "link given up", func() {
			if n.pending[cmd.ticket] == cmd {
				delete(n.pending, cmd.ticket)
				n.Hit("interrupted")
				n.finish(cmd, verdict{retry: true})
			}
		})
	}
}

// rest offers what waits again after a while.
func (n *server) rest() {
	if n.rests {
		return
	}
	n.rests = true
	n.node.After(retryEvery, "offered again", func() {
		n.rests = false
		n.reroute()
	})
}

// reroute offers what waits for a leader again.
func (n *server) reroute() {
	waiting := n.waiting
	n.waiting = nil
	for _, cmd := range waiting {
		if n.Now()-cmd.arrived >= leaderWait {
			n.Hit("no leader")
			n.finish(cmd, verdict{retry: true})
		} else {
			n.dispatch(cmd)
		}
	}
	unserved := n.unserved
	n.unserved = nil
	for _, cmd := range unserved {
		n.propose(cmd)
	}
}

// serve goes on with what waited for the leader's own first entry.
func (n *server) serve() { n.reroute() }

// forwarded takes a command of another node. It is not sent on.
func (n *server) forwarded(m forward) {
	n.propose(&command{from: &m.from, data: slices.Clone(m.data), arrived: n.Now()})
}

// propose brings a command into the log, on the leader, in the term in which it was stamped.
func (n *server) propose(cmd *command) {
	r := n.reign
	switch {
	case r == nil:
		n.notLeader(cmd)
		return
	case !r.Serving():
		n.unserved = append(n.unserved, cmd)
		return
	}
	stamp := r.Stamp(n.node.Clock())
	n.node.After(n.Between(0, n.opts.DecideMost), "proposal", func() {
		locktable.SetStamp(cmd.data, stamp)
		n.node.Propose(raft.Proposal{Term: r.Term(), Data: cmd.data}, func(q *raft.Request) { n.proposed(cmd, q) })
	})
}

// proposed passes the answer of raft to the loop.
func (n *server) proposed(cmd *command, q *raft.Request) {
	var v verdict
	if done, ok := q.Result.(*replica.Outcome); q.Err == nil && ok {
		v.reply = done.Reply
		v.clock = n.clock()
	} else {
		v.retry = true
	}
	err := q.Err
	n.receive(func() {
		if v.retry && cmd.client != nil && leadsNot(err) {
			n.notLeader(cmd)
		} else {
			n.finish(cmd, v)
		}
	})
}

// leadsNot reports whether a command was not taken because the node does not lead, or not any more.
func leadsNot(err error) bool {
	var other *raft.NotLeaderError
	return !errors.Is(err, raft.ErrUnknown) && (errors.As(err, &other) || errors.Is(err, raft.ErrTermOver) ||
		errors.Is(err, raft.ErrTransferring) || errors.Is(err, raft.ErrNoState))
}

// notLeader lets a command of a client wait for who leads; that of another node was sent once, and goes back.
func (n *server) notLeader(cmd *command) {
	if cmd.client == nil {
		n.finish(cmd, verdict{retry: true})
		return
	}
	n.waiting = append(n.waiting, cmd)
	n.rest()
}

var errDeposed = errors.New("sim: the node does not lead this term any more")

// clock is cluster time: as the leader counts it, or else as it is applied here.
func (n *server) clock() (clock time.Duration) {
	if n.reign != nil && n.reign.Serving() {
		return n.reign.Stamp(n.node.Clock())
	}
	n.replica.View(func(t *locktable.Table) { clock = t.Clock() })
	return clock
}

// finish gives a command its verdict: to the client, or to the node that it came from.
func (n *server) finish(cmd *command, v verdict) {
	if cmd.from != nil {
		n.send(cmd.from.place, outcome{boot: cmd.from.boot, ticket: cmd.from.ticket, verdict: v})
		return
	}
	n.reply(cmd, v)
}

// outcomes takes the answer of the leader.
func (n *server) outcomes(m outcome) {
	cmd := n.pending[m.ticket]
	if cmd == nil || m.boot != n.boot {
		return
	}
	delete(n.pending, m.ticket)
	n.reply(cmd, m.verdict)
}

// reply answers a client.
func (n *server) reply(cmd *command, v verdict) {
	c := cmd.client
	switch msg := cmd.msg.(type) {
	case machine.OpenRequest:
		a := machine.OpenAnswer{ID: msg.ID, Code: machine.Retry}
		if !v.retry {
			a = machine.OpenAnswer{ID: msg.ID, Code: machine.Done, Index: v.reply.Index, Cluster: v.clock}
			n.join(c, session.Life{ID: session.ID(msg.ID), Index: v.reply.Index})
		}
		c.Tell(a)
	case machine.CloseRequest:
		if !v.retry {
			c.Tell(machine.CloseAnswer{Life: msg.Life})
		}
	case machine.Request:
		if v.retry {
			c.Tell(machine.Answer{Life: msg.Life, Seq: msg.Seq, Code: machine.Retry})
			return
		}
		n.service.answered++
		n.Judge.Answered(sessionLife(msg.Life), msg.Seq, v.reply)
		a := n.Answer(sessionLife(msg.Life), msg.Seq, v.reply)
		a.Cluster = v.clock
		c.Tell(a)
	case *simworld.Ask:
		c.Tell(&simworld.Told{Number: msg.Number, Retry: v.retry, Reply: v.reply})
	}
}

// tell passes on what an entry did to those who named its session.
func (n *server) tell(a replica.Applied) {
	for _, e := range a.Effects {
		switch e.Kind { //nolint:exhaustive // the others are nobody's in particular
		case locktable.WaitOver:
			for _, c := range n.listen[e.Session.ID] {
				answer := n.Answer(e.Session, e.Seq, e.Reply)
				answer.Cluster = a.Table.Clock()
				c.Tell(answer)
			}
		case locktable.Ended:
			for _, c := range n.listen[e.Session.ID] {
				c.Tell(machine.Answer{Life: clientLife(e.Session), Code: machine.SessionUnknown})
			}
			n.forget(e.Session.ID)
		}
	}
}

func (n *server) forget(id session.ID) {
	for _, c := range n.listen[id] {
		c.lives = slices.DeleteFunc(c.lives, func(l session.Life) bool { return l.ID == id })
	}
	delete(n.listen, id)
}

// hungUp forgets a connection, and reports its sessions to the leader: the KeepAlives that it brought go first.
func (n *server) hungUp(c *client) {
	n.close(c)
	lives := slices.DeleteFunc(c.lives, func(l session.Life) bool { return l.Index == 0 })
	if len(lives) > 0 {
		n.part(lives)
	}
}

func (n *server) close(c *client) {
	c.Close()
	delete(n.byConn, c.Conn)
	n.clients = slices.DeleteFunc(n.clients, func(o *client) bool { return o == c })
	for _, l := range c.lives {
		n.listen[l.ID] = slices.DeleteFunc(n.listen[l.ID], func(o *client) bool { return o == c })
	}
}

// hangUp ends the connections of sessions: what has happened to them meanwhile cannot be told any more.
func (n *server) hangUp() {
	for _, c := range slices.Clone(n.clients) {
		if len(c.lives) > 0 {
			n.Hit("hung up after an install")
			c.HangUp()
			n.receive(fromClient{conn: c.Conn})
		}
	}
}

func clientLife(l session.Life) machine.Life {
	return machine.Life{ID: machine.SessionID(l.ID), Index: l.Index}
}

func sessionLife(l machine.Life) session.Life {
	return session.Life{ID: session.ID(l.ID), Index: l.Index}
}
