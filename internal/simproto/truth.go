package simproto

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/naive"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// truth is what is committed, and the judge of everything else: it applies each entry in the moment it is committed, when
// no node has applied it yet, and checks the invariants. Checking a grant at its commit is the worst case: no holder can
// learn of it earlier.
type truth struct {
	w      *world
	log    []*entry
	table  *locktable.Table
	model  *naive.Model
	hashes []session.Hash // after each entry

	token    uint64 // the last one granted
	ended    map[session.Life]locktable.How
	spans    map[session.Life]time.Duration  // what a confirmation is good for
	outcomes map[waitName]locktable.Reply    // of requests, once final
	asked    map[waitName]*locktable.Acquire // waits
	renewed  map[session.Life]time.Duration  // true time at which the newest KeepAlive was sent that a leader confirmed

	settledAt time.Duration // from then on nobody has a reason to lose a session
	resting   bool          // the workers begin nothing new
}

func newTruth(w *world) *truth {
	return &truth{
		w: w, table: locktable.NewTable(), model: naive.New(), ended: map[session.Life]locktable.How{}, spans: map[session.Life]time.Duration{},
		outcomes: map[waitName]locktable.Reply{}, asked: map[waitName]*locktable.Acquire{},
		renewed: map[session.Life]time.Duration{}, settledAt: never,
	}
}

func (t *truth) committed() int { return len(t.log) }

// extend takes the log that a leader has found committed.
func (t *truth) extend(log []*entry) {
	if k := commonPrefix(t.log, log); k < min(len(t.log), len(log)) {
		t.w.fail("entry %d is committed twice, with different contents", k+1)
		return
	}
	for i := len(t.log); i < len(log) && t.w.err == nil; i++ {
		e := log[i]
		if e.term < log[len(log)-1].term {
			t.w.stats.Faults["old tail committed"]++
		}
		t.log = append(t.log, e)
		t.apply(len(t.log), e)
		hash, _ := t.table.Hash()
		t.hashes = append(t.hashes, hash)
		t.w.trace.hash ^= hash[0]
	}
}

// compare checks that a node that has applied an entry is in the state that everybody is in (invariant 8).
func (t *truth) compare(n *node, index int) {
	if hash, _ := n.table.Hash(); hash != t.hashes[index-1] {
		t.w.fail("node %d is in another state after entry %d", n.id, index)
	}
}

func (t *truth) apply(index int, e *entry) {
	if e.data == nil {
		return
	}
	t.w.stats.Commits++
	cmd, err := locktable.Decode(e.data)
	if err != nil {
		t.w.fail("entry %d: %v", index, err)
		return
	}
	applied, err := t.table.Apply(uint64(index), e.term, e.data)
	if err != nil {
		t.w.fail("%v", err)
		return
	}
	t.agree(index, e.term, cmd, applied)
	t.w.tracef("%d (%d) %s → %d token %d", index, e.term, describe(cmd), applied.Reply.Code, applied.Reply.Token)
	if clock, now := t.table.Clock(), t.w.now; clock > now+now/100+time.Millisecond {
		t.w.fail("cluster time %v is ahead of real time", clock)
	}
	// The effects come first: what time has to do is done before the command, and what a grant is the reply to follows it.
	for _, effect := range applied.Effects {
		t.effect(effect)
	}
	t.reply(cmd, applied.Reply)
	t.beliefs()
}

// agree checks that the naive machine does the same (invariants 4 and 6: the order of grants, and one outcome of each request).
func (t *truth) agree(index int, term uint64, cmd locktable.Command, got locktable.Applied) {
	stamp := t.table.Clock() // it is by the same stamp, or the clock was there before
	reply, effects := t.model.Apply(uint64(index), term, cmd, stamp)
	if reply != got.Reply || !slices.Equal(effects, got.Effects) {
		t.w.fail("entry %d, %s: the table answers %+v with %+v, the naive one %+v with %+v", index, describe(cmd), got.Reply, got.Effects, reply, effects)
	}
}

