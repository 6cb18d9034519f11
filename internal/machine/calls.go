package machine

import (
	"fmt"
	"time"
)

// callState is where a call stands in the present life.
type callState uint8

const (
	waiting callState = iota // for a number, in the backlog
	sent                     // no answer yet
	queued                   // a wait whose place in the queue is confirmed
	held
	over
)

// call is an operation of the caller, or a cancel of the machine's own (id 0).
type call struct {
	id    CallID
	op    Op
	state callState
	since time.Duration // when it was asked for

	// Of the present life.
	seq   uint64
	slot  Slot // where it was sent, noSlot when that connection is gone
	again time.Duration
	tries uint
	token uint64   // of held
	seen  []uint64 // what it tells the cluster to have been seen

	awaited bool // it is in unanswered

	given  bool  // the caller gave it up
	target *call // of a cancel
	cancel *call // that was sent for it
}

func (c *call) acquires() bool { return c.op.Kind == OpAcquire || c.op.Kind == OpTry }

// Do begins an operation of kind OpOther, OpAcquire or OpTry. Acquired or Finished will tell its outcome.
func (m *Machine) Do(now time.Duration, op Op) (CallID, error) {
	m.advance(now)
	if op.Kind != OpOther && op.Kind != OpAcquire && op.Kind != OpTry {
		return 0, fmt.Errorf("client: an operation of kind %d is not for Do", op.Kind)
	}
	return m.begun(&call{op: op})
}

// Release ends the hold of a call. To the caller it is ended at once; Finished will tell, under the returned id, what
// the cluster said.
func (m *Machine) Release(now time.Duration, hold CallID) (CallID, error) {
	m.advance(now)
	c := m.calls.byID[hold]
	if c == nil || c.state != held {
		m.turn()
		return 0, ErrNotHeld
	}
	m.calls.drop(c)
	return m.begun(c.release())
}

// release returns the call that ends the hold of c.
func (c *call) release() *call {
	return &call{op: Op{Kind: OpRelease, Token: c.token, Target: c.seq, Body: c.op.Body}}
}

func (m *Machine) begun(c *call) (CallID, error) {
	defer m.turn()
	if m.phase >= stopping {
		return 0, ErrClosed
	}
	if len(m.calls.backlog) >= MaxBacklog && c.op.Kind != OpRelease {
		return 0, ErrBacklog
	}
	m.calls.last++
	c.id = m.calls.last
	m.calls.ask(m, c)
	return c.id, nil
}

// ask puts a call at the end of the backlog.
func (l *ledger) ask(m *Machine, c *call) {
	c.since = m.now
	l.byID[c.id] = c
	l.backlog = append(l.backlog, c)
}

// Abandon tells that the caller gave up a call: its context ended. An acquisition that was sent is cancelled, for as
// long as that takes, and what it was granted is released; anything else that was sent goes on unobserved.
// A hold is released. Finished tells the end of it, or Acquired that it is a lease that the caller has to release.
func (m *Machine) Abandon(now time.Duration, id CallID) error {
	m.advance(now)
	defer m.turn()
	c := m.calls.byID[id]
	switch {
	case c == nil:
		return ErrNotACall
	case c.given, c.op.Kind == OpRelease:
	case c.state == waiting:
		m.calls.finish(m, c, Cancelled, nil)
		m.calls.compact()
	case c.state == held:
		m.calls.giveBack(m, c)
	case c.acquires():
		c.given = true
		m.calls.cancels = append(m.calls.cancels, &call{
			op: Op{Kind: OpCancel, Target: c.seq, Body: c.op.Body}, target: c,
		})
	}
	return nil
}

// finish ends a call that holds nothing.
func (l *ledger) finish(m *Machine, c *call, code Code, body any) {
	l.drop(c)
	if c.id != 0 {
		m.emit(Finished{Call: c.id, Code: code, Body: body})
	}
}

// drop forgets a call.
func (l *ledger) drop(c *call) {
	l.put(c, over)
	delete(l.byID, c.id)
	if c.seq != 0 {
		delete(l.bySeq, c.seq)
	}
}

// answered takes what the cluster says of a request of the present life.
func (l *ledger) answered(m *Machine, s Slot, a Answer) {
	c := l.bySeq[a.Seq]
	if c == nil {
		return
	}
	switch a.Code {
	case Retry:
		if c.state == sent {
			c.again = m.now + max(backoff(c.tries), a.Wait)
			c.tries++
			l.remind(c.again)
		}
	case Queued:
		if c.state == sent && c.op.Kind == OpAcquire {
			l.put(c, queued)
			m.beatAt = min(m.beatAt, m.now+m.pulse())
			if s < slotCount && m.links.of[s].up {
				c.slot = s
			}
			l.known(c)
		}
	case Granted:
		if c.acquires() {
			l.granted(m, c, a)
		} else { // a cancel that came after the grant
			l.settled(m, c, a)
		}
	case HoldEnded:
		if c.state == held {
			l.drop(c)
			m.emit(Ended{Call: c.id, Token: c.token, Body: a.Body})
			return
		}
		l.settled(m, c, a)
	default:
		l.settled(m, c, a)
	}
}

// giveBack releases under the same id what a call holds that was given up.
func (l *ledger) giveBack(m *Machine, c *call) {
	l.drop(c)
	r := c.release()
	r.id = c.id
	l.ask(m, r)
}

// granted takes the grant of an acquisition. Once a cancel was sent for it, it is not to be known: until that has arrived, the
// cluster must remember what it granted under this number. Before that it must be known, for a cancel that waits for a number in
// a full window may wait for this one.
func (l *ledger) granted(m *Machine, c *call, a Answer) {
	if c.state == held || c.cancel != nil {
		return
	}
	l.known(c)
	l.sawWait(c)
	if c.op.Lease {
		l.drop(c)
		m.emit(Acquired{Call: c.id, Token: a.Token, Body: a.Body})
		return
	}
	l.put(c, held)
	c.token = a.Token
	if c.given {
		l.giveBack(m, c)
		return
	}
	m.emit(Acquired{Call: c.id, Token: a.Token, Body: a.Body})
}

// settled takes an outcome that leaves nothing behind.
func (l *ledger) settled(m *Machine, c *call, a Answer) {
	if c.state == held {
		return // a doubled answer from before the grant
	}
	l.known(c)
	if t := c.target; t != nil {
		l.drop(c)
		if t.state != over {
			l.known(t)
			l.sawWait(t)
			l.finish(m, t, Cancelled, nil)
		}
		return
	}
	l.sawWait(c)
	l.finish(m, c, a.Code, a.Body)
}

// backoff is the time until a request that was answered with Retry is repeated.
func backoff(tries uint) time.Duration {
	return 25 * time.Millisecond << min(tries, 5)
}
