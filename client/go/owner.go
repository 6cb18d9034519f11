package client

import (
	"crypto/rand"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/machine"
)

// sleepCheck is how often, at most, the owner looks whether the machine slept. What it notices late is within the margin of
// every validity.
const sleepCheck = 20 * time.Millisecond

// owner drives the machine of a session. Whoever has something for it, be it a caller, the reader of a connection or the timer, takes a
// turn: under mu, never waiting for anything. What is to be sent is written after the turn, by the same goroutine if that needs no
// waiting: between a caller and the network, and back, there is no other goroutine to be woken.
type owner struct {
	s        *Session
	c        *Client
	metadata []byte // of the session

	mu    sync.Mutex // guards all below
	m     *machine.Machine
	over  bool     // there are no turns any more
	life  *life    // of the session
	dirty [2]*link // what was put something into in this turn

	calls   map[machine.CallID]*call
	holds   map[machine.CallID]*Lock
	tokens  map[uint64]*Lock // of holds; Lock.same leads to the others with this token
	openers []*call          // wait for a life
	slots   [2]*slot         // nil: not wanted
	drafts  drafts
	said    answer // the last one that a node gave: it comes back from the machine in the same turn
	nodes   nodesOfSlots

	timer   *time.Timer
	wakeAt  time.Duration // when the timer fires, by the monotonic clock
	missed  time.Duration // what the machine was told of sleeps
	checked time.Duration // when that was compared last
	trouble error         // why no node was reached last
	refused *Error        // why the session was refused
	closing bool
	closed  bool    // the machine has ended
	later   []input // to be done in this turn yet
}

// newOwner returns the owner of a session, with the error of its configuration: then there are no turns.
func newOwner(s *Session) (*owner, error) {
	cfg := machine.Config{TTL: s.cfg.TTL, Grace: s.cfg.Grace}
	_, _ = rand.Read(cfg.ID[:]) // it does not fail
	m, err := machine.New(cfg)
	o := &owner{
		s: s, c: s.c, m: m, over: err != nil, life: s.life, metadata: s.c.metadata(s.cfg.Identity, nil),
		calls: make(map[machine.CallID]*call), holds: make(map[machine.CallID]*Lock), tokens: make(map[uint64]*Lock),
		timer: time.NewTimer(time.Hour), wakeAt: math.MaxInt64,
	}
	return o, err
}

// run takes the turns of the timer, and ends the session when it is closed, refused, or the client ends.
func (o *owner) run() {
	defer o.timer.Stop()
	o.turn(func(o *owner, now time.Duration) { o.m.Wake(now) })
	for {
		select {
		case <-o.timer.C:
			o.turn(func(o *owner, now time.Duration) {
				o.wakeAt = math.MaxInt64
				o.m.Wake(now)
			})
		case <-o.s.ctx.Done():
			o.turn(func(o *owner, _ time.Duration) { o.closed = true })
			return
		}
	}
}

// turn lets something happen, and reports false if there are no turns any more.
func (o *owner) turn(f input) bool {
	now, ok := o.enter()
	if ok {
		f(o, now)
		o.leave(now)
	}
	return ok
}

// enter begins a turn, at the time that is read in it, and reports false if there are none any more. leave has to follow.
func (o *owner) enter() (now time.Duration, ok bool) {
	o.mu.Lock()
	if o.over {
		o.mu.Unlock()
		return 0, false
	}
	now = o.c.clock.now()
	o.wakeUp(now)
	return now, true
}

// leave carries out what follows from what happened in a turn, ends the turn, and sends what there is to be sent.
func (o *owner) leave(now time.Duration) {
	o.carryOut(now)
	for len(o.later) > 0 {
		f := o.later[0]
		o.later = o.later[1:]
		f(o, now)
		o.carryOut(now)
	}
	o.plan(now)
	if o.closed {
		o.end()
	}
	dirty, crowd := o.dirty, len(o.calls) > 1
	o.dirty = [2]*link{}
	o.mu.Unlock()
	for _, l := range dirty {
		if l != nil {
			l.out.flush(crowd)
		}
	}
}

// carryOut carries out what the machine says.
func (o *owner) carryOut(now time.Duration) {
	if until, ok := o.m.ValidUntil(); ok {
		o.life.until.Store(int64(until + o.missed))
	}
	for out := o.m.Output(); len(out) > 0; out = o.m.Output() {
		for _, e := range out {
			o.effect(now, e)
		}
	}
}

// wakeUp tells the machine when the host has slept.
func (o *owner) wakeUp(now time.Duration) {
	if now-o.checked < sleepCheck && o.checked > 0 {
		return
	}
	o.checked = now
	if gained := o.c.clock.missed() - o.missed; gained > time.Millisecond {
		o.missed += gained
		o.m.Suspended(now, gained)
	}
}