// describe prints a command for the trace.
func describe(cmd locktable.Command) string {
	switch c := cmd.(type) {
	case *locktable.Acquire:
		return fmt.Sprintf("acquire %v mode %d of %x@%d seq %d acked %d seen %v", c.Names, c.Mode, c.Session.ID[8:], c.Session.Index,
			c.Seq, c.Acked, c.Seen)
	case *locktable.Release:
		return fmt.Sprintf("release %d of %x@%d seq %d acked %d seen %v", c.Token, c.Session.ID[8:], c.Session.Index, c.Seq, c.Acked, c.Seen)
	case *locktable.Cancel:
		return fmt.Sprintf("cancel %d of %x@%d seq %d acked %d seen %v", c.Target, c.Session.ID[8:], c.Session.Index, c.Seq, c.Acked, c.Seen)
	case *locktable.Open:
		return fmt.Sprintf("open %x", c.ID[8:])
	case *locktable.Close:
		return fmt.Sprintf("close %x@%d", c.Session.ID[8:], c.Session.Index)
	case *locktable.Expire:
		return fmt.Sprintf("expire %d lives of term %d", len(c.Lives), c.Term)
	default:
		return fmt.Sprintf("%T", cmd)
	}
}

// request returns the part of a command that makes it exactly-once, or nil.
func requestOf(cmd locktable.Command) *locktable.Request {
	switch c := cmd.(type) {
	case *locktable.Acquire:
		return &c.Request
	case *locktable.Release:
		return &c.Request
	case *locktable.Cancel:
		return &c.Request
	case *locktable.SetValue:
		return &c.Request
	default:
		return nil
	}
}

// reply checks the reply to a request (invariant 6).
func (t *truth) reply(cmd locktable.Command, r locktable.Reply) {
	q := requestOf(cmd)
	if q == nil {
		return
	}
	name := waitName{q.Session, q.Seq}
	switch r.Code { //nolint:exhaustive // what is not named is an outcome
	case locktable.SessionUnknown, locktable.Stale:
		return // no outcome; a client that is waiting for one is checked by who gets it
	case locktable.Queued:
		if c, ok := cmd.(*locktable.Acquire); ok && t.asked[name] == nil {
			t.asked[name] = c
		}
		if o, ok := t.outcomes[name]; ok {
			t.w.fail("request %d of %v is queued, and it ended with %d", q.Seq, q.Session, o.Code)
		}
		return
	}
	was, repeat := t.outcomes[name]
	if repeat && (was.Code != r.Code || was.Token != r.Token) {
		t.w.fail("request %d of %v ends with %d (token %d), and it ended with %d (token %d)", q.Seq, q.Session, r.Code, r.Token,
			was.Code, was.Token)
		return
	}
	t.outcomes[name] = r
	switch c := cmd.(type) {
	case *locktable.Acquire:
		if !repeat && r.Code == locktable.Granted {
			t.granted(name, c, r.Token)
		}
	case *locktable.Cancel:
		t.cancelled(waitName{q.Session, c.Target}, r)
	}
}

// cancelled checks that a request that was told to be cancelled is not granted, before or after.
func (t *truth) cancelled(target waitName, r locktable.Reply) {
	was, ok := t.outcomes[target]
	switch {
	case r.Code == locktable.Cancelled && ok && was.Code == locktable.Granted:
		t.w.fail("request %d of %v is cancelled, and it was granted", target.seq, target.life)
	case r.Code == locktable.Cancelled && !ok:
		t.outcomes[target] = r
	}
}

func (t *truth) effect(e locktable.Effect) {
	switch e.Kind {
	case locktable.Ended:
		t.end(e)
	case locktable.WaitOver:
		name := waitName{e.Session, e.Seq}
		if o, ok := t.outcomes[name]; ok && (o.Code != e.Reply.Code || o.Token != e.Reply.Token) {
			t.w.fail("wait %d of %v ends with %d, and it ended with %d", e.Seq, e.Session, e.Reply.Code, o.Code)
			return
		}
		t.outcomes[name] = e.Reply
		c := t.asked[name]
		if c == nil {
			t.w.fail("nobody waits as %d of %v", e.Seq, e.Session)
			return
		}
		if e.Reply.Code == locktable.Granted {
			t.granted(name, c, e.Reply.Token)
		}
	case locktable.Opened:
		terms, _, _ := t.table.Session(e.Session)
		t.spans[e.Session] = terms.TTL
		if terms.Grace > 0 {
			t.spans[e.Session] = min(terms.TTL, terms.Grace)
		}
	case locktable.Revoked, locktable.Changed:
	}
}

