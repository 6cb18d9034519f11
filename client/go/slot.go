package client

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/wire"
)

const (
	// unansweredMax is how many requests one connection may leave unanswered before it is given up.
	unansweredMax = 8192

	// breakPause bounds the pause after a connection broke, so that those of a node that died do not come to another all at once.
	breakPause = 10 * time.Millisecond

	// settle bounds the pause between the news of a leader and the move to it, so that the clients of a node do not all come at once.
	settle = 5 * time.Second

	// steady is how long a connection has to stand so that the next pause begins small again.
	steady = 5 * time.Second
)

// slot is one of the two connections that the machine may want. Its fields belong to the owner.
type slot struct {
	number  machine.Slot
	cancel  context.CancelFunc
	link    *link // nil while it is down
	last    uint64
	pending map[uint64]machine.Message
	moveAt  time.Duration // when to go to the leader, 0 to stay; a link asks for it once
}

// nodesOfSlots are the nodes that the slots are connected to, 0 for none, so that each goes to another one.
type nodesOfSlots [2]atomic.Uint64

// dial begins what the machine wants: connections, one after the other, until hang.
func (o *owner) dial(s machine.Slot) {
	ctx, cancel := context.WithCancel(o.s.ctx)
	sl := &slot{number: s, cancel: cancel}
	o.slots[s] = sl
	o.c.start(func(context.Context) { o.tend(ctx, sl) })
}

func (o *owner) hang(s machine.Slot) {
	if sl := o.slots[s]; sl != nil {
		sl.cancel()
		o.slots[s] = nil
	}
}

// tend keeps a slot connected until ctx ends. It is the only goroutine that waits for the network on the slot's account, with the
// writer of the link.
func (o *owner) tend(ctx context.Context, sl *slot) {
	node := &o.nodes[sl.number]
	for attempt := 0; ctx.Err() == nil; attempt++ {
		l, err := o.c.dir.connect(ctx, o.nodes[1-sl.number].Load())
		if err != nil {
			o.turn(func(o *owner, now time.Duration) { o.troubled(now, err, refusedBy(err)) })
			pause(ctx, attempt, roundPause, roundPauseMax)
			continue
		}
		node.Store(l.welcome.Node)
		began := time.Now()
		o.turn(func(o *owner, now time.Duration) { o.connected(now, sl, l) })
		err = l.run(ctx, func(m wire.Message) {
			if now, ok := o.enter(); ok {
				o.receive(now, sl, l, m)
				o.leave(now)
			}
		})
		node.Store(0)
		o.turn(func(o *owner, now time.Duration) { o.disconnected(now, sl, l) })
		if ctx.Err() != nil {
			return
		}
		if l.left.Load() { // for the leader, which is tried first
			continue
		}
		o.c.dir.outcome(l.endpoint, err)
		o.c.log.LogAttrs(ctx, slog.LevelInfo, "a connection broke", slog.String("endpoint", l.endpoint), slog.Any("error", err))
		if time.Since(began) >= steady {
			attempt = 0
		}
		pause(ctx, attempt, breakPause, roundPauseMax)
	}
}

// refusedBy returns the refusal of a round in which all refused for good, else nil.
func refusedBy(err error) *Error {
	round, ok := errors.AsType[*roundError](err)
	if !ok || !round.refused {
		return nil
	}
	e, _ := errors.AsType[*Error](err)
	return e
}

// connected takes a new connection, unless the slot is not wanted any more: then it ends by the slot's ctx.
func (o *owner) connected(now time.Duration, sl *slot, l *link) {
	if o.slots[sl.number] != sl {
		return
	}
	sl.link, sl.pending, sl.last, sl.moveAt = l, make(map[uint64]machine.Message), 0, 0
	o.m.Connected(now, sl.number)
}

func (o *owner) disconnected(now time.Duration, sl *slot, l *link) {
	if o.slots[sl.number] != sl || sl.link != l {
		return
	}
	sl.link, sl.pending = nil, nil
	o.m.Disconnected(now, sl.number)
}

// send puts a message of the machine into the outbox of a connection. It is sent after the turn.
func (o *owner) send(now time.Duration, s machine.Slot, msg machine.Message) {
	sl := o.slots[s]
	if sl == nil || sl.link == nil {
		return
	}
	sl.last++
	id := sl.last
	if r, ok := msg.(machine.Request); ok {
		o.sending(now, r)
	}
	err := sl.link.out.put(o.toWire(msg, id))
	o.dirty[s] = sl.link
	if err != nil {
		if format, ok := errors.AsType[*wire.FormatError](err); ok {
			o.unwritable(s, msg, format)
			return
		}
		sl.link.close() // its reader tells when it has ended
		return
	}
	if _, ok := msg.(machine.KeepAlive); !ok {
		sl.pending[id] = msg
	}
	if len(sl.pending) > unansweredMax {
		sl.link.close() // see above
	}
}

// sending notes when an acquisition was sent first in its life.
func (o *owner) sending(now time.Duration, r machine.Request) {
	q := callOf(r.Op.Body)
	if q == nil || r.Op.Kind == machine.OpRelease || r.Op.Kind == machine.OpCancel {
		return
	}
	q.sent = true
	if q.life != o.life {
		q.life, q.seq, q.first, q.waited, q.copies = o.life, r.Seq, now+o.missed, false, 0
	}
	q.copies++
}

