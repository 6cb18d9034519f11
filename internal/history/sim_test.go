package history

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// sample is a run that is consistent, until somebody plants something into it.
type sample struct {
	h      *History
	audits []*Audit
}

// world makes samples: a real lock table as the log's machine, clients that lock, write and die, and answers that get lost. Nothing in it
// shares code with the checkers.
type world struct {
	t     testing.TB
	r     *rand.Rand
	table *locktable.Table
	index uint64
	now   int64 // of the last entry
	audit []Entry

	people    []*person
	processes int
	ops       []Operation
	frames    []Frame
	requests  uint64
	resources map[string]*resource
	blocked   map[identity]*person
	keys      int
}

type resource struct{ highest, value, order uint64 }

// person is a client program, one after the other.
type person struct {
	process string
	life    session.Life
	free    int64 // when it has nothing to do
	seq     uint64
	beat    int64 // when its last KeepAlive was sent
	number  uint64
	until   int64 // validity
	dead    bool
	holds   *held
	waits   *pendingWait
}

type held struct {
	token uint64
	keys  []string
	mode  locktable.Mode
	lease session.ID
}

type pendingWait struct {
	op  int // place in world.ops
	ask *wire.Acquire
}

const (
	simTTL   = time.Second
	simBeat  = 200 * time.Millisecond
	simReach = simTTL/100*99 - simTTL/10
)

func newWorld(t testing.TB, seed uint64, people, keys int) *world {
	w := &world{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), table: locktable.NewTable(), index: 1, now: int64(time.Hour), keys: keys,
		resources: map[string]*resource{}, blocked: map[identity]*person{},
	}
	begin := locktable.Encode(&locktable.Incarnate{Incarnation: [16]byte{1}, Seed: 5000})
	if _, err := w.table.Apply(1, 1, begin); err != nil {
		t.Fatal(err)
	}
	w.index++
	if err := w.table.Skip(w.index, 1); err != nil {
		t.Fatal(err)
	}
	w.note(nil)
	for range people {
		w.people = append(w.people, &person{free: w.now, dead: true})
	}
	return w
}

func (w *world) note(command []byte) {
	e := Entry{Entry: lockd.Entry{Index: w.index, Term: 1, Command: command, Token: w.table.Counter()}, At: w.now}
	hash, _ := w.table.Hash()
	binary.BigEndian.PutUint64(e.Hash[:8], hash[0])
	binary.BigEndian.PutUint64(e.Hash[8:], hash[1])
	w.audit = append(w.audit, e)
}

func (w *world) some(most time.Duration) int64 { return 1 + w.r.Int64N(int64(most)) }

// apply applies a command at some time after it was called, and tells those whose waits are over.
func (w *world) apply(call int64, cmd locktable.Command) locktable.Reply {
	w.now = max(w.now+1, call+w.some(2*time.Millisecond))
	w.index++
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, time.Duration(w.now))
	applied, err := w.table.Apply(w.index, 1, data)
	if err != nil {
		w.t.Fatal(err)
	}
	effects := slices.Clone(applied.Effects)
	w.note(data)
	for _, e := range effects {
		if e.Kind == locktable.WaitOver {
			w.over(&e)
		}
	}
	return applied.Reply
}

func (w *world) frame(p *person, out bool, at int64, m wire.Message) {
	w.frames = append(w.frames, Frame{Process: p.process, Conn: 1, At: at, Out: out, Message: m})
}

func outcomeOf(r locktable.Reply) wire.Outcome {
	return wire.Outcome{
		Code: wire.Code(r.Code), Token: r.Token, Floor: r.Floor, Deadline: r.Deadline, Ahead: uint64(r.Ahead), Behind: uint64(r.Behind),
		Previous: wire.Ending{How: wire.How(r.Previous.How), Token: r.Previous.Token},
	}
}

// over ends a wait that was granted.
func (w *world) over(e *locktable.Effect) {
	id := identity{kind: wire.TypeAcquire, id: e.Session.ID, index: e.Session.Index, seq: e.Seq}
	p := w.blocked[id]
	if p == nil || p.dead {
		return
	}
	delete(w.blocked, id)
	at := w.now + w.some(2*time.Millisecond)
	w.frame(p, false, at, &wire.WaitOver{Life: wireLife(p.life), Seq: e.Seq, Index: e.Reply.Index, Outcome: outcomeOf(e.Reply)})
	w.granted(p, p.waits.op, at, p.waits.ask, e.Reply.Token)
	p.waits, p.free = nil, at
}

