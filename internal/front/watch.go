package front

import (
	"sync"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// leasesMost is how many leases a connection can name: nobody may rely on being told of more, or of any.
const leasesMost = 1024

// topic is something that connections are told of: a session, by its id, as its index is not known when an Open is passed on, or
// a lease, by its token.
type topic struct {
	session wire.ID
	token   uint64
}

// audience knows which connections named what. A connection is in it before its command is passed on: whatever that brings about
// is applied here later.
type audience struct {
	most int // topics of one connection

	mu      sync.Mutex // guards the fields below, and topics of every client
	clients map[topic]listeners
}

// listeners are the connections that named a topic: hardly ever more than one.
type listeners struct {
	first *client
	more  []*client
}

func (l listeners) each(f func(*client)) {
	if l.first != nil {
		f(l.first)
	}
	for _, c := range l.more {
		f(c)
	}
}

func (l listeners) without(c *client) listeners {
	kept := listeners{}
	l.each(func(other *client) {
		switch {
		case other == c:
		case kept.first == nil:
			kept.first = other
		default:
			kept.more = append(kept.more, other)
		}
	})
	return kept
}

func newAudience(most int) *audience {
	return &audience{most: most, clients: make(map[topic]listeners)}
}

// join notes that the connection named a topic, and the index of the life if it is known. It reports false if the connection has
// named as many as it may.
func (a *audience) join(c *client, t topic, index uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := c.topics[t]
	if ok {
		if index != 0 && index != known {
			c.topics[t] = index
		}
		return true
	}
	if c.gone || len(c.topics) >= a.most || t.token != 0 && c.leases >= leasesMost {
		return false
	}
	if t.token != 0 {
		c.leases++
	}
	if c.topics == nil {
		c.topics = make(map[topic]uint64, 1)
	}
	c.topics[t] = index
	l := a.clients[t]
	if l.first == nil {
		l.first = c
	} else {
		l.more = append(l.more, c)
	}
	a.clients[t] = l
	return true
}

// leave forgets that the connection named a topic.
func (a *audience) leave(c *client, t topic) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(c, t)
}

// drop forgets that the connection named a topic; the caller holds mu.
func (a *audience) drop(c *client, t topic) {
	if _, ok := c.topics[t]; !ok {
		return
	}
	delete(c.topics, t)
	a.remove(c, t)
	if t.token != 0 {
		c.leases--
	}
}

// remove takes a connection out of a topic; the caller holds mu.
func (a *audience) remove(c *client, t topic) {
	if l := a.clients[t].without(c); l.first != nil {
		a.clients[t] = l
	} else {
		delete(a.clients, t)
	}
}

// close forgets a connection, and returns the lives that were named on it.
func (a *audience) close(c *client) []session.Life {
	a.mu.Lock()
	defer a.mu.Unlock()
	var lives []session.Life
	for t, index := range c.topics {
		a.remove(c, t)
		if index != 0 {
			lives = append(lives, session.Life{ID: session.ID(t.session), Index: index})
		}
	}
	c.topics, c.gone = nil, true
	return lives
}

// names reports whether the connection has named anything.
func (a *audience) names(c *client) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(c.topics) > 0
}

// tell passes on what an entry did. It is called for every entry, in the order of the log.
func (a *audience) tell(applied replica.Applied) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.clients) == 0 {
		return
	}
	for i := range applied.Effects {
		e := &applied.Effects[i]
		t, told := topicOf(e)
		l := a.clients[t]
		if !told || l.first == nil {
			continue
		}
		if e.Kind != locktable.Revoked || e.How != locktable.Released { // who released a lease knows
			event := eventOf(applied, e)
			l.each(func(c *client) { c.tell(event) })
		}
		if e.Kind == locktable.Ended {
			l.each(func(c *client) { a.ended(c, t, e.Session.Index) })
		}
	}
	for i := range applied.Effects { // of a lease with several names each was told
		if t, told := topicOf(&applied.Effects[i]); told && t.token != 0 {
			a.clients[t].each(func(c *client) { a.drop(c, t) })
		}
	}
}

// ended forgets a session that has ended, unless another life of its id was named since.
func (a *audience) ended(c *client, t topic, index uint64) {
	if known := c.topics[t]; known == index || known == 0 {
		delete(c.topics, t)
		a.remove(c, t)
	}
}

// topicOf returns whom an effect concerns; told is false if it is nothing to clients.
func topicOf(e *locktable.Effect) (t topic, told bool) {
	switch e.Kind {
	case locktable.Revoked:
		if e.Session == (session.Life{}) {
			return topic{token: e.Token}, true
		}
	case locktable.Ended, locktable.WaitOver:
	default:
		return topic{}, false
	}
	return topic{session: wire.ID(e.Session.ID)}, true
}

// eventOf returns the message about an effect that has a topic.
func eventOf(applied replica.Applied, e *locktable.Effect) wire.Message {
	life, index, clock := wireLife(e.Session), uint64(applied.Index), applied.Table.Clock()
	switch e.Kind {
	case locktable.WaitOver:
		return &wire.WaitOver{Life: life, Seq: e.Seq, Index: index, Clock: clock, Outcome: outcomeOf(e.Reply)}
	case locktable.Revoked:
		return &wire.Revoked{Life: life, Name: e.Name, Token: e.Token, How: wire.How(e.How), Index: index, Clock: clock}
	default:
		return &wire.SessionEnded{Life: life, How: wire.How(e.How), Index: index, Clock: clock}
	}
}
