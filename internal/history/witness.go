package history

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// witness replays the log through the specification and compares it with all that clients were answered. The log is the order in which
// everything happened; what is left to be shown is that every answer follows from it, and that it does not contradict real time.
type witness struct {
	r   *report
	t   *traffic
	log []Entry

	commands []locktable.Command // of the entries, nil for one that has none
	followed uint64              // the index up to which the log could be followed
	spec     *spec
	first    map[identity]uint64 // the entry at which each command came into the log first
	outcomes map[identity][]locktable.Reply
	ended    map[session.Life]end
	grants   map[uint64]*grant // by token
	points   []point
}

// grant is a grant by the log.
type grant struct {
	index   uint64
	names   []string
	ended   bool
	entered bool // more than once
}

// end is the end of a session by the log.
type end struct {
	entry int // place in the log
	how   locktable.How
}

// point is where in the log something happened that a client asked for.
type point struct {
	index    uint64
	rank     rank
	call, at int64 // at: when the client was told, forever if it was not
	show     fmt.Stringer
}

// rank orders what happened at one entry.
type rank uint8

const (
	own   rank = iota // the entry is what was asked for
	other             // it decided the fate of what had been asked for before
	read              // it was the last one that was seen
)

// replay returns nil if the log cannot be followed.
func replay(log []Entry, t *traffic, r *report) *witness {
	w := &witness{
		r: r, t: t, log: log, first: map[identity]uint64{}, outcomes: map[identity][]locktable.Reply{}, ended: map[session.Life]end{},
		grants: map[uint64]*grant{},
	}
	if len(log) == 0 {
		return nil
	}
	if len(log[0].Command) > 0 {
		r.add("witness", fmt.Sprintf("the audits begin with entry %d, which is a command: the beginning is missing", log[0].Index))
		return nil
	}
	if !w.decode() {
		return nil
	}
	w.spec = newSpec(log[0].Token)
	reads := t.reads
	for i := range log {
		reads = w.lookBefore(reads, log[i].Index)
		if !w.entry(i) {
			return w
		}
		w.followed = log[i].Index
	}
	reads = w.lookBefore(reads, log[len(log)-1].Index+1)
	for _, q := range reads {
		r.add("lost", fmt.Sprintf("a read was answered as of entry %d, and the log ends at %d", q.index, log[len(log)-1].Index), q)
	}
	return w
}

// all reports whether the log could be followed to its end.
func (w *witness) all() bool { return w.followed == w.log[len(w.log)-1].Index }

// decode reads the commands, and reports whether all are some.
func (w *witness) decode() bool {
	w.commands = make([]locktable.Command, len(w.log))
	for i := range w.log {
		e := &w.log[i]
		if len(e.Command) == 0 {
			continue
		}
		cmd, err := locktable.Decode(e.Command)
		if err != nil {
			w.r.add("witness", fmt.Sprintf("entry %d is no command: %v", e.Index, err))
			return false
		}
		w.commands[i] = cmd
		if id, ok := identityIn(cmd); ok {
			if _, again := w.first[id]; !again {
				w.first[id] = e.Index
			}
		}
	}
	return true
}

// lookBefore compares the reads of states before the entry with this index, and returns the others.
func (w *witness) lookBefore(reads []*reading, index uint64) []*reading {
	for len(reads) > 0 && reads[0].index < index {
		w.look(reads[0])
		reads = reads[1:]
	}
	return reads
}

// entry applies one entry, and reports whether the next can be.
func (w *witness) entry(i int) bool {
	e := &w.log[i]
	cmd := w.commands[i]
	if cmd == nil {
		return true
	}
	before := w.spec.counter
	reply, err := w.spec.apply(e.Index, e.Term, cmd)
	if err != nil {
		w.r.add("witness", fmt.Sprintf("entry %d cannot be followed: %v", e.Index, err), seen{"log", e})
		return false
	}
	if id, ok := identityIn(cmd); ok {
		w.outcomes[id] = append(w.outcomes[id], reply)
	}
	for _, over := range w.spec.overs {
		id := identity{kind: wire.TypeAcquire, id: over.life.ID, index: over.life.Index, seq: over.seq}
		w.outcomes[id] = append(w.outcomes[id], over.reply)
	}
	for _, x := range w.spec.ends {
		w.ended[x.life] = end{i, x.how}
	}
	w.granting(before, reply)
	if w.spec.counter != e.Token {
		w.r.add("witness", fmt.Sprintf("the nodes have granted up to token %d, by the specification it is %d", e.Token, w.spec.counter), seen{"log", e})
		return false // everything behind it would differ too
	}
	return true
}

