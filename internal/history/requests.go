package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// traffic is what the clients and the cluster have told each other, put together from the frames.
type traffic struct {
	commands []*request // by call
	known    map[identity]*request
	reads    []*reading // by index
	renewals map[session.Life][]renewal
	ends     []told // of sessions
	spans    map[session.ID]time.Duration
}

// identity tells commands apart; repeats of one have the same. Commands of sessions have a number, the others what they say.
type identity struct {
	kind       wire.Type
	id         session.ID
	index, seq uint64
	rest       string
}

// request is one command, however often it was sent.
type request struct {
	identity

	process string
	message wire.Message
	call    int64 // when it was sent first
	sent    int   // how often
	refused int   // how often it was answered that that sending had and will have no effect
	answers []answer
}

// answer is what the log decided about a request, as the client heard it.
type answer struct {
	at      int64
	index   uint64
	outcome wire.Outcome
}

// reading is a read that was answered.
type reading struct {
	process  string
	call, at int64
	index    uint64
	stale    bool
	ask      wire.Message
	reply    wire.Message
}

// renewal is a KeepAlive.
type renewal struct {
	number   uint64
	sent, at int64 // at 0: not answered
	verdict  wire.Verdict
	index    uint64
	process  string
}

// told is the end of a session as a client was told it.
type told struct {
	process string
	at      int64
	life    session.Life
	how     wire.How
	index   uint64
}

type exchange struct {
	process  string
	conn, id uint64
}

// gather puts the frames together, which are in the order of time.
func gather(frames []Frame) *traffic {
	t := &traffic{known: map[identity]*request{}, renewals: map[session.Life][]renewal{}, spans: map[session.ID]time.Duration{}}
	open := map[exchange]*request{}
	reads := map[exchange]*reading{}
	for i := range frames {
		f := &frames[i]
		if f.Out {
			t.asked(f, open, reads)
		} else {
			t.answered(f, open, reads)
		}
	}
	slices.SortStableFunc(t.reads, func(a, b *reading) int { return cmp.Compare(a.index, b.index) })
	return t
}

func (t *traffic) asked(f *Frame, open map[exchange]*request, reads map[exchange]*reading) {
	switch m := f.Message.(type) {
	case *wire.KeepAlive:
		l := life(m.Life)
		t.renewals[l] = append(t.renewals[l], renewal{number: m.Number, sent: f.At, process: f.Process})
		return
	case *wire.Get:
		reads[exchange{f.Process, f.Conn, m.ID}] = &reading{process: f.Process, call: f.At, stale: m.Stale, ask: m}
		return
	case *wire.CheckTokens:
		reads[exchange{f.Process, f.Conn, m.ID}] = &reading{process: f.Process, call: f.At, ask: m}
		return
	case *wire.Open:
		if t.spans[session.ID(m.Session)] = m.TTL; m.Grace > 0 {
			t.spans[session.ID(m.Session)] = m.Grace
		}
	}
	id, number, ok := identityOf(f.Message)
	if !ok {
		return
	}
	q := t.known[id]
	if q == nil {
		q = &request{identity: id, process: f.Process, message: f.Message, call: f.At}
		t.known[id] = q
		t.commands = append(t.commands, q)
	}
	q.sent++
	open[exchange{f.Process, f.Conn, number}] = q
}

func (t *traffic) answered(f *Frame, open map[exchange]*request, reads map[exchange]*reading) {
	switch m := f.Message.(type) {
	case *wire.Reply:
		if q := open[exchange{f.Process, f.Conn, m.ID}]; q != nil {
			q.answers = append(q.answers, answer{f.At, m.Index, m.Outcome})
		}
	case *wire.Failure:
		if q := open[exchange{f.Process, f.Conn, m.ID}]; q != nil && m.Known {
			q.refused++
		}
	case *wire.WaitOver:
		if q := t.known[identity{kind: wire.TypeAcquire, id: session.ID(m.Life.ID), index: m.Life.Index, seq: m.Seq}]; q != nil {
			q.answers = append(q.answers, answer{f.At, m.Index, m.Outcome})
		}
	case *wire.LockReply:
		t.read(f, m.ID, m.Index, reads)
	case *wire.TokensReply:
		t.read(f, m.ID, m.Index, reads)
	case *wire.SessionEnded:
		t.ends = append(t.ends, told{f.Process, f.At, life(m.Life), m.How, m.Index})
	case *wire.KeepAliveAnswer:
		list := t.renewals[life(m.Life)]
		for i := len(list) - 1; i >= 0; i-- { // it is one of the last
			if list[i].number == m.Number {
				list[i].at, list[i].verdict, list[i].index = f.At, m.Verdict, m.Index
				break
			}
		}
	}
}

