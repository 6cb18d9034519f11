package sim

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/session"
)

// Times of KeepAlives, as production has them.
const (
	digestEvery = 100 * time.Millisecond // the shortest time between two Digests
	quorumWait  = time.Second            // without a confirmed round, after which clients are told
	batchesMost = 64                     // that are remembered
)

// beats collects the KeepAlives of clients, sends them to the leader together, and passes on its answers. It follows the front of
// production, whose bookkeeping is among timers and locks.
type beats struct {
	kept    []beat // the newest KeepAlive of each session that is not sent yet
	gone    []session.Life
	flushed time.Duration
	armed   bool
	last    uint64
	batches map[uint64]*batch
	order   []uint64
	held    []held
	since   time.Duration // when the first KeepAlive arrived that no round has confirmed; zero: all are
	told    time.Duration // when the clients were told last that no round succeeds
}

// beat is a KeepAlive in the hands of a node.
type beat struct {
	life   session.Life
	number uint64
	taken  time.Duration // by the node's clock
	client *client
}

// batch is what went to the leader together: of this node's clients, or of another node.
type batch struct {
	beats  []beat
	from   *origin
	number uint64
}

// held are answers that wait for an entry to be applied.
type held struct {
	index   uint64
	clock   time.Duration
	answers []heldAnswer
}

type heldAnswer struct {
	beat
	verdict session.Confirmation
}

// The messages about KeepAlives.
type (
	digest struct {
		from  origin
		batch uint64
		list  []session.KeepAlive
	}
	digestAnswer struct {
		boot    int // of the node that asked
		batch   uint64
		index   uint64
		clock   time.Duration
		answers []session.Answer
	}
	parted struct{ lives []session.Life }
)

// take takes in a KeepAlive. Of each session the one with the highest number counts.
func (n *server) take(c *client, ka machine.KeepAlive) {
	life := sessionLife(ka.Life)
	n.gone = slices.DeleteFunc(n.gone, func(l session.Life) bool { return l == life })
	if n.since == 0 {
		n.since = n.Now()
	}
	k := beat{life, ka.Number, n.node.Clock(), c}
	if at := slices.IndexFunc(n.kept, func(o beat) bool { return o.life == life }); at < 0 {
		n.kept = append(n.kept, k)
	} else if n.kept[at].number < k.number {
		n.kept[at] = k
	}
	n.beatNow()
}

// part reports sessions whose connection has closed, behind the KeepAlives that came over it.
func (n *server) part(lives []session.Life) {
	n.gone = append(n.gone, lives...)
	n.beatNow()
}

// beatNow sends what is there, or sees that it is sent when the last Digest is long enough ago.
func (n *server) beatNow() {
	switch {
	case len(n.kept)+len(n.gone) == 0, n.armed:
	case n.Now()-n.flushed >= digestEvery:
		n.beat()
	default:
		n.armed = true
		n.node.After(n.flushed+digestEvery-n.Now(), "digest", func() {
			n.armed = false
			n.beat()
		})
	}
}

// beat sends a Digest to the leader. While none is known everything stays.
func (n *server) beat() {
	leader := int(n.standing.Leader.Node) - 1
	if n.reign == nil && (leader < 0 || leader == n.place) {
		return
	}
	n.flushed = n.Now()
	if len(n.kept) > 0 {
		number := n.add(&batch{beats: n.kept})
		list := make([]session.KeepAlive, len(n.kept))
		for i, k := range n.kept {
			list[i] = session.KeepAlive{Life: k.life, Number: k.number, Age: (n.node.Clock() - k.taken).Truncate(time.Millisecond), From: number}
		}
		n.kept = nil
		if n.reign != nil {
			n.keepAlive(list)
		} else {
			n.send(leader, digest{origin{n.place, n.boot, 0}, number, list})
		}
	}
	if lives := n.gone; len(lives) > 0 {
		n.gone = nil
		if n.reign != nil {
			n.disconnected(lives)
		} else {
			n.send(leader, parted{lives})
		}
	}
}

// add numbers a batch and keeps it for its answers.
func (n *server) add(b *batch) uint64 {
	n.last++
	n.batches[n.last] = b
	if n.order = append(n.order, n.last); len(n.order) > batchesMost {
		delete(n.batches, n.order[0])
		n.order = n.order[1:]
	}
	return n.last
}