func (w *world) granted(p *person, op int, at int64, ask *wire.Acquire, token uint64) {
	o := &w.ops[op]
	o.Return, o.Outcome, o.Token, o.Until = at, OK, token, p.until
	if p.holds = (&held{token, ask.Names, locktable.Mode(ask.Mode), session.ID(ask.Lease)}); ask.LeaseTTL > 0 {
		o.Until = o.Call + int64(ask.LeaseTTL)/100*90
	}
}

func wireLife(l session.Life) wire.Life { return wire.Life{ID: wire.ID(l.ID), Index: l.Index} }

func (w *world) id() uint64 { w.requests++; return w.requests }

// run makes a run of so many operations.
func (w *world) run(operations int) *sample {
	for len(w.ops) < operations {
		p := w.next()
		switch {
		case p.dead:
			w.rise(p)
		case p.free-p.beat > int64(simBeat):
			w.keepAlive(p)
		case w.r.IntN(100) == 0:
			w.die(p)
		case p.holds == nil && w.r.IntN(5) == 0:
			w.query(p)
		case p.holds == nil:
			w.acquire(p)
		case w.r.IntN(3) > 0 && p.holds.mode == locktable.Exclusive:
			w.write(p)
		case p.holds.lease != (session.ID{}):
			w.lease(p)
		default:
			w.release(p)
		}
	}
	h := &History{Operations: w.ops, Frames: w.frames}
	h.sort()
	return &sample{h: h, audits: w.audits()}
}

// next returns who does something next: whoever has nothing to do for the longest time, and those who wait only to say that they live.
func (w *world) next() *person {
	return slices.MinFunc(w.people, func(a, b *person) int { return cmp.Compare(a.due(), b.due()) })
}

func (p *person) due() int64 {
	if p.waits != nil {
		p.free = max(p.free, p.beat+int64(simBeat)+1)
	}
	return p.free
}

// audits are those of three nodes: one has all, one was started again and tells some twice, one jumped over some.
func (w *world) audits() []*Audit {
	all := w.audit
	half, third := len(all)/2, len(all)/3
	again := slices.Concat(all[:half], all[third:])
	jumped := slices.Concat(all[:third], all[half:])
	return []*Audit{{Node: "n1", Entries: slices.Clone(all)}, {Node: "n2", Entries: again}, {Node: "n3", Entries: jumped}}
}

// rise lets another program begin where one has died, when the session of that one is over.
func (w *world) rise(p *person) {
	if p.life.Index > 0 {
		w.apply(p.free, &locktable.Expire{Term: 1, Lives: []session.Life{p.life}})
	}
	w.processes++
	*p = person{process: fmt.Sprint("c", w.processes), free: max(p.free, w.now)}
	call := p.free + w.some(time.Millisecond)
	open := &wire.Open{ID: w.id(), Session: wire.ID{byte(w.processes >> 8), byte(w.processes)}, TTL: simTTL}
	w.frame(p, true, call, open)
	reply := w.apply(call, &locktable.Open{ID: session.ID(open.Session), TTL: simTTL})
	at := w.now + w.some(time.Millisecond)
	w.frame(p, false, at, &wire.Reply{ID: open.ID, Index: reply.Index, Outcome: outcomeOf(reply)})
	p.life, p.free, p.beat, p.until = session.Life{ID: session.ID(open.Session), Index: reply.Index}, at, call, call+int64(simReach)
}

func (w *world) keepAlive(p *person) {
	if p.free-w.audit[len(w.audit)-1].At > int64(simTTL) {
		w.apply(p.free, &locktable.Tick{Term: 1})
	}
	p.number++
	sent := p.free + w.some(time.Millisecond)
	w.frame(p, true, sent, &wire.KeepAlive{Life: wireLife(p.life), Number: p.number})
	p.beat, p.free = sent, max(sent, w.now)+w.some(3*time.Millisecond)
	w.now = max(w.now, p.free-1)
	w.frame(p, false, p.free, &wire.KeepAliveAnswer{Life: wireLife(p.life), Number: p.number, Verdict: wire.Renewed, Index: w.index})
	p.until = sent + int64(simReach)
}

