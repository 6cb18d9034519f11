package locktable

import (
	"fmt"
	"time"

	"github.com/lockd/lockd/session"
)

// Table is the replicated state and the machine that moves it. See the package's documentation for how it is driven.
type Table struct {
	index, term uint64        // of the last entry
	clock       time.Duration // cluster time; only ever forwards
	counter     uint64        // last token
	incarnation [16]byte
	embargo     time.Duration // nothing is granted before
	forgot      session.End   // of the sessions that ended with the incarnation before

	sessions *session.Table[holdings]
	locks    map[string]*lock
	catalog  catalog // the same locks in order
	alarms   alarms
	left     line[crowd] // locks whose waiters may be granted, by crowd.left
	memories memories
	holds    int // in locks
	waits    int // in queues

	// While an entry is applied:
	now      time.Duration // what is due by it counts as fired: the clock, or the time of the alarm that is firing
	freed    []*lock       // something left these; their waiters are to be looked at
	spent    budget
	ordinals uint64
	effects  []Effect
	timings  []Timing
	found    []*lock // of the names of a request
	decoder  decoder
	known    func([]byte) string

	changes changes
}

// budget is what an entry has changed.
type budget struct {
	records, bytes int
}

// What an entry may have changed for another unit of work to begin: of what is due, of what counts as gone at the names of the command, of
// grants to waiters. Each leaves room for those after it. One unit, a hold of NamesMax names that ends and whose end is remembered for
// each, and then the command itself fit between the last and EntryRecordsMax.
const (
	roomForDue    = EntryRecordsMax * 4 / 10
	roomForName   = EntryRecordsMax * 5 / 10
	roomForGrants = EntryRecordsMax * 6 / 10
	roomForBytes  = EntryBytesMax - 4*ValueMax
)

// freedMax is how many locks may be freed in one unit of work before they are looked at.
const freedMax = 16

// NewTable returns the empty state, before the first entry.
func NewTable() *Table {
	t := &Table{
		sessions: session.NewTable[holdings](),
		locks:    make(map[string]*lock),
		memories: memories{byName: make(map[string]*memory)},
	}
	t.known = t.nameOf
	return t
}

// nameOf returns the name as a string, the one of the lock if there is one.
func (t *Table) nameOf(name []byte) string {
	if l := t.locks[string(name)]; l != nil {
		return l.name
	}
	return string(name)
}

// Apply applies one committed entry. Index rises with every call. An error means that the bytes are no command of a version known
// here: the node must stop, for it cannot know the state any more. Everything else, a command that breaks a rule included, is a Reply.
func (t *Table) Apply(index, term uint64, data []byte) (Applied, error) {
	if index <= t.index {
		return Applied{}, fmt.Errorf("apply entry %d: entry %d is applied", index, t.index)
	}
	cmd, err := t.decoder.decode(data, t.known)
	if err != nil {
		return Applied{}, fmt.Errorf("apply entry %d: %w", index, err)
	}
	t.index, t.term = index, term
	if clear(t.effects); cap(t.effects) > effectsKept {
		t.effects = nil
	}
	clear(t.timings)
	t.effects, t.timings, t.spent, t.ordinals = t.effects[:0], t.timings[:0], budget{}, 0
	if decidedIn := termOf(cmd); decidedIn != 0 && decidedIn != term {
		return Applied{Reply: Reply{Code: Ignored, Index: index}}, nil
	}
	// The stamp only moves the clock; what follows is decided by the clock alone.
	t.clock = max(t.clock, cmd.stamp())
	t.fireDue()
	reply := t.execute(cmd)
	if reply.Index == 0 {
		reply.Index = index
	}
	return Applied{Reply: reply, Effects: t.effects, Timings: t.timings}, nil
}

// Skip notes a committed entry that is no command. Index rises with every call of Skip and Apply.
func (t *Table) Skip(index, term uint64) error {
	if index <= t.index {
		return fmt.Errorf("skip entry %d: entry %d is applied", index, t.index)
	}
	t.index, t.term = index, term
	return nil
}