func (t *traffic) read(f *Frame, id, index uint64, reads map[exchange]*reading) {
	if q := reads[exchange{f.Process, f.Conn, id}]; q != nil {
		q.at, q.index, q.reply = f.At, index, f.Message
		t.reads = append(t.reads, q)
		delete(reads, exchange{f.Process, f.Conn, id})
	}
}

func life(l wire.Life) session.Life { return session.Life{ID: session.ID(l.ID), Index: l.Index} }

// identityOf returns which command a message asks for, and the number of the request on its connection.
func identityOf(m wire.Message) (id identity, number uint64, ok bool) {
	id.kind = m.Type()
	of := func(q *wire.Request) { id.id, id.index, id.seq = session.ID(q.Life.ID), q.Life.Index, q.Seq }
	switch m := m.(type) {
	case *wire.Open:
		id.id, number = session.ID(m.Session), m.ID
	case *wire.Close:
		id.id, id.index, number = session.ID(m.Life.ID), m.Life.Index, m.ID
	case *wire.Acquire:
		of(&m.Request)
		number = m.ID
	case *wire.Release:
		of(&m.Request)
		number = m.ID
	case *wire.Cancel:
		of(&m.Request)
		number = m.ID
	case *wire.SetValue:
		of(&m.Request)
		number = m.ID
	case *wire.RenewLease:
		id.id, id.index, id.rest, number = session.ID(m.Lease), m.Token, fmt.Sprint(m.Name, m.TTL), m.ID
	case *wire.ReleaseLease:
		id.id, id.index, id.rest, number = session.ID(m.Lease), m.Token, m.Name, m.ID
	case *wire.TakeLease:
		id.id, id.index, id.rest, number = session.ID(m.Lease), m.Token, fmt.Sprint(m.Name, m.TTL, m.NewLease), m.ID
	default:
		return id, 0, false
	}
	return id, number, true
}

// identityIn returns which command an entry of the log is.
func identityIn(cmd locktable.Command) (id identity, ok bool) {
	of := func(kind wire.Type, q *locktable.Request) {
		id.kind, id.id, id.index, id.seq = kind, q.Session.ID, q.Session.Index, q.Seq
	}
	switch c := cmd.(type) {
	case *locktable.Open:
		id.kind, id.id = wire.TypeOpen, c.ID
	case *locktable.Close:
		id.kind, id.id, id.index = wire.TypeClose, c.Session.ID, c.Session.Index
	case *locktable.Acquire:
		of(wire.TypeAcquire, &c.Request)
	case *locktable.Release:
		of(wire.TypeRelease, &c.Request)
	case *locktable.Cancel:
		of(wire.TypeCancel, &c.Request)
	case *locktable.SetValue:
		of(wire.TypeSetValue, &c.Request)
	case *locktable.RenewLease:
		id.kind, id.id, id.index, id.rest = wire.TypeRenewLease, c.ID, c.Token, fmt.Sprint(c.Name, c.TTL)
	case *locktable.ReleaseLease:
		id.kind, id.id, id.index, id.rest = wire.TypeReleaseLease, c.ID, c.Token, c.Name
	case *locktable.TakeLease:
		id.kind, id.id, id.index, id.rest = wire.TypeTakeLease, c.ID, c.Token, fmt.Sprint(c.Name, c.TTL, wire.ID(c.NewID))
	default:
		return id, false
	}
	return id, true
}

// decided reports whether a code is the outcome of a request and no news on the way there: whoever has one gets no other.
func decided(code wire.Code) bool {
	switch code {
	case wire.Queued, wire.SessionUnknown, wire.StaleSeq, wire.WindowFull:
		return false
	default:
		return true
	}
}

func (q *request) String() string {
	return fmt.Sprintf("%s: %T%+v, sent %d times, first at %s", q.process, q.message, q.message, q.sent, moment(q.call))
}

func (a answer) String() string {
	o := a.outcome
	text := fmt.Sprintf("answered at %s as of entry %d: %v", moment(a.at), a.index, o.Code)
	if o.Token > 0 {
		text += fmt.Sprintf(", token %d, floor %d", o.Token, o.Floor)
	}
	if o.Deadline > 0 {
		text += fmt.Sprintf(", until %v", o.Deadline)
	}
	return text + fmt.Sprintf(", %d ahead, %d behind, previous %v %d", o.Ahead, o.Behind, o.Previous.How, o.Previous.Token)
}