// granting notes the grants of an entry, and the ends of holds.
func (w *witness) granting(before uint64, reply locktable.Reply) {
	for token := before + 1; token <= w.spec.counter; token++ {
		g := &grant{index: w.spec.index}
		if h := w.spec.holds[token]; h != nil {
			for _, l := range h.locks {
				g.names = append(g.names, l.name)
			}
		}
		w.grants[token] = g
	}
	for _, token := range w.spec.gone {
		if g := w.grants[token]; g != nil {
			g.ended = true
		}
	}
	if g := w.grants[reply.Token]; g != nil && reply.Code == locktable.Reentered {
		g.entered = true
	}
}

// look compares what a read saw with the state as of its index.
func (w *witness) look(q *reading) {
	w.r.Answers++
	if !q.stale {
		w.r.Reads++
		w.points = append(w.points, point{index: q.index, rank: read, call: q.call, at: q.at, show: q})
	}
	switch ask := q.ask.(type) {
	case *wire.Get:
		if got, ok := q.reply.(*wire.LockReply); ok {
			if want := w.spec.look(ask.Name); !sees(got, &want) {
				w.r.add("witness", fmt.Sprintf("a read saw what was not so as of entry %d", q.index), q, fmt.Sprintf("specified: %+v", want))
			}
		}
	case *wire.CheckTokens:
		got, ok := q.reply.(*wire.TokensReply)
		for i := 0; ok && i < min(len(ask.Tokens), len(got.Checks)); i++ {
			if want := w.spec.worth(ask.Tokens[i].Name, ask.Tokens[i].Token); uint8(want) != uint8(got.Checks[i].Validity) {
				w.r.add("witness", fmt.Sprintf("token %d of %s was not %v as of entry %d", ask.Tokens[i].Token, ask.Tokens[i].Name,
					got.Checks[i].Validity, q.index), q, fmt.Sprintf("specified: %v", want))
			}
		}
	}
}

func sees(got *wire.LockReply, want *look) bool {
	if got.Found != want.found || !got.Found {
		return got.Found == want.found
	}
	l := &got.Lock
	if int(l.Held) != len(want.tokens) || int(l.Queue) != want.queue || l.Floor != want.floor || len(l.Holders) > len(want.tokens) {
		return false
	}
	for i := range l.Holders {
		if l.Holders[i].Token != want.tokens[i] {
			return false
		}
	}
	return true
}

func (q *reading) String() string {
	return fmt.Sprintf("%s: %T%+v [%s, %s]: %T%+v", q.process, q.ask, q.ask, moment(q.call), moment(q.at), q.reply, q.reply)
}

// answers compares every answer to a command, and resolves those without one.
func (w *witness) answers() {
	last := w.log[len(w.log)-1].Index
	for _, q := range w.t.commands {
		index, happened := w.first[q.identity]
		if len(q.answers) == 0 {
			w.unanswered(q, index, happened)
			continue
		}
		replies := w.outcomes[q.identity]
		if len(replies) > 8 {
			slices.SortStableFunc(replies, func(a, b locktable.Reply) int { return cmp.Compare(a.Index, b.Index) })
		}
		for i, a := range q.answers {
			w.r.Answers++
			switch {
			case a.index > last:
				w.r.add("lost", fmt.Sprintf("an answer as of entry %d was given, and the log ends at %d", a.index, last), q, a)
			case !happened:
				w.r.add("lost", "what was answered is not in the log", q, a)
			case a.index <= w.followed && index <= w.followed && !specified(a, replies):
				w.r.add("witness", "an answer is not what the log says", q, a, fmt.Sprintf("specified: %+v", replies))
			}
			p := point{index: index, call: q.call, at: a.at, show: shown{q, a}}
			if (i > 0 || q.kind == wire.TypeAcquire) && a.index > index {
				p.index, p.rank = a.index, other
			}
			w.points = append(w.points, p)
		}
	}
}