// effectsKept is more than any entry needs but the beginning of an incarnation, which ends every session.
const effectsKept = 8 * EntryRecordsMax

// termOf returns the term in which the leader decided a command of its own, 0 for a client's.
func termOf(cmd Command) uint64 {
	switch c := cmd.(type) {
	case *Expire:
		return max(c.Term, 1)
	case *Tick:
		return max(c.Term, 1)
	}
	return 0
}

func (t *Table) execute(cmd Command) Reply {
	switch c := cmd.(type) {
	case *Open:
		return t.open(c)
	case *Close:
		return t.closeSession(c)
	case *Expire:
		return t.expire(c)
	case *Tick:
		return t.tick()
	case *Incarnate:
		return t.incarnate(c)
	case *Acquire:
		return t.acquire(c)
	case *Release:
		return t.release(c)
	case *Cancel:
		return t.cancel(c)
	case *SetValue:
		return t.setValue(c)
	case *RenewLease:
		return t.renewLease(c)
	case *ReleaseLease:
		return t.releaseLease(c)
	case *TakeLease:
		return t.takeLease(c)
	}
	panic(fmt.Sprintf("locktable: no command: %T", cmd))
}

// tick goes on with what is left over: grants first, then the records of the dead.
func (t *Table) tick() Reply {
	for t.clock >= t.embargo && t.left.len() > 0 && t.hasRoom(roomForGrants) {
		l := t.left.first().lock
		t.notLeft(l)
		t.free(l)
		t.promoteFreed()
	}
	t.collect()
	return Reply{Code: OK}
}

// Work tells the Keeper what cluster time has to do in this state.
func (t *Table) Work() session.Work {
	w := session.Work{Clock: t.clock, Left: t.sessions.Dead() != nil}
	if first := t.alarms.first(); first != nil {
		w.Pending, w.Next = true, first.at
		w.Left = w.Left || first.at <= t.clock
	}
	switch {
	case t.clock >= t.embargo:
		w.Left = w.Left || t.left.len() > 0
	case !w.Pending || t.embargo < w.Next:
		w.Pending, w.Next = true, t.embargo
	}
	return w
}

// hasRoom reports whether the entry has changed less than this many records, and not too many bytes.
func (t *Table) hasRoom(records int) bool {
	return t.spent.records < records && t.spent.bytes < roomForBytes
}

// ordinal returns a number above all before it, in this entry and in all earlier ones.
func (t *Table) ordinal() uint64 {
	t.ordinals++
	return t.index<<ordinalBits | t.ordinals
}

// ordinalBits is enough for what one entry may touch.
const ordinalBits = 12

func (t *Table) effect(e Effect) { t.effects = append(t.effects, e) }

// waited notes how long a wait took, held how long a hold did, until a time that is not before its begin.
func (t *Table) waited(name string, took time.Duration, code Code) {
	t.timings = append(t.timings, Timing{Name: name, Took: max(took, 0), Code: code})
}

func (t *Table) held(h *hold, until time.Duration, how How) {
	t.timings = append(t.timings, Timing{Name: h.lock.name, Took: max(until-h.since, 0), How: how})
}

// changed tells the watchers of every name of a hold.
func (t *Table) changed(h *hold) {
	for l := range h.locks {
		t.effect(Effect{Kind: Changed, Name: l.name, Token: t.newestHolder(l)})
	}
}

// newestHolder returns the token of the lock's newest valid hold, 0 if it has none.
func (t *Table) newestHolder(l *lock) uint64 {
	if l.crowd == nil {
		if l.sole != nil && t.valid(l.sole) {
			return l.sole.token
		}
		return 0
	}
	h := l.crowd.holders.last()
	for h != nil && !t.valid(h) {
		h = l.crowd.holders.previous(h.token)
	}
	if h == nil {
		return 0
	}
	return h.token
}