// die ends a program, perhaps in the middle of something.
func (w *world) die(p *person) {
	p.dead = true
	if p.waits != nil {
		delete(w.blocked, identity{kind: wire.TypeAcquire, id: p.life.ID, index: p.life.Index, seq: p.waits.ask.Request.Seq})
	}
	p.waits = nil
	if p.holds == nil && w.r.IntN(2) == 0 {
		p.seq++
		call := p.free + w.some(time.Millisecond)
		ask := w.ask(p)
		w.ops = append(w.ops, w.begun(p, call, Operation{Kind: Acquire, Keys: ask.Names, Mode: modeOf(ask.Mode), Limit: int(ask.Limit)}))
		w.frame(p, true, call, ask)
		if w.r.IntN(2) == 0 {
			w.apply(call, commandOf(ask))
		}
	}
	p.free = max(w.now, p.beat+int64(simTTL)+w.some(100*time.Millisecond))
}

func (w *world) begun(p *person, call int64, o Operation) Operation {
	o.Process, o.ID, o.Call = p.process, w.id(), call
	return o
}

func modeOf(m wire.Mode) Mode { return []Mode{"", Exclusive, Shared, Slot}[m] }

func commandOf(a *wire.Acquire) *locktable.Acquire {
	return &locktable.Acquire{
		Request: requestOf(a.Request), Names: a.Names, Mode: locktable.Mode(a.Mode), Limit: a.Limit, Wait: a.Wait, Owner: a.Owner,
		LeaseID: session.ID(a.Lease), LeaseTTL: a.LeaseTTL,
	}
}

func requestOf(q wire.Request) locktable.Request {
	return locktable.Request{Session: life(q.Life), Seq: q.Seq, Acked: q.Acked, Seen: q.Seen}
}

// ask draws what to ask for.
func (w *world) ask(p *person) *wire.Acquire {
	a := &wire.Acquire{
		ID: w.id(), Request: wire.Request{Life: wireLife(p.life), Seq: p.seq, Acked: p.seq - 1, Seen: []uint64{p.seq - 1}}, Mode: wire.Exclusive,
		Wait: []time.Duration{0, wire.Forever}[w.r.IntN(2)], Owner: p.seq, Names: []string{fmt.Sprint("x", w.r.IntN(w.keys))},
	}
	switch w.r.IntN(8) {
	case 0, 1:
		a.Names, a.Mode = []string{"shared"}, wire.Mode(1+w.r.IntN(2))
	case 2, 3:
		a.Names, a.Mode, a.Limit = []string{"slots"}, wire.Slot, 2
	case 4:
		a.Names = []string{"x0", "x1"}
	case 5:
		a.Names, a.Lease, a.LeaseTTL = []string{"lease"}, wire.ID{1, byte(w.requests >> 8), byte(w.requests)}, simTTL
	}
	return a
}

func (w *world) acquire(p *person) {
	p.seq++
	call := p.free + w.some(time.Millisecond)
	ask := w.ask(p)
	place := len(w.ops)
	w.ops = append(w.ops, w.begun(p, call, Operation{
		Kind: Acquire, Keys: ask.Names, Mode: modeOf(ask.Mode), Limit: int(ask.Limit), Try: ask.Wait == 0, Lease: ask.LeaseTTL > 0,
	}))
	w.frame(p, true, call, ask)
	reply := w.apply(call, commandOf(ask))
	at := w.now + w.some(time.Millisecond)
	w.frame(p, false, at, &wire.Reply{ID: ask.ID, Index: reply.Index, Outcome: outcomeOf(reply)})
	p.free = at
	switch reply.Code {
	case locktable.Granted:
		w.granted(p, place, at, ask, reply.Token)
	case locktable.Queued:
		p.waits = &pendingWait{place, ask}
		w.blocked[identity{kind: wire.TypeAcquire, id: p.life.ID, index: p.life.Index, seq: p.seq}] = p
	case locktable.Held:
		w.ops[place].Return, w.ops[place].Outcome, w.ops[place].Reason = at, Refused, "not acquired"
	default:
		w.t.Fatalf("an acquire is answered with %v", reply.Code)
	}
}