// shown is a request with one of its answers.
type shown struct {
	q *request
	a answer
}

func (s shown) String() string { return fmt.Sprint(s.q, "; ", s.a) }

// unanswered resolves a request whose outcome the client did not hear.
func (w *witness) unanswered(q *request, index uint64, happened bool) {
	if !happened {
		w.r.Never++
		return
	}
	w.r.Happened++
	w.points = append(w.points, point{index: index, call: q.call, at: forever, show: q})
	if q.refused == q.sent {
		w.r.add("refused", "each sending was refused with the promise of no effect, and it is in the log", q, fmt.Sprintf("entry %d", index))
	}
}

// specified reports whether the log says what a client was answered.
func specified(a answer, replies []locktable.Reply) bool {
	from := 0
	if len(replies) > 8 {
		from, _ = slices.BinarySearchFunc(replies, a.index, func(r locktable.Reply, index uint64) int { return cmp.Compare(r.Index, index) })
	}
	o := a.outcome
	for _, r := range replies[from:] {
		if len(replies) > 8 && r.Index > a.index {
			return false
		}
		same := r.Index == a.index && uint16(r.Code) == uint16(o.Code) && r.Token == o.Token && r.Floor == o.Floor && r.Deadline == o.Deadline &&
			uint8(r.Previous.How) == uint8(o.Previous.How) && r.Previous.Token == o.Previous.Token
		if same && uint64(r.Ahead) == o.Ahead && (uint64(r.Behind) == o.Behind || o.Behind == 0) {
			return true
		}
	}
	return false
}

// sessions compares what clients were told of their sessions.
func (w *witness) sessions() {
	for life, list := range w.t.renewals {
		ended, dead := w.ended[life]
		for i := range list {
			k := &list[i]
			if k.at == 0 {
				continue
			}
			w.r.Answers++
			w.points = append(w.points, point{index: k.index, rank: read, call: k.sent, at: k.at, show: beat{life, k}})
			switch gone := dead && w.log[ended.entry].Index <= k.index; {
			case k.index > w.followed:
			case k.verdict == wire.Renewed && gone:
				w.r.add("witness", fmt.Sprintf("a session was renewed as of entry %d that ended at %d", k.index, w.log[ended.entry].Index), beat{life, k})
			case k.verdict == wire.Renewed:
				w.r.Renewals++
			case k.verdict == wire.Ended && !gone:
				w.r.add("witness", fmt.Sprintf("a session is told to have ended by entry %d, and it lives", k.index), beat{life, k})
			}
		}
	}
	for _, x := range w.t.ends {
		w.r.Answers++
		ended, dead := w.ended[x.life]
		if x.index <= w.followed && !dead || dead && (w.log[ended.entry].Index != x.index || uint8(ended.how) != uint8(x.how)) {
			w.r.add("witness", fmt.Sprintf("%s was told at %s that session %v ended at entry %d: %v; it did not", x.process, moment(x.at), x.life, x.index, x.how))
		}
	}
}

// beat is a KeepAlive of a session.
type beat struct {
	life session.Life
	k    *renewal
}

func (b beat) String() string {
	return fmt.Sprintf("%s: KeepAlive %d of %v [%s, %s]: verdict %d as of entry %d", b.k.process, b.k.number, b.life, moment(b.k.sent), moment(b.k.at),
		b.k.verdict, b.k.index)
}

// realTime checks the order of the log: nothing that was answered before something else was asked for stands behind it.
func (w *witness) realTime() {
	slices.SortStableFunc(w.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.rank, b.rank), cmp.Compare(a.call, b.call))
	})
	var latest *point // of those up to here, the one that was asked for last
	for i := range w.points {
		p := &w.points[i]
		if latest != nil && p.at < latest.call {
			w.r.add("real time", fmt.Sprintf("what stands at entry %d was answered before what stands at entry %d was asked for", p.index, latest.index),
				p.show, latest.show)
		}
		if latest == nil || p.call > latest.call {
			latest = p
		}
	}
}
