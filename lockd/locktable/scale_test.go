package locktable_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// run drives one Table without scripts.
type run struct {
	t     testing.TB
	table *locktable.Table
	index uint64
	clock time.Duration
	seqs  map[session.Life]uint64
}

func newRun(t testing.TB) *run {
	t.Helper()
	return &run{t: t, table: locktable.NewTable(), seqs: make(map[session.Life]uint64)}
}

func (r *run) apply(cmd locktable.Command) locktable.Applied {
	r.t.Helper()
	r.index++
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, r.clock)
	applied, err := r.table.Apply(r.index, 1, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return applied
}

func (r *run) open() session.Life {
	r.t.Helper()
	var id session.ID
	copy(id[:], fmt.Sprintf("%016d", r.index))
	reply := r.apply(&locktable.Open{ID: id, TTL: 15 * time.Second}).Reply
	return session.Life{ID: id, Index: reply.Index}
}

func (r *run) request(l session.Life) locktable.Request {
	r.seqs[l]++
	return locktable.Request{Session: l, Seq: r.seqs[l], Acked: r.seqs[l] - 1}
}

func (r *run) acquire(l session.Life, mode locktable.Mode, wait time.Duration, names ...string) locktable.Reply {
	r.t.Helper()
	q := r.request(l)
	return r.apply(&locktable.Acquire{Request: q, Names: names, Mode: mode, Wait: wait, Owner: q.Seq}).Reply
}

func (r *run) want(got, want locktable.Code) {
	r.t.Helper()
	if got != want {
		r.t.Fatalf("entry %d: %s, not %s", r.index, got, want)
	}
}

// changed cuts the changes and returns how many records they are.
func (r *run) changed() int {
	r.t.Helper()
	records, bytes := r.table.Cut().Records, 0
	for _, record := range records {
		bytes += len(record.Key) + len(record.Value)
	}
	if len(records) > locktable.EntryRecordsMax || bytes > locktable.EntryBytesMax {
		r.t.Fatalf("entry %d changed %d records of %d bytes", r.index, len(records), bytes)
	}
	return len(records)
}

// tickAll ticks until nothing is left and returns how many entries it took.
func (r *run) tickAll() (n int) {
	r.t.Helper()
	for ; r.table.Work().Left; n++ {
		r.apply(&locktable.Tick{Term: 1})
		r.changed()
	}
	return n
}

func waitsOver(effects []locktable.Effect) (over []locktable.Effect) {
	for _, e := range effects {
		if e.Kind == locktable.WaitOver {
			over = append(over, e)
		}
	}
	return over
}

func TestReleaseWakesOneOfManyWaiters(t *testing.T) {
	const waiters = 100_000
	r := newRun(t)
	holder := r.open()
	r.want(r.acquire(holder, locktable.Exclusive, 0, "x").Code, locktable.Granted)
	var life session.Life
	var places []session.Life
	for i := range waiters {
		if i%locktable.RecordsPerNameMax == 0 {
			life = r.open()
		}
		r.want(r.acquire(life, locktable.Exclusive, locktable.Forever, "x").Code, locktable.Queued)
		places = append(places, life)
	}
	r.table.Cut()
	r.want(r.acquire(life, locktable.Exclusive, 0, "x").Code, locktable.Held)
	r.changed()
	for i := range 1000 {
		applied := r.apply(&locktable.Release{Request: r.request(holder), Name: "x", Token: uint64(i + 1)})
		r.want(applied.Reply.Code, locktable.OK)
		over := waitsOver(applied.Effects)
		if len(over) != 1 || over[0].Session != places[i] || len(applied.Effects) != 3 {
			t.Fatalf("release %d had the effects %+v", i, applied.Effects)
		}
		// The hold that ended and the one that began, the wait, the lock, the releasing session. The dead hold is a record only if it was
		// there at the cut before.
		if n := r.changed(); n > 5 {
			t.Fatalf("release %d changed %d records", i, n)
		}
		holder = over[0].Session
	}
}

