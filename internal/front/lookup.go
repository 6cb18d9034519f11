package front

import (
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
)

// replyBytes is what an answer may have besides the frame around it, and overhead what a struct has at most besides the bytes of its
// strings.
const (
	replyBytes = wire.FrameMax - 8<<10
	overhead   = 160
	perString  = 5
)

// budget counts down the bytes of an answer.
type budget int

// spend reports whether there is room for a struct with these lengths of strings, and takes it.
func (b *budget) spend(lengths ...int) bool {
	size := overhead
	for _, n := range lengths {
		size += n + perString
	}
	if size > int(*b) {
		return false
	}
	*b -= budget(size)
	return true
}

func lengthOf(names []string) (n int) {
	for _, name := range names {
		n += len(name) + perString
	}
	return n
}

func checkTokens(t *locktable.Table, ask *wire.CheckTokens) []wire.Check {
	checks := make([]wire.Check, len(ask.Tokens))
	for i, token := range ask.Tokens {
		checks[i] = checkOf(t.CheckToken(token.Name, token.Token))
	}
	return checks
}

// getLock returns a lock with as many of its holders, and then of its waiters, as fit.
func getLock(t *locktable.Table, ask *wire.Get) (lock wire.Lock, found bool) {
	v, found := t.Lock(ask.Name, int(min(ask.Most, wire.MostMax)))
	if !found {
		return wire.Lock{}, false
	}
	lock = wire.Lock{
		Name: v.Name, Limit: v.Limit, Held: uint64(max(v.Held, 0)), Queue: uint64(max(v.Queue, 0)), Floor: v.Floor, Newest: v.Newest,
		Last: endingOf(v.Last),
	}
	room := budget(replyBytes)
	v.Holders = v.Holders[:min(len(v.Holders), int(min(ask.Most, wire.MostMax)))] // the table tells an only holder unasked
	for _, h := range v.Holders {
		if !room.spend(lengthOf(h.Names), len(h.Value), len(h.Metadata)) {
			return lock, true
		}
		lock.Holders = append(lock.Holders, holderOf(h))
	}
	for _, w := range v.Waiters {
		if !room.spend(lengthOf(w.Names), len(w.Value), len(w.Metadata)) {
			break
		}
		lock.Waiters = append(lock.Waiters, waiterOf(w))
	}
	return lock, true
}

// listLocks returns the locks behind a name, in the order of their names.
func listLocks(t *locktable.Table, ask *wire.List) (locks []wire.Summary, more bool) {
	room := budget(replyBytes)
	for _, name := range t.NamesAfter(ask.Prefix, ask.After, most(ask.Most)+1) {
		if len(locks) >= most(ask.Most) || !room.spend(len(name)) {
			return locks, true
		}
		if v, ok := t.Lock(name, 0); ok {
			locks = append(locks, summaryOf(v))
		}
	}
	return locks, false
}

// getSession returns a session, or none. Without an index its id finds it.
func getSession(t *locktable.Table, ask *wire.GetSession) []wire.Session {
	life := lifeOf(ask.Life)
	if life.Index == 0 {
		for terms := range t.Lives() {
			if terms.Life.ID == life.ID {
				life = terms.Life
			}
		}
	}
	terms, metadata, ok := t.Session(life)
	if !ok {
		return nil
	}
	return []wire.Session{sessionOf(terms, metadata)}
}

// listSessions returns the sessions that were opened behind an index.
func listSessions(t *locktable.Table, ask *wire.ListSessions) (sessions []wire.Session, more bool) {
	room := budget(replyBytes)
	for terms := range t.Lives() {
		if terms.Life.Index <= ask.After {
			continue
		}
		_, metadata, ok := t.Session(terms.Life)
		if !ok {
			continue
		}
		if len(sessions) >= most(ask.Most) || !room.spend(len(metadata)) {
			return sessions, true
		}
		sessions = append(sessions, sessionOf(terms, metadata))
	}
	return sessions, false
}

// most returns how many entries of a list are told to who asks for so many. Who asks for none would ask for ever: he gets as many as
// there may be.
func most(asked uint64) int {
	if asked == 0 || asked > wire.MostMax {
		return wire.MostMax
	}
	return int(asked)
}