// plan sets the timer for the machine's deadline.
func (o *owner) plan(now time.Duration) {
	at, ok := o.m.Deadline()
	if look := now + marginOf(o.s.cfg.span()); len(o.holds) > 0 && (!ok || at > look) { // the machine may have slept
		at, ok = look, true
	}
	if ok && at < o.wakeAt {
		o.wakeAt = at
		o.timer.Reset(at - now)
	}
}

// end leaves nothing behind: every caller has its answer, every hold its end.
func (o *owner) end() {
	o.over = true
	reason := ErrClosed
	if o.refused != nil {
		reason = o.refused
	}
	for _, q := range o.inOrder() {
		q.fail(asError(reason))
	}
	for _, q := range o.openers {
		q.fail(asError(reason))
	}
	for _, l := range o.holds {
		l.end(ErrReleased)
	}
	o.s.end(reason)
	o.c.mu.Lock()
	delete(o.c.sessions, o.s)
	o.c.mu.Unlock()
}

// inOrder returns the calls in the order in which they were begun.
func (o *owner) inOrder() []*call {
	var list []*call
	for _, id := range slices.Sorted(maps.Keys(o.calls)) {
		list = append(list, o.calls[id])
	}
	return list
}

// effect carries out one effect of the machine.
func (o *owner) effect(now time.Duration, e machine.Effect) {
	switch e := e.(type) {
	case machine.Send:
		o.send(now, e.Slot, e.Message)
	case machine.Dial:
		o.dial(e.Slot)
	case machine.Hang:
		o.hang(e.Slot)
	case machine.Opened:
		o.opened(e.Life)
	case machine.Jeopardy:
		o.tell(SessionJeopardy, nil)
	case machine.Safe:
		o.tell(SessionSafe, nil)
	case machine.Lost:
		o.lost(e)
	case machine.Acquired:
		o.acquired(e)
	case machine.Finished:
		o.finished(now, e)
	case machine.Ended:
		if l := o.holds[e.Call]; l != nil {
			o.letGo(l)
			l.end(ErrBroken)
		}
	case machine.Closed:
		o.closed = true
	}
}

// do begins a call in the machine, also once more in another life.
func (o *owner) do(now time.Duration, q *call, op machine.Op) {
	id, err := o.m.Do(now, op)
	if err != nil {
		o.unwanted(q, err)
		return
	}
	q.id = id
	o.calls[id] = q
}

// unwanted ends a call that the machine did not take.
func (o *owner) unwanted(q *call, err error) {
	e := &Error{Known: true, Err: ErrClosed}
	switch {
	case o.refused != nil:
		e = o.refused
	case !o.closing && err != nil:
		e.Err = joined(ErrOverloaded, err)
	}
	q.fail(e)
}

// giveUp ends a call whose caller waits no more.
func (o *owner) giveUp(now time.Duration, q *call, cause error) {
	if q.over {
		return
	}
	e := &Error{Known: !q.sent, Err: cause}
	switch {
	case q.last != nil:
		*e = *q.last
		e.Known, e.Err = !q.sent, joined(cause, q.last.Err)
	case !o.reached():
		e.Err = joined(cause, ErrUnavailable)
		if o.trouble != nil {
			e.Err = joined(e.Err, o.trouble)
		}
	}
	q.fail(e)
	o.openers = slices.DeleteFunc(o.openers, func(other *call) bool { return other == q })
	if q.id != 0 {
		_ = o.m.Abandon(now, q.id) // what is over by now needs no end
	}
}

// reached reports whether the session is open and connected.
func (o *owner) reached() bool {
	_, open := o.m.ValidUntil()
	return open && (o.slots[0] != nil && o.slots[0].link != nil || o.slots[1] != nil && o.slots[1].link != nil)
}

// awaitOpen finishes a call when there is a life.
func (o *owner) awaitOpen(q *call) {
	if _, open := o.m.ValidUntil(); open {
		q.finish(result{})
		return
	}
	o.openers = append(o.openers, q)
}

func (o *owner) opened(id machine.Life) {
	o.life.id = SessionID(id.ID)
	close(o.life.opened)
	o.trouble = nil
	for _, q := range o.openers {
		q.finish(result{})
	}
	o.openers = nil
	o.tell(SessionOpened, nil)
}

