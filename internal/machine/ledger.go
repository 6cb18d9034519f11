package machine

import (
	"maps"
	"slices"
	"time"
)

// maxSeen is how many seen waits one request names. The rest goes with the next ones.
const maxSeen = 64

// ledger numbers the calls of a life and keeps account of which outcomes are known.
//
//	acked <= seq <= acked + Window
//	every number up to acked is known, acked+1 is not (or is not given out yet)
//	bySeq holds the calls of this life that are sent, queued or held
//	every call that is sent is in unanswered, once
type ledger struct {
	last    CallID
	byID    map[CallID]*call
	backlog []*call // without a number yet, in the order they were asked for
	cancels []*call // the same, and first
	gone    int     // calls of the backlog that were given up since it was compacted

	asked, waits int // calls that are sent, and queued

	// Of the present life.
	bySeq      map[uint64]*call
	seq        uint64 // the last one given out
	acked      uint64
	above      map[uint64]struct{} // known numbers above acked
	seen       []uint64            // waits whose outcome is known, and which no answered request has named yet
	unanswered []*call             // in the order in which they were sent first; answered ones until the next repeat
	due        time.Duration       // no request is to be repeated before
	dueSet     bool
}

func newLedger() ledger {
	return ledger{byID: map[CallID]*call{}, bySeq: map[uint64]*call{}, above: map[uint64]struct{}{}}
}

// turn sends what waits for a number, and repeats what is due.
func (l *ledger) turn(m *Machine) {
	best := m.links.best()
	if best == noSlot {
		return
	}
	for l.seq < l.acked+Window {
		c := l.pop()
		if c == nil {
			break
		}
		l.number(m, c, best)
	}
	if l.dueSet && m.now >= l.due {
		l.repeat(m)
	}
}

// pop takes the next call that wants a number, cancels first: a full window must not keep a hold from being freed.
func (l *ledger) pop() *call {
	for len(l.cancels) > 0 {
		c := l.cancels[0]
		l.cancels = l.cancels[1:]
		if c.target.state != over {
			return c
		}
	}
	for len(l.backlog) > 0 {
		c := l.backlog[0]
		l.backlog[0] = nil
		if len(l.backlog) > 1 {
			l.backlog = l.backlog[1:]
		} else {
			l.backlog = l.backlog[:0] // its room is used again
		}
		if c.state == waiting {
			return c
		}
	}
	return nil
}

// compact drops what was given up from the backlog, before it is more than what is not.
func (l *ledger) compact() {
	if l.gone++; l.gone > len(l.backlog)/2 {
		l.backlog = slices.DeleteFunc(l.backlog, func(c *call) bool { return c.state != waiting })
		l.gone = 0
	}
}

// number gives a call its number in this life and sends it.
func (l *ledger) number(m *Machine, c *call, s Slot) {
	if c.op.Kind == OpAcquire && c.op.Wait > 0 && c.since+c.op.Wait <= m.now {
		l.finish(m, c, TimedOut, nil)
		return
	}
	l.seq++
	c.seq, c.tries = l.seq, 0
	c.seen = slices.Clone(l.seen[:min(len(l.seen), maxSeen)])
	l.bySeq[c.seq] = c
	l.await(c)
	if c.target != nil {
		c.target.cancel = c
	}
	l.send(m, c, s)
}

// send hands a call to a slot.
func (l *ledger) send(m *Machine, c *call, s Slot) {
	c.slot, c.again = s, m.now+m.resend()
	l.remind(c.again)
	op := c.op
	if op.Kind == OpAcquire && op.Wait > 0 {
		op.Wait = max(c.since+op.Wait-m.now, 1)
	}
	m.emit(Send{Slot: s, Message: Request{Life: m.life, Seq: c.seq, Acked: l.acked, Seen: c.seen, Op: op}})
}

func (l *ledger) remind(at time.Duration) {
	if !l.dueSet || at < l.due {
		l.due, l.dueSet = at, true
	}
}

// put moves a call to another state.
func (l *ledger) put(c *call, s callState) {
	for _, change := range []struct {
		state callState
		by    int
	}{{c.state, -1}, {s, 1}} {
		switch change.state {
		case sent:
			l.asked += change.by
		case queued:
			l.waits += change.by
		case waiting, held, over:
		}
	}
	c.state = s
}