// unwritable refuses a request that the protocol has no form for.
func (o *owner) unwritable(s machine.Slot, msg machine.Message, err *wire.FormatError) {
	e := &Error{Code: uint16(wire.Invalid), Known: true, Err: joined(ErrInvalid, err)}
	if told := replied(msg, machine.Refused, &answer{err: e}, &wire.Reply{}, 0); told != nil {
		o.later = append(o.later, func(o *owner, now time.Duration) { o.m.Receive(now, s, told) })
	}
}

// receive takes a message from a connection.
func (o *owner) receive(now time.Duration, sl *slot, l *link, m wire.Message) {
	if o.slots[sl.number] != sl || sl.link != l {
		return
	}
	if n, ok := m.(*wire.Nodes); ok {
		o.c.dir.told(n)
		o.consider(now, sl, n)
	} else if msg := o.fromWire(sl, m); msg != nil {
		if a, ok := msg.(machine.OpenAnswer); ok && a.Code == machine.Refused {
			o.refused = said(a.Body).error(machine.Refused)
			o.s.over.Store(true) // before its callers hear of it
		}
		o.m.Receive(now, sl.number, msg)
	}
	if sl.moveAt > 0 && now >= sl.moveAt && len(sl.pending) == 0 {
		l.left.Store(true)
		l.close()
	}
}

// consider plans a move to the leader if a node tells that another one leads: every command goes by way of the leader, and this
// connection was made when nobody knew it. It is made between two requests.
func (o *owner) consider(now time.Duration, sl *slot, n *wire.Nodes) {
	if sl.link.welcome.Node == n.Leader {
		sl.moveAt = 0
		return
	}
	if alone := o.slots[1-sl.number] == nil; !alone || sl.link.considered || !o.c.dir.reaches(n.Leader) {
		return
	}
	sl.link.considered = true
	sl.moveAt = now + time.Duration(rand.Int64N(int64(settle)))
}

// fromWire returns what a message tells the machine, nil if nothing.
func (o *owner) fromWire(sl *slot, m wire.Message) machine.Message {
	switch m := m.(type) {
	case *wire.KeepAliveAnswer:
		return machine.KeepAliveAnswer{Life: machineLife(m.Life), Number: m.Number, Code: keepAliveVerdicts[m.Verdict], Cluster: m.Clock}
	case *wire.Reply:
		asked := sl.pending[m.ID]
		delete(sl.pending, m.ID)
		code, body := verdict(m.Outcome, sl.link.endpoint)
		o.noteQueued(asked, m.Outcome)
		o.said = body
		return replied(asked, code, &o.said, m, 0)
	case *wire.Failure:
		asked := sl.pending[m.ID]
		delete(sl.pending, m.ID)
		code, body := judge(asked, m, sl.link.endpoint)
		answeredBy(asked, body.err)
		code = o.ofOneCopy(asked, code, body.err)
		if _, ok := asked.(machine.OpenRequest); ok && body.err.diskFull() {
			o.later = append(o.later, func(o *owner, now time.Duration) { o.troubled(now, body.err, body.err) })
		}
		o.said = body
		return replied(asked, code, &o.said, &wire.Reply{}, m.Wait)
	case *wire.WaitOver:
		code, body := verdict(m.Outcome, sl.link.endpoint)
		return machine.Answer{
			Life: machineLife(m.Life), Seq: m.Seq, Code: code, Token: m.Outcome.Token, Cluster: m.Clock, Body: &body,
		}
	case *wire.Revoked:
		o.revoked(sl.number, m)
	case *wire.SessionEnded:
		return machine.Answer{Life: machineLife(m.Life), Code: machine.SessionUnknown, Cluster: m.Clock}
	case *wire.NoQuorum:
		return machine.NoQuorum{}
	}
	return nil
}

// ofOneCopy returns what a failure means to the machine. It speaks for one copy of its request: another one may take effect, and then
// somebody has to know. So such an acquisition is cancelled, and its caller told at once; one that is known to wait goes on.
func (o *owner) ofOneCopy(asked machine.Message, code machine.Code, e *Error) machine.Code {
	r, _ := asked.(machine.Request)
	q := callOf(r.Op.Body)
	if q == nil || r.Op.Kind == machine.OpRelease || r.Op.Kind == machine.OpCancel || SessionID(r.Life.ID) != o.life.id {
		return code
	}
	if e.Known {
		q.copies--
	}
	switch waits := q.waited && e.diskFull(); {
	case code != machine.Refused || q.copies == 0:
		return code
	case waits:
		return machine.Retry
	}
	e.Known = false
	if r.Op.Kind == machine.OpOther {
		return code // it leaves nothing behind
	}
	o.later = append(o.later, func(o *owner, now time.Duration) {
		q.fail(e)
		_ = o.m.Abandon(now, q.id) // what is over by now needs no end
	})
	return machine.Retry
}

// noteQueued tells the caller of an acquisition that it waits.
func (o *owner) noteQueued(asked machine.Message, out wire.Outcome) {
	r, ok := asked.(machine.Request)
	if !ok || out.Code != wire.Queued {
		return
	}
	q := callOf(r.Op.Body)
	if q == nil {
		return
	}
	q.waited, q.last = true, nil
	select {
	case q.queued <- out.Ahead:
	default:
	}
}

// revoked tells the machine of a hold that somebody else ended: each level of it is a call of its own.
func (o *owner) revoked(s machine.Slot, m *wire.Revoked) {
	for l := o.tokens[m.Token]; l != nil; l = l.same {
		ended := machine.Answer{Life: machineLife(m.Life), Seq: l.seq, Code: machine.HoldEnded, Cluster: m.Clock}
		o.later = append(o.later, func(o *owner, now time.Duration) { o.m.Receive(now, s, ended) })
	}
}
