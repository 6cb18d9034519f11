package simworld

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// reply checks the reply to a request (invariant 6).
func (t *Judge) reply(cmd locktable.Command, r locktable.Reply) {
	if take, ok := cmd.(*locktable.TakeLease); ok && r.Code == locktable.Granted && r.Token > t.token {
		t.takenOver(take, r.Token)
	}
	q := requestOf(cmd)
	if q == nil {
		return
	}
	name := requestName{q.Session, q.Seq}
	switch r.Code { //nolint:exhaustive // what is not named is an outcome
	case locktable.SessionUnknown, locktable.Stale:
		return // no outcome; a client that is waiting for one is checked by who gets it
	case locktable.Queued:
		if c, ok := cmd.(*locktable.Acquire); ok && t.asked[name] == nil {
			t.asked[name] = c
		}
		if o, ok := t.outcomes[name]; ok {
			t.w.Fail("request %d of %v is queued, and it ended with %d", q.Seq, q.Session, o.Code)
		}
		return
	}
	was, repeat := t.outcomes[name]
	if repeat && (was.Code != r.Code || was.Token != r.Token) {
		t.w.Fail("request %d of %v ends with %d (token %d), and it ended with %d (token %d)", q.Seq, q.Session, r.Code, r.Token,
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
		t.cancelled(requestName{q.Session, c.Target}, r)
	}
}

// cancelled checks that a request that was told to be cancelled is not granted, before or after.
func (t *Judge) cancelled(target requestName, r locktable.Reply) {
	was, ok := t.outcomes[target]
	switch {
	case r.Code == locktable.Cancelled && ok && was.Code == locktable.Granted:
		t.w.Fail("request %d of %v is cancelled, and it was granted", target.seq, target.life)
	case r.Code == locktable.Cancelled && !ok:
		t.outcomes[target] = r
	}
}

func (t *Judge) effect(e locktable.Effect) {
	switch e.Kind {
	case locktable.Ended:
		t.end(e)
	case locktable.WaitOver:
		name := requestName{e.Session, e.Seq}
		if o, ok := t.outcomes[name]; ok && (o.Code != e.Reply.Code || o.Token != e.Reply.Token) {
			t.w.Fail("wait %d of %v ends with %d, and it ended with %d", e.Seq, e.Session, e.Reply.Code, o.Code)
			return
		}
		t.outcomes[name] = e.Reply
		c := t.asked[name]
		if c == nil {
			t.w.Fail("nobody waits as %d of %v", e.Seq, e.Session)
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
	case locktable.Revoked:
		t.revoked(e)
	case locktable.Changed:
	}
}

// revoked checks that no lease runs out early (invariant 7).
func (t *Judge) revoked(e locktable.Effect) {
	if e.Session != (session.Life{}) || e.How != locktable.Expired {
		return
	}
	t.w.Hit("lease ran out")
	if until := t.leases[e.Token]; t.w.now < until {
		t.w.Fail("the lease %d of %s runs out %v early", e.Token, e.Name, until-t.w.now)
	}
}

// renewedLease notes that the renewal of a lease was confirmed, and until when it lasts at least.
func (t *Judge) renewedLease(token uint64, sent, ttl time.Duration) {
	t.leases[token] = max(t.leases[token], sent+ttl-ttl/100)
}

// end checks the end of a session (invariants 1 and 7).
func (t *Judge) end(e locktable.Effect) {
	w, life := t.w, e.Session
	if how, ok := t.ended[life]; ok {
		w.Fail("%v ends twice, the first time by %d", life, how)
	}
	t.ended[life] = e.How
	w.Tracef("%x@%d ends by %d", life.ID[8:], life.Index, e.How)
	if e.How != locktable.Expired {
		return
	}
	w.Hit("expired")
	span := t.spans[life]
	if sent, ok := t.renewed[life]; ok && w.now < sent+span-span/100 {
		w.Fail("%v expires %v after the sending of a KeepAlive that was confirmed", life, w.now-sent)
	}
	if p := w.owner(life); p != nil {
		p.check()
	}
}

// owner returns the program a session belongs to, nil if it is dead.
func (w *World) owner(life session.Life) *Program {
	p := w.Programs[int(life.ID[8])]
	if !p.alive || byte(p.boot) != life.ID[9] {
		return nil
	}
	return p
}

// granted checks a grant to a request (invariants 1, 2 and 3).
func (t *Judge) granted(name requestName, c *locktable.Acquire, token uint64) {
	if how, ok := t.ended[name.life]; ok {
		t.w.Fail("request %d is granted to %v, which ended by %v", name.seq, name.life, how)
	}
	t.raise(token)
	for _, n := range c.Names {
		t.alone(n, token, c.Mode, int(c.Limit))
	}
}

// takenOver checks a grant of a lease to another owner.
func (t *Judge) takenOver(c *locktable.TakeLease, token uint64) {
	t.raise(token)
	v, _ := t.table.Lock(c.Name, 1<<10)
	for _, h := range v.Holders {
		if h.Token == token {
			for _, n := range h.Names {
				t.alone(n, token, h.Mode, int(v.Limit))
			}
		}
	}
}

// raise checks that tokens rise (invariant 2).
func (t *Judge) raise(token uint64) {
	if token <= t.token {
		t.w.Fail("token %d is granted after %d", token, t.token)
	}
	t.token = token
}

// alone checks that nobody is sure to hold a lock who keeps out the one who is granted it now (invariant 1).
func (t *Judge) alone(name string, token uint64, mode locktable.Mode, limit int) {
	slots := 1
	meets := func(p *Program, by uint64, j *job) {
		if by == token || !slices.Contains(j.names, name) {
			return
		}
		slots++
		if mode == locktable.Exclusive || j.mode == locktable.Exclusive || mode == locktable.Slot && slots > limit {
			t.w.Fail("%s is granted by token %d, and program %d believes to hold it by token %d", name, token, p.id, by)
		}
	}
	for _, p := range t.w.Programs {
		if len(p.holds) > 0 && p.valid() {
			for _, b := range p.holds {
				meets(p, b.token, &b.job)
			}
		}
		for _, l := range p.leases {
			if p.has(l) {
				meets(p, l.token, &l.job)
			}
		}
	}
}

// beliefs checks that nothing a client holds and knows of is silently gone (invariant 5).
func (t *Judge) beliefs() {
	there := func(p *Program, token uint64, j *job) {
		if j.cluster != t.clusters {
			return // the cluster that granted it is lost
		}
		for _, n := range j.names {
			if t.table.CheckToken(n, token).Validity != locktable.Valid {
				t.w.Fail("program %d holds %s by token %d, and the table does not know of it", p.id, n, token)
			}
		}
	}
	for _, p := range t.w.Programs {
		if len(p.holds) > 0 && p.valid() {
			for _, b := range p.holds {
				there(p, b.token, &b.job)
			}
		}
		for _, l := range p.leases {
			if p.has(l) {
				there(p, l.token, &l.job)
			}
		}
	}
}

// Answered checks an answer that a node gives to a request: what it tells is committed, and is the one outcome (invariants 5 and 6).
func (t *Judge) Answered(life session.Life, seq uint64, r locktable.Reply) {
	name := requestName{life, seq}
	switch r.Code { //nolint:exhaustive // what is not named is an outcome
	case locktable.SessionUnknown:
		if _, opened := t.spans[life]; opened && t.ended[life] == locktable.NotEnded {
			t.w.Fail("%v is said to be unknown, and lives", life)
		}
		return
	case locktable.Stale:
		return
	case locktable.Queued:
		if t.asked[name] == nil {
			t.w.Fail("request %d of %v is said to wait, and nobody knows of it", seq, life)
		}
		return
	}
	if was, ok := t.outcomes[name]; !ok || was.Code != r.Code || was.Token != r.Token {
		t.w.Fail("request %d of %v is answered with %v (token %d), and it ended with %v (token %d)", seq, life, r.Code, r.Token, was.Code, was.Token)
	}
}

// check checks what a program believes of its session: as long as it believes it valid, it has not expired.
func (p *Program) check() {
	l, ok := p.machine.Life()
	if !ok || !p.valid() {
		return
	}
	// Of the loss of all nodes nobody tells a client: its validity runs out while the next cluster grants nothing.
	if how, ended := p.w.Judge.ended[sessionLife(l)]; ended && how != locktable.Forgotten {
		until, _ := p.machine.ValidUntil()
		p.w.Fail("program %d believes %x@%d to be valid for another %v, and it ended by %v", p.id, l.ID[8:], l.Index,
			until-p.clock.At(p.w.now), how)
	}
}

// Confirmed notes what a leader confirms.
func (t *Judge) Confirmed(a session.Answer) {
	if _, opened := t.spans[a.Life]; a.Verdict == session.Unknown && opened && t.ended[a.Life] == locktable.NotEnded {
		t.w.Fail("a leader says that %v is unknown, and it lives", a.Life)
	}
	p := t.w.owner(a.Life)
	if a.Verdict != session.Renewed || p == nil {
		return
	}
	if sent, ok := p.beats[clientLife(a.Life)][a.Number]; ok {
		t.renewed[a.Life] = max(t.renewed[a.Life], sent)
	}
}

func clientLife(l session.Life) machine.Life {
	return machine.Life{ID: machine.SessionID(l.ID), Index: l.Index}
}

func sessionLife(l machine.Life) session.Life {
	return session.Life{ID: session.ID(l.ID), Index: l.Index}
}