// digested takes in the KeepAlives of another node, if this one leads.
func (n *server) digested(m digest) {
	if n.reign == nil {
		return // they come again
	}
	number := n.add(&batch{from: &m.from, number: m.batch})
	list := slices.Clone(m.list)
	for i := range list {
		list[i].From = number
	}
	n.keepAlive(list)
}

func (n *server) keepAlive(list []session.KeepAlive) {
	n.reign.KeepAlive(n.node.Clock(), list)
	for _, ka := range list {
		n.watch.KeptAlive(ka, n.awake())
	}
	n.soon()
}

func (n *server) disconnected(lives []session.Life) {
	if n.reign == nil {
		return
	}
	n.Hit("disconnected")
	n.reign.Disconnected(n.node.Clock(), lives)
	n.soon()
}

// decided takes what the Keeper of this node has answered.
func (n *server) decided(clock time.Duration, answers []session.Answer) {
	for len(answers) > 0 {
		from, index := answers[0].From, answers[0].ReadIndex
		k := 1
		for k < len(answers) && answers[k].From == from && answers[k].ReadIndex == index {
			k++
		}
		some := slices.Clone(answers[:k])
		answers = answers[k:]
		for _, a := range some {
			n.Judge.Confirmed(a)
			if a.Verdict == session.NotRenewed {
				n.Hit("not renewed")
			}
		}
		b := n.batches[from]
		if b == nil {
			continue
		}
		m := digestAnswer{boot: n.boot, batch: from, index: index, clock: clock, answers: some}
		if b.from == nil {
			n.answered(m)
			continue
		}
		m.boot, m.batch = b.from.boot, b.number
		n.send(b.from.place, m)
	}
}

// answered takes the answer to a batch of this node's clients. Only KeepAlives of that batch are answered: a later one of the same
// session was not confirmed by it.
func (n *server) answered(m digestAnswer) {
	b := n.batches[m.batch]
	if b == nil || b.from != nil || m.boot != n.boot {
		return
	}
	h := held{index: m.index, clock: m.clock}
	for _, a := range m.answers {
		at := slices.IndexFunc(b.beats, func(k beat) bool { return k.life == a.Life && k.number == a.Number })
		if at >= 0 {
			h.answers = append(h.answers, heldAnswer{b.beats[at], a.Verdict})
			b.beats = slices.Delete(b.beats, at, at+1)
		}
	}
	n.since = 0
	if len(n.kept) > 0 {
		n.since = n.Now()
	}
	n.hold(h)
}

// hold passes answers on, now or when their read index is applied: behind the sessions' own events, in one stream.
func (n *server) hold(h held) {
	if uint64(n.applies.Index) < h.index {
		n.Hit("answer waits for its index")
		n.held = append(n.held, h)
		return
	}
	n.deliver(h)
}

func (n *server) deliver(h held) {
	n.service.answered += len(h.answers) // while a cluster grants nothing yet, there may be no other answers
	for _, a := range h.answers {
		a.client.Tell(machine.KeepAliveAnswer{Life: clientLife(a.life), Number: a.number, Code: verdicts[a.verdict], Cluster: h.clock})
		if a.verdict == session.Unknown {
			n.forget(a.life.ID)
		}
	}
}

var verdicts = map[session.Confirmation]machine.Code{
	session.Renewed: machine.Done, session.NotRenewed: machine.Retry, session.Unknown: machine.SessionUnknown,
}

// release passes on the answers whose read index is applied.
func (n *server) release() {
	for len(n.held) > 0 && uint64(n.applies.Index) >= n.held[0].index {
		h := n.held[0]
		n.held = n.held[1:]
		n.deliver(h)
	}
}

// sweep tells the clients when no round succeeds.
func (n *server) sweep() {
	n.node.After(quorumWait/4, "sweep", func() {
		if n.since > 0 && n.Now()-n.since > quorumWait && n.Now()-n.told > quorumWait {
			n.told = n.Now()
			n.Hit("no quorum")
			for _, c := range n.clients {
				if len(c.lives) > 0 {
					c.Tell(machine.NoQuorum{})
				}
			}
		}
		n.sweep()
	})
}