// end checks the end of a session (invariants 1 and 7).
func (t *truth) end(e locktable.Effect) {
	w, life := t.w, e.Session
	if how, ok := t.ended[life]; ok {
		w.fail("%v ends twice, the first time by %d", life, how)
	}
	t.ended[life] = e.How
	w.tracef("%x@%d ends by %d", life.ID[8:], life.Index, e.How)
	if e.How != locktable.Expired {
		return
	}
	w.stats.Faults["expired"]++
	span := t.spans[life]
	if sent, ok := t.renewed[life]; ok && w.now < sent+span-span/100 {
		w.fail("%v expires %v after the sending of a KeepAlive that was confirmed", life, w.now-sent)
	}
	if p := w.owner(life); p != nil {
		p.check()
	}
}

// owner returns the program a session belongs to, nil if it is dead.
func (w *world) owner(life session.Life) *process {
	p := w.clients[int(life.ID[8])]
	if !p.alive || byte(p.boot) != life.ID[9] {
		return nil
	}
	return p
}

// granted checks a grant (invariants 1, 2 and 3).
func (t *truth) granted(name waitName, c *locktable.Acquire, token uint64) {
	w := t.w
	if how, ok := t.ended[name.life]; ok {
		w.fail("request %d is granted to %v, which ended by %d", name.seq, name.life, how)
	}
	if token <= t.token {
		w.fail("token %d is granted after %d", token, t.token)
	}
	t.token = token
	for _, n := range c.Names {
		slots := 1
		for _, p := range w.clients {
			for _, b := range p.holds {
				if !slices.Contains(b.job.names, n) || b.token == token || !p.valid() {
					continue
				}
				slots++
				if c.Mode == locktable.Exclusive || b.job.mode == locktable.Exclusive || c.Mode == locktable.Slot && slots > int(c.Limit) {
					w.fail("%s is granted to %v by token %d, and process %d believes to hold it by token %d", n, name.life, token, p.id, b.token)
				}
			}
		}
	}
}

// beliefs checks that nothing a client holds and knows of is silently gone (invariant 5).
func (t *truth) beliefs() {
	for _, p := range t.w.clients {
		if len(p.holds) == 0 || !p.valid() {
			continue
		}
		for _, b := range p.holds {
			for _, n := range b.job.names {
				if t.table.CheckToken(n, b.token).Validity != locktable.Valid {
					t.w.fail("process %d holds %s by token %d, and the table does not know of it", p.id, n, b.token)
				}
			}
		}
	}
}

// check checks what a program believes of its session: as long as it believes it valid, it has not expired.
func (p *process) check() {
	l, ok := p.machine.Life()
	if !ok || !p.valid() {
		return
	}
	if how, ended := p.w.truth.ended[sessionLife(l)]; ended {
		until, _ := p.machine.ValidUntil()
		p.w.fail("process %d believes %x@%d to be valid for another %v, and it ended by %d", p.id, l.ID[8:], l.Index,
			until-p.clock.at(p.w.now), how)
	}
}

// confirmed notes what a leader confirms.
func (t *truth) confirmed(a session.Answer) {
	p := t.w.owner(a.Life)
	if a.Verdict != session.Renewed || p == nil {
		return
	}
	if sent, ok := p.beats[clientLife(a.Life)][a.Number]; ok {
		t.renewed[a.Life] = max(t.renewed[a.Life], sent)
	}
}

// expiring checks that a leader that expires a session was awake for its whole TTL without hearing of it.
func (t *truth) expiring(n *node, life session.Life) {
	if _, again := n.doomed[life]; again {
		return // proposed before, and not applied here yet
	}
	n.doomed[life] = struct{}{}
	heard, ok := n.heard[life]
	if !ok {
		t.w.fail("node %d expires %v, of which it knows nothing", n.id, life)
		return
	}
	if span := t.spans[life]; n.awake()-heard < span-span/100-time.Millisecond {
		t.w.fail("node %d expires %v after it was awake for %v only", n.id, life, n.awake()-heard)
	}
}