func TestHugeSessionExpiresInSteps(t *testing.T) {
	const holds = 200_000
	r := newRun(t)
	big, other := r.open(), r.open()
	for i := range holds {
		r.want(r.acquire(big, locktable.Exclusive, 0, fmt.Sprint("big/", i)).Code, locktable.Granted)
		if r.table.Full() {
			r.table.Cut()
		}
	}
	r.table.Cut()
	r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{big}})
	r.changed()
	steps := 0
	for ; r.table.Work().Left; steps++ {
		r.apply(&locktable.Tick{Term: 1})
		r.changed()
		// Others go on between the steps, and find what the dead session held free.
		name := fmt.Sprint("big/", holds-1-steps)
		reply := r.acquire(other, locktable.Exclusive, 0, name)
		r.want(reply.Code, locktable.Granted)
		if reply.Previous.How != locktable.Expired {
			t.Fatalf("%s: the hold before %s", name, reply.Previous.How)
		}
		if n := r.changed(); n > 8 {
			t.Fatalf("an acquire between the steps changed %d records", n)
		}
	}
	locks, living, dead := r.table.Len()
	if locks != steps || living != 1 || dead != 0 {
		t.Fatalf("after %d steps: %d locks, %d living and %d dead sessions", steps, locks, living, dead)
	}
	if steps < holds/locktable.EntryRecordsMax {
		t.Fatalf("only %d steps", steps)
	}
}

func TestManyReadersComeForwardInStepsAndInOrder(t *testing.T) {
	const readers = 5000
	r := newRun(t)
	writer, late := r.open(), r.open()
	r.want(r.acquire(writer, locktable.Exclusive, 0, "x").Code, locktable.Granted)
	var order []session.Life
	var life session.Life
	for i := range readers {
		if i%locktable.RecordsPerNameMax == 0 {
			life = r.open()
		}
		r.want(r.acquire(life, locktable.Shared, locktable.Forever, "x").Code, locktable.Queued)
		order = append(order, life)
	}
	store := newStore()
	all := r.table.All()
	r.table.Cut()
	for _, record := range all.Records {
		store.records[string(record.Key)] = record.Value
	}
	store.last = all
	var granted []session.Life
	note := func(effects []locktable.Effect) {
		for _, e := range waitsOver(effects) {
			granted = append(granted, e.Session)
		}
		store.cut(t, r.table)
	}
	note(r.apply(&locktable.Release{Request: r.request(writer), Name: "x", Token: 1}).Effects)
	// One that comes now does not pass those that may be granted but are not yet.
	q := r.request(late)
	applied := r.apply(&locktable.Acquire{Request: q, Names: []string{"x"}, Mode: locktable.Shared})
	r.want(applied.Reply.Code, locktable.Held)
	note(applied.Effects)
	for r.table.Work().Left {
		r.table = store.load(t) // what is left over is part of the state
		note(r.apply(&locktable.Tick{Term: 1}).Effects)
	}
	if !slices.Equal(granted, order) {
		t.Fatalf("%d of %d were granted, or in another order", len(granted), len(order))
	}
}

func TestManyLeasesDueAtOnce(t *testing.T) {
	const leases = 20_000
	r := newRun(t)
	s := r.open()
	for i := range leases {
		q := r.request(s)
		a := &locktable.Acquire{
			Request: q, Names: []string{fmt.Sprint("l/", i)}, Mode: locktable.Exclusive, Owner: 1, LeaseID: session.ID{1}, LeaseTTL: time.Minute,
		}
		r.want(r.apply(a).Reply.Code, locktable.Granted)
	}
	r.table.Cut()
	r.clock = time.Minute
	// What is due and not yet fired counts as fired.
	last := fmt.Sprint("l/", leases-1)
	r.want(r.apply(&locktable.RenewLease{Name: last, ID: session.ID{1}, Token: leases, TTL: time.Hour}).Reply.Code, locktable.Gone)
	r.changed()
	if c := r.table.CheckToken("l/9999", 10_000); c.Validity != locktable.Free {
		t.Fatalf("a due lease is %s", c.Validity)
	}
	r.want(r.acquire(s, locktable.Exclusive, 0, "l/9999").Code, locktable.Granted)
	r.changed()
	if n := r.tickAll(); n < leases/locktable.EntryRecordsMax {
		t.Fatalf("only %d ticks", n)
	}
	if locks, _, _ := r.table.Len(); locks != 1 {
		t.Fatalf("%d locks are left", locks)
	}
}