// lost ends everything that was held in the life that is over.
func (o *owner) lost(e machine.Lost) {
	for _, id := range e.Holds {
		if l := o.holds[id]; l != nil {
			o.letGo(l)
			l.end(ErrSessionExpired)
		}
	}
	o.c.telemetry.lost(o.s.ctx, len(e.Holds))
	o.c.log.LogAttrs(o.s.ctx, slog.LevelWarn, "the session is lost, and all it held",
		slog.String("session", SessionID(e.Life.ID).String()), slog.String("cause", e.Cause.String()), slog.Int("holds", len(e.Holds)))
	o.tell(SessionLost, ErrSessionExpired)
	over := o.life
	o.life = o.s.newLife()
	o.s.mu.Lock()
	o.s.life = o.life
	o.s.mu.Unlock()
	over.cancel(ErrSessionExpired) // last: who waits for it is to see the next life
}

func (o *owner) tell(kind SessionEventKind, err error) {
	o.s.tell(SessionEvent{Kind: kind, ID: o.s.ID(), ValidUntil: o.s.ValidUntil(), Err: err})
}

// acquired hands a new hold to its caller, or gives back a lease that nobody waits for any more.
func (o *owner) acquired(e machine.Acquired) {
	q := o.calls[e.Call]
	if q == nil {
		return
	}
	delete(o.calls, e.Call)
	a := said(e.Body)
	g := grant{outcome: a.outcome, first: q.first, waited: q.waited}
	if q.request.leaseTTL > 0 {
		if q.over {
			o.c.giveBack(q.request, g.outcome.Token)
		}
		q.finish(result{grant: g})
		return
	}
	l := newLock(o.s, q, g)
	o.holds[e.Call] = l
	l.same = o.tokens[l.token]
	o.tokens[l.token] = l
	q.finish(result{lock: l, grant: g})
}

// letGo forgets a hold.
func (o *owner) letGo(l *Lock) {
	delete(o.holds, l.call)
	if first := o.tokens[l.token]; first != l {
		for first.same != l {
			first = first.same
		}
		first.same = l.same
	} else if l.same != nil {
		o.tokens[l.token] = l.same
	} else {
		delete(o.tokens, l.token)
	}
}

// finished hands the outcome of a call to its caller. A try whose session was lost is tried again in the next one: whatever it was
// granted is gone.
func (o *owner) finished(now time.Duration, e machine.Finished) {
	q := o.calls[e.Call]
	if q == nil {
		return
	}
	delete(o.calls, e.Call)
	a := said(e.Body)
	switch {
	case e.Code == machine.Done, e.Code == machine.SessionLost && q.op == opUnlock && o.closing: // it ends with its session
		q.finish(result{})
	case e.Code == machine.SessionLost && q.op == opUnlock:
		q.fail(&Error{Err: ErrSessionExpired}) // others may have to wait until it has expired
	case e.Code == machine.SessionLost && (o.closing || o.refused != nil):
		o.unwanted(q, nil)
	case e.Code == machine.SessionLost && !q.over && q.request != nil && q.request.leaseTTL == 0:
		o.do(now, q, machine.Op{Kind: machine.OpTry, Body: q.request})
	default:
		why := a.error(e.Code)
		if e.Code == machine.SessionLost {
			why.Known = !q.sent
		}
		q.fail(why)
	}
}

// release ends a hold, and finishes the call when the cluster has confirmed that.
func (o *owner) release(now time.Duration, q *call, l *Lock) {
	if o.holds[l.call] != l {
		q.fail(&Error{Known: true, Err: ErrLockLost})
		return
	}
	o.letGo(l)
	id, err := o.m.Release(now, l.call)
	if err != nil { // the machine knew of the loss before this owner did
		q.fail(&Error{Known: true, Err: ErrSessionExpired})
		return
	}
	q.id = id
	o.calls[id] = q
}

// close gives up the session and all it holds.
func (o *owner) close(now time.Duration) {
	if o.closing {
		return
	}
	o.closing = true
	o.s.over.Store(true)
	for _, l := range o.holds {
		l.end(ErrReleased)
	}
	clear(o.holds)
	clear(o.tokens)
	o.life.cancel(ErrReleased)
	o.m.Close(now)
}

// troubled takes that no node was reached. If all of them refused for good and nothing is held, the callers are told.
func (o *owner) troubled(now time.Duration, err error, e *Error) {
	o.trouble = err
	if _, open := o.m.ValidUntil(); open || e == nil {
		return
	}
	for _, q := range o.inOrder() {
		q.fail(e)
		_ = o.m.Abandon(now, q.id) // see giveUp
	}
	for _, q := range o.openers {
		q.fail(e)
	}
	o.openers = nil
}

// answeredBy takes what a node said of a call that is not over.
func answeredBy(msg machine.Message, e *Error) {
	if r, ok := msg.(machine.Request); ok {
		if q := callOf(r.Op.Body); q != nil {
			q.last = e
		}
	}
}

// callOf returns the call of a request.
func callOf(body any) *call {
	switch b := body.(type) {
	case *acquisition:
		return b.call
	case *valueChange:
		return b.call
	default:
		return nil
	}
}