func (w *world) release(p *person) {
	p.seq++
	call := p.free + w.some(time.Millisecond)
	q := &wire.Release{
		ID: w.id(), Request: wire.Request{Life: wireLife(p.life), Seq: p.seq, Acked: p.seq - 1, Seen: []uint64{p.seq - 1}}, Name: p.holds.keys[0],
		Token: p.holds.token,
	}
	o := w.begun(p, call, Operation{Kind: Release, Keys: p.holds.keys, Token: p.holds.token})
	w.frame(p, true, call, q)
	reply := w.apply(call, &locktable.Release{Request: requestOf(q.Request), Name: q.Name, Token: q.Token})
	if reply.Code != locktable.OK {
		w.t.Fatalf("a release is answered with %v", reply.Code)
	}
	at := w.now + w.some(time.Millisecond)
	w.frame(p, false, at, &wire.Reply{ID: q.ID, Index: reply.Index, Outcome: outcomeOf(reply)})
	if o.Outcome, o.Return = OK, at; w.r.IntN(50) == 0 { // the answer came to the library, and its caller had gone
		o.Outcome, o.Return = Unknown, 0
	}
	w.ops = append(w.ops, o)
	p.holds, p.free = nil, at
}

// lease renews, hands on or gives back a lease, or lets it end.
func (w *world) lease(p *person) {
	call := p.free + w.some(time.Millisecond)
	name, token, id := p.holds.keys[0], p.holds.token, p.holds.lease
	var m wire.Message
	var cmd locktable.Command
	o := w.begun(p, call, Operation{Kind: Renew, Keys: p.holds.keys, Token: token, Lease: true})
	number := w.id()
	switch w.r.IntN(4) {
	case 0:
		m = &wire.RenewLease{ID: number, Name: name, Lease: wire.ID(id), Token: token, TTL: simTTL}
		cmd = &locktable.RenewLease{Name: name, ID: id, Token: token, TTL: simTTL}
	case 1:
		next := session.ID{2, byte(number >> 8), byte(number)}
		m = &wire.TakeLease{ID: number, Name: name, Lease: wire.ID(id), Token: token, NewLease: wire.ID(next), TTL: simTTL}
		cmd = &locktable.TakeLease{Name: name, ID: id, Token: token, NewID: next, TTL: simTTL}
		o.Kind, o.Before = HandOn, token
		p.holds.lease = next
	default:
		m = &wire.ReleaseLease{ID: number, Name: name, Lease: wire.ID(id), Token: token}
		cmd = &locktable.ReleaseLease{Name: name, ID: id, Token: token}
		o.Kind = Release
	}
	w.frame(p, true, call, m)
	reply := w.apply(call, cmd)
	at := w.now + w.some(time.Millisecond)
	w.frame(p, false, at, &wire.Reply{ID: number, Index: reply.Index, Outcome: outcomeOf(reply)})
	switch o.Return, o.Outcome = at, OK; {
	case reply.Code == locktable.Gone:
		o.Outcome, o.Reason, p.holds = Refused, "gone", nil
	case o.Kind == Release:
		p.holds = nil
	default:
		o.Token, o.Until, p.holds.token = reply.Token, call+int64(simTTL)/100*90, reply.Token
	}
	w.ops = append(w.ops, o)
	p.free = at
}

func (w *world) query(p *person) {
	call := p.free + w.some(time.Millisecond)
	q := &wire.Get{ID: w.id(), Name: fmt.Sprint("x", w.r.IntN(w.keys)), Most: 10}
	w.frame(p, true, call, q)
	w.now = max(w.now, call)
	at := w.now + w.some(time.Millisecond)
	v, found := w.table.Lock(q.Name, 10)
	lock := wire.Lock{Name: q.Name, Held: uint64(v.Held), Queue: uint64(v.Queue), Floor: v.Floor}
	o := w.begun(p, call, Operation{Kind: Query, Keys: []string{q.Name}, Outcome: OK, Return: at, Index: w.index})
	for _, h := range v.Holders {
		lock.Holders = append(lock.Holders, wire.Holder{Token: h.Token})
		o.Token = h.Token
	}
	w.ops = append(w.ops, o)
	w.frame(p, false, at, &wire.LockReply{ID: q.ID, Index: w.index, Found: found, Lock: lock})
	p.free = at
}

// write increments the counter at the resource of the name that is held.
func (w *world) write(p *person) {
	call := p.free + w.some(time.Millisecond)
	key := "r/" + p.holds.keys[0]
	r := w.resources[key]
	if r == nil {
		r = &resource{}
		w.resources[key] = r
	}
	o := w.begun(p, call, Operation{Kind: Write, Keys: []string{key}, Token: p.holds.token, Before: r.value, Outcome: Refused, Return: call + w.some(time.Millisecond)})
	w.now = max(w.now, o.Return)
	if o.Token >= r.highest {
		r.highest, r.value, r.order = o.Token, r.value+1, r.order+1
		o.Outcome, o.Order = OK, r.order
	}
	w.ops = append(w.ops, o)
	p.free = o.Return
}