func TestManyNamesNeverDeadlock(t *testing.T) {
	const names, clients = 10_000, 500
	r := newRun(t)
	rng := rand.New(rand.NewPCG(1, 2))
	type holding struct {
		life session.Life
		name string
	}
	held := make(map[uint64]holding)
	first := make(map[session.Life]string)
	for range clients {
		s := r.open()
		var wanted []string
		for _, n := range rng.Perm(names)[:locktable.NamesMax] {
			wanted = append(wanted, fmt.Sprint("n/", n))
		}
		first[s] = wanted[0]
		reply := r.acquire(s, locktable.Exclusive, locktable.Forever, wanted...)
		if reply.Code == locktable.Granted {
			held[reply.Token] = holding{s, wanted[0]}
		} else {
			r.want(reply.Code, locktable.Queued)
		}
	}
	r.table.Cut()
	done := 0
	for len(held) > 0 {
		tokens := make([]uint64, 0, len(held))
		for token := range held {
			tokens = append(tokens, token)
		}
		slices.Sort(tokens)
		token := tokens[rng.IntN(len(tokens))]
		h := held[token]
		delete(held, token)
		applied := r.apply(&locktable.Release{Request: r.request(h.life), Name: h.name, Token: token})
		r.want(applied.Reply.Code, locktable.OK)
		done++
		for _, e := range waitsOver(applied.Effects) {
			held[e.Reply.Token] = holding{e.Session, first[e.Session]}
		}
		if r.changed(); r.table.Work().Left {
			t.Fatalf("entry %d left something over", r.index)
		}
	}
	if locks, _, _ := r.table.Len(); done != clients || locks != 0 {
		t.Fatalf("%d of %d were granted; %d locks are left", done, clients, locks)
	}
}

// Mass expiry: many sessions wait for one name and die in few entries, while others go on with it.
func TestManyDeadWaitersCountAsGone(t *testing.T) {
	r := newRun(t)
	holder, next := r.open(), r.open()
	r.want(r.acquire(holder, locktable.Exclusive, 0, "x").Code, locktable.Granted)
	var dead []session.Life
	for range 4 * locktable.ExpireMax {
		s := r.open()
		r.want(r.acquire(s, locktable.Exclusive, locktable.Forever, "x").Code, locktable.Queued)
		dead = append(dead, s)
	}
	r.want(r.acquire(next, locktable.Exclusive, locktable.Forever, "x").Code, locktable.Queued)
	r.table.Cut()
	for part := range slices.Chunk(dead, locktable.ExpireMax) {
		r.apply(&locktable.Expire{Term: 1, Lives: part})
		r.changed()
	}
	if v, _ := r.table.Lock("x", 10); v.Queue != 1 || len(v.Waiters) != 1 || v.Waiters[0].Session != next {
		t.Fatalf("%d wait, and %+v is first", v.Queue, v.Waiters)
	}
	over := waitsOver(r.apply(&locktable.Release{Request: r.request(holder), Name: "x", Token: 1}).Effects)
	if len(over) != 1 || over[0].Session != next {
		t.Fatalf("the release had the effects %+v", over)
	}
	r.changed()
	r.tickAll()
	if _, living, dead := r.table.Len(); living != 2 || dead != 0 {
		t.Fatalf("%d living and %d dead sessions", living, dead)
	}
}