// await notes that a call is to be repeated until it is answered.
func (l *ledger) await(c *call) {
	l.put(c, sent)
	if !c.awaited {
		c.awaited = true
		l.unanswered = append(l.unanswered, c)
	}
}

// repeat sends again what was not answered in time, over the other connection if there is one.
func (l *ledger) repeat(m *Machine) {
	l.dueSet = false
	l.unanswered = slices.DeleteFunc(l.unanswered, func(c *call) bool {
		switch {
		case c.state != sent || c.cancel != nil:
			c.awaited = false
			return true
		case m.now >= c.again:
			l.send(m, c, m.links.other(c.slot))
		default:
			l.remind(c.again)
		}
		return false
	})
}

// double sends what was sent to one slot, and not answered, over another one as well.
func (l *ledger) double(m *Machine, from, over Slot) {
	for _, c := range l.unanswered {
		if c.state == sent && c.cancel == nil && c.slot == from {
			l.send(m, c, over)
		}
	}
}

// moved goes on elsewhere with everything that was sent to, or waits over, a slot that is gone. A wait is asked for again, until
// that is answered: the repeat attaches to its place in the queue, or tells what became of it.
func (l *ledger) moved(m *Machine, gone Slot) {
	best := m.links.best()
	for _, c := range l.inOrder() {
		if c.slot != gone || c.state != sent && c.state != queued || c.cancel != nil {
			continue
		}
		c.slot = noSlot
		l.await(c)
		if best != noSlot {
			l.send(m, c, best)
		}
	}
}

// known notes that the outcome of a request is known: its number may be acknowledged, and what it told the cluster to
// have been seen has arrived there.
func (l *ledger) known(c *call) {
	if c.seq > l.acked {
		l.above[c.seq] = struct{}{}
	}
	for {
		if _, ok := l.above[l.acked+1]; !ok {
			break
		}
		l.acked++
		delete(l.above, l.acked)
	}
	if len(c.seen) > 0 {
		told := c.seen
		l.seen = slices.DeleteFunc(l.seen, func(seq uint64) bool { return slices.Contains(told, seq) })
		c.seen = nil
	}
}

// sawWait notes that the outcome of a wait is known. The cluster keeps it until a request says so.
func (l *ledger) sawWait(c *call) {
	if c.op.Kind == OpAcquire {
		l.seen = append(l.seen, c.seq)
	}
}

// inOrder returns the calls of this life in the order of their numbers.
func (l *ledger) inOrder() []*call {
	seqs := slices.Sorted(maps.Keys(l.bySeq))
	calls := make([]*call, len(seqs))
	for i, seq := range seqs {
		calls[i] = l.bySeq[seq]
	}
	return calls
}

// holds returns the calls that hold something.
func (l *ledger) holds() []CallID {
	var ids []CallID
	for _, c := range l.inOrder() {
		if c.state == held {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// lose ends the account of a life. Its waits go to the head of the backlog, in their order, to be asked again in the
// next one; what was never sent stays; of the rest nobody will learn more than that the life has ended. A wait for a lease is of the
// rest: it may have been granted, and outlives the life.
func (l *ledger) lose(m *Machine) {
	var next []*call
	for _, c := range l.inOrder() {
		switch {
		case c.state == held:
			l.drop(c)
		case c.op.Kind == OpAcquire && !c.given && !c.op.Lease:
			delete(l.bySeq, c.seq)
			l.put(c, waiting)
			c.seq, c.awaited = 0, false
			next = append(next, c)
		default:
			l.finish(m, c, SessionLost, nil)
		}
	}
	for _, c := range l.backlog {
		switch {
		case c.state != waiting:
		case c.op.Kind == OpRelease:
			l.finish(m, c, SessionLost, nil)
		default:
			next = append(next, c)
		}
	}
	l.backlog, l.cancels, l.gone = next, nil, 0
	l.seq, l.acked, l.seen, l.unanswered, l.dueSet = 0, 0, nil, nil, false
	clear(l.above)
}

// closeAll ends every call for good.
func (l *ledger) closeAll(m *Machine) {
	l.lose(m)
	for _, c := range l.backlog {
		l.finish(m, c, SessionLost, nil)
	}
	l.backlog = nil
}
