package locktable

import (
	"slices"
	"time"

	"github.com/lockd/lockd/session"
)

func (t *Table) open(q *Open) Reply {
	if q.TTL < session.TTLMin || q.TTL > session.TTLMax || len(q.Metadata) > session.MetadataMax ||
		q.Grace != 0 && (q.Grace < session.TTLMin || q.Grace > q.TTL) {
		return Reply{Code: Invalid}
	}
	c, fresh := t.sessions.Open(t.index, q.ID, q.TTL, q.Grace, slices.Clone(q.Metadata))
	if fresh {
		c.Held.client = c
		t.touch(&c.Held)
		t.effect(Effect{Kind: Opened, Session: c.Life()})
	}
	return Reply{Code: OK, Index: c.Life().Index}
}

func (t *Table) closeSession(q *Close) Reply {
	c := t.sessions.Find(q.Session)
	if c == nil {
		return Reply{Code: SessionUnknown}
	}
	t.die(c, Closed)
	t.collect()
	return Reply{Code: OK}
}

func (t *Table) expire(q *Expire) Reply {
	for _, life := range q.Lives {
		if c := t.sessions.Find(life); c != nil {
			t.die(c, Expired)
		}
	}
	t.collect()
	return Reply{Code: OK}
}

// die ends a session. From here on it holds nothing and waits for nothing, in every check and answer.
func (t *Table) die(c *client, how How) {
	t.sessions.End(c, session.End{How: uint8(how), Index: t.index, Clock: t.clock})
	t.touch(&c.Held)
	t.effect(Effect{Kind: Ended, Session: c.Life(), How: how})
}

// collect removes the records of dead sessions, as far as there is room: session after session as they died, of each one in the
// order in which the records were made. What is freed is granted for many at once, so that a lock is not looked at for each of them.
func (t *Table) collect() {
	for t.hasRoom(roomForName) {
		c := t.sessions.Dead()
		if c == nil {
			break
		}
		h, w := c.Held.firstHold, c.Held.firstWait
		switch {
		case h != nil && (w == nil || h.index <= w.place):
			t.bury(h)
		case w != nil:
			t.dropWait(w)
		default:
			c.Held.gone = true
			t.touch(&c.Held)
			t.sessions.Forget()
		}
		t.promoteMany()
	}
	t.promoteFreed()
}

// endOf tells how and when a hold ended that is not valid any more.
func (t *Table) endOf(h *hold) (How, time.Duration) {
	if h.client != nil {
		e := h.client.End()
		return How(e.How), e.Clock
	}
	return Expired, h.more().until
}

// incarnate begins an incarnation of the cluster, once: a repeat of the one there is changes nothing.
func (t *Table) incarnate(q *Incarnate) Reply {
	if q.Incarnation == [16]byte{} {
		return Reply{Code: Invalid}
	}
	if q.Incarnation == t.incarnation {
		return Reply{Code: OK, Token: t.counter}
	}
	first := t.counter == 0 && t.incarnation == [16]byte{}
	seed := q.Seed
	if !first {
		seed = max(seed, t.counter+tokenGap)
	}
	if seed > SeedMax {
		return Reply{Code: Invalid}
	}
	if !first {
		wait := q.Wait
		if wait < 0 {
			wait = EmbargoMin
			for terms := range t.sessions.Lives() {
				wait = max(wait, terms.TTL)
			}
		}
		t.embargo = max(t.embargo, addUntil(t.clock, wait))
	}
	t.counter, t.incarnation = seed, q.Incarnation
	t.forgot = session.End{How: uint8(Forgotten), Index: t.index, Clock: t.clock}
	for terms := range t.sessions.Lives() {
		t.effect(Effect{Kind: Ended, Session: terms.Life, How: Forgotten})
	}
	t.sessions.EndAll(t.forgot)
	return Reply{Code: OK, Token: t.counter}
}