// The records of the dead on one name are more than one entry may remove, yet the lock is begun anew, as another kind.
func TestLockOfTheDeadIsBegunAnew(t *testing.T) {
	r := newRun(t)
	next := r.open()
	var dead []session.Life
	for range 20 {
		s := r.open()
		dead = append(dead, s)
		for range locktable.RecordsPerNameMax {
			q := r.request(s)
			a := &locktable.Acquire{Request: q, Names: []string{"x"}, Mode: locktable.Slot, Limit: 5000, Owner: q.Seq}
			r.want(r.apply(a).Reply.Code, locktable.Granted)
		}
	}
	q := r.request(dead[0])
	one := &locktable.Acquire{Request: q, Names: []string{"x"}, Mode: locktable.Slot, Limit: 5000, Owner: q.Seq}
	r.want(r.apply(one).Reply.Code, locktable.TooManyHere)
	r.want(r.acquire(next, locktable.Exclusive, 0, "x").Code, locktable.WrongKind)
	r.table.Cut()
	r.apply(&locktable.Expire{Term: 1, Lives: dead})
	r.changed()
	if _, ok := r.table.Lock("x", 1); ok {
		t.Fatal("the lock exists")
	}
	r.want(r.acquire(next, locktable.Exclusive, 0, "x").Code, locktable.Granted)
	r.changed()
	r.want(r.acquire(next, locktable.Shared, 0, "x").Code, locktable.Held)
	r.tickAll()
	v, ok := r.table.Lock("x", 5)
	if !ok || v.Held != 1 || v.Limit != 0 || v.Holders[0].Session != next {
		t.Fatalf("the lock is %+v", v)
	}
	store := newStore()
	all := r.table.All()
	for _, record := range all.Records {
		store.records[string(record.Key)] = record.Value
	}
	store.last = all
	store.check(t, r.table)
}

// Large values count: no entry writes more than its bytes, however few records they are.
func TestGrantsOfLargeValuesAreSpread(t *testing.T) {
	r := newRun(t)
	writer, reader := r.open(), r.open()
	r.want(r.acquire(writer, locktable.Exclusive, 0, "x").Code, locktable.Granted)
	const readers = 40
	for range readers {
		q := r.request(reader)
		a := &locktable.Acquire{
			Request: q, Names: []string{"x"}, Mode: locktable.Shared, Wait: locktable.Forever, Owner: q.Seq,
			Value: make([]byte, locktable.ValueMax),
		}
		r.want(r.apply(a).Reply.Code, locktable.Queued)
	}
	r.table.Cut()
	r.apply(&locktable.Release{Request: r.request(writer), Name: "x", Token: 1})
	entries := 0
	for ; ; entries++ {
		bytes := 0
		for _, record := range r.table.Cut().Records {
			bytes += len(record.Key) + len(record.Value)
		}
		if bytes > locktable.EntryBytesMax {
			t.Fatalf("an entry wrote %d bytes", bytes)
		}
		if !r.table.Work().Left {
			break
		}
		r.apply(&locktable.Tick{Term: 1})
	}
	if v, _ := r.table.Lock("x", 1); v.Held != readers || entries < 2 {
		t.Fatalf("%d readers came forward in %d entries", v.Held, entries)
	}
}

// A set of changes that is cut when it is full fits into one transaction of the checkpoint's store.
func TestFullSetFitsOneTransaction(t *testing.T) {
	const transaction = 1_260_000
	r := newRun(t)
	rng := rand.New(rand.NewPCG(3, 3))
	var lives []session.Life
	for range 50 {
		lives = append(lives, r.open())
	}
	seqs := make(map[session.Life]uint64)
	cuts := 0
	for cuts < 40 {
		l := lives[rng.IntN(len(lives))]
		seqs[l] = seqs[l]%session.WindowMax + 1
		q := locktable.Request{Session: l, Seq: seqs[l]} // nothing is acknowledged: results pile up, then come from memory
		value := make([]byte, rng.IntN(2)*rng.IntN(locktable.ValueMax))
		name := fmt.Sprint("n/", rng.IntN(400))
		if rng.IntN(3) > 0 {
			r.apply(&locktable.Acquire{Request: q, Names: []string{name}, Mode: locktable.Exclusive, Value: value, Owner: q.Seq})
		} else if v, ok := r.table.Lock(name, 1); ok {
			q.Session = v.Holders[0].Session
			r.apply(&locktable.SetValue{Request: q, Name: name, Token: v.Newest, Value: value})
		}
		if !r.table.Full() {
			continue
		}
		cuts++
		bytes := 0
		for _, record := range r.table.Cut().Records {
			bytes += len(record.Key) + len(record.Value)
		}
		if bytes > transaction {
			t.Fatalf("a full set of changes has %d bytes", bytes)
		}
		lives[rng.IntN(len(lives))] = r.open()
	}
}
