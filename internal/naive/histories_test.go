package naive_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lockd/lockd/internal/naive"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestHistories compares the real table with the naive one over LOCKD_HISTORIES (2,000) random histories: every reply, every
// effect, and the state after every entry.
func TestHistories(t *testing.T) {
	if err := flag.Set("rapid.checks", cmp.Or(os.Getenv("LOCKD_HISTORIES"), "2000")); err != nil {
		t.Fatal(err)
	}
	if err := flag.Set("test.short", "false"); err != nil { // rapid would run a fifth of them, which need not meet every outcome
		t.Fatal(err)
	}
	met := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		h.met = met
		for range 1 + roll(t, "entries", 70) {
			h.step(t)
		}
	})
	entries := 0
	for code := locktable.OK; code <= locktable.Ignored; code++ {
		entries += met[code.String()]
		// The limits of a session and of a lock are beyond short histories; they have tests of their own.
		if met[code.String()] == 0 && (code < locktable.TooManyHolds || code == locktable.Ignored) {
			t.Errorf("no entry of any history was answered with %q", code)
		}
	}
	for _, effect := range []string{"opened", "ended", "wait over", "revoked", "changed"} {
		if met[effect] == 0 {
			t.Errorf("no entry of any history had the effect %q", effect)
		}
	}
	t.Logf("%d entries: %v", entries, met)
}

// history is a log that is applied to both, and what its entries may refer to.
type history struct {
	table *locktable.Table
	model *naive.Model

	index, term uint64
	clock       time.Duration
	lives       []session.Life
	seqs        map[session.Life]uint64
	tokens      []uint64 // 0 at first
	past        []locktable.Command
	met         map[string]int // replies and effects, by name
}

var names = []string{"a", "b", "c"}

func newHistory(t *rapid.T) *history {
	h := &history{
		table: locktable.NewTable(), model: naive.New(), term: 1,
		lives: []session.Life{{}}, seqs: map[session.Life]uint64{}, tokens: []uint64{0},
	}
	h.apply(t, &locktable.Incarnate{Incarnation: [16]byte{1}, Seed: 1000})
	for range 2 {
		h.apply(t, h.open(t))
	}
	return h
}

// roll draws a number below n. Unlike the generators of rapid it favours none, but still shrinks to 0.
func roll(t *rapid.T, label string, n int) int { return int(rapid.Uint64().Draw(t, label) % uint64(n)) }

func pick[T any](t *rapid.T, label string, from []T) T { return from[roll(t, label, len(from))] }

// step applies one drawn entry, now and then after the node was started again from its records.
func (h *history) step(t *rapid.T) {
	switch roll(t, "time", 16) {
	case 0:
		h.clock += 40 * time.Second
	case 1, 2, 3, 4:
		h.clock += time.Duration(roll(t, "ms", 2501)) * time.Millisecond
	}
	if roll(t, "restart", 31) == 0 {
		h.restart(t)
	}
	if roll(t, "election", 31) == 0 {
		h.term++
	}
	cmd := h.draw(t)
	if roll(t, "repeat", 10) == 0 && len(h.past) > 0 {
		cmd = pick(t, "past", h.past) // a late duplicate
	}
	h.apply(t, cmd)
}

func (h *history) draw(t *rapid.T) locktable.Command {
	switch n := roll(t, "command", 100); {
	case n < 4:
		return h.open(t)
	case n < 5:
		return &locktable.Close{Session: h.life(t)}
	case n < 9:
		e := &locktable.Expire{Term: h.decidedIn(t)}
		for range roll(t, "lives", 3) * roll(t, "any", 2) {
			e.Lives = append(e.Lives, h.life(t))
		}
		return e
	case n < 15:
		return &locktable.Tick{Term: h.decidedIn(t)}
	case n < 16:
		pause := pick(t, "pause", []time.Duration{-1, 0, time.Second})
		return &locktable.Incarnate{Incarnation: [16]byte{0: byte(roll(t, "incarnation", 9))}, Seed: 5000, Wait: pause}
	case n < 35:
		return &locktable.Release{Request: h.request(t), Name: h.name(t), Token: h.token(t)}
	case n < 46:
		c := &locktable.Cancel{Request: h.request(t), Name: h.name(t)}
		c.Target = c.Seq + 1 - min(c.Seq+1, uint64(roll(t, "back", 6)))
		return c
	case n < 50:
		return &locktable.SetValue{Request: h.request(t), Name: h.name(t), Token: h.token(t), LeaseID: h.leaseID(t), Value: []byte{7}}
	case n < 53:
		return &locktable.RenewLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t), TTL: h.leaseTTL(t)}
	case n < 56:
		return &locktable.ReleaseLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t)}
	case n < 60:
		return &locktable.TakeLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t), NewID: h.leaseID(t), TTL: h.leaseTTL(t)}
	default:
		return h.acquire(t)
	}
}

func (h *history) open(t *rapid.T) locktable.Command {
	return &locktable.Open{
		ID:    session.ID{15: byte((1 + roll(t, "id", 3)))},
		TTL:   pick(t, "ttl", []time.Duration{time.Second, 15 * time.Second, session.TTLMax}),
		Grace: pick(t, "grace", []time.Duration{0, 0, time.Second}),
	}
}

func (h *history) acquire(t *rapid.T) locktable.Command {
	a := &locktable.Acquire{
		Request: h.request(t), Owner: rapid.Uint64Range(1, 3).Draw(t, "owner"),
		Mode: pick(t, "mode", []locktable.Mode{locktable.Exclusive, locktable.Exclusive, locktable.Shared}),
		Wait: pick(t, "wait", []time.Duration{0, time.Second, 3 * time.Second, locktable.Forever, locktable.Forever}),
	}
	if roll(t, "several", 4) == 0 {
		a.Names = pick(t, "names", [][]string{{"a", "b"}, {"b", "a"}, {"b", "c"}, {"a", "b", "c"}, {"a", "a"}, {}})
	} else {
		a.Names = []string{h.name(t)}
	}
	// One name is a lock of slots, most of the time.
	if (a.Names != nil && slices.Contains(a.Names, "c")) != (roll(t, "kind", 10) == 0) {
		a.Mode, a.Limit = locktable.Slot, uint32((1 + roll(t, "limit", 2)))
	}
	switch roll(t, "option", 8) {
	case 0, 5:
		a.Reentrant = true
		if last := len(h.past); last > 0 && roll(t, "once more", 2) == 0 {
			if before, ok := h.past[last-1].(*locktable.Acquire); ok { // the same, perhaps of the same owner
				a.Names, a.Mode, a.Limit, a.Owner = before.Names, before.Mode, before.Limit, before.Owner
			}
		}
	case 1, 2:
		a.Delay = time.Duration((1 + roll(t, "delay", 20))) * 100 * time.Millisecond
	case 3:
		if a.LeaseTTL = h.leaseTTL(t); a.LeaseTTL > 0 {
			a.LeaseID = h.leaseID(t)
		}
	case 4:
		a.Value = []byte{1, 2}
	}
	return a
}

// request draws a request: most of them are the next one of their session, some are older, newer, or repeat a number.
func (h *history) request(t *rapid.T) locktable.Request {
	life := h.life(t)
	seq := h.seqs[life] + 1
	if roll(t, "jump", 8) == 0 {
		seq = rapid.Uint64Range(max(seq, 4)-3, seq+2).Draw(t, "seq")
	}
	q := locktable.Request{Session: life, Seq: seq}
	if rapid.Bool().Draw(t, "ack") {
		q.Acked = seq - min(seq, rapid.Uint64Range(1, 6).Draw(t, "behind"))
	}
	for range roll(t, "seen", 3) {
		q.Seen = append(q.Seen, seq-min(seq, rapid.Uint64Range(0, 6).Draw(t, "seen back")))
	}
	if roll(t, "far", 61) == 0 {
		q.Seq += session.WindowMax
	} else {
		h.seqs[life] = max(h.seqs[life], seq)
	}
	return q
}

// life draws a session: most of the time one that lives.
func (h *history) life(t *rapid.T) session.Life {
	living := slices.Collect(h.model.Lives())
	if len(living) == 0 || roll(t, "any life", 12) == 1 {
		return pick(t, "life", h.lives)
	}
	return pick(t, "living", living).Life
}

func (h *history) token(t *rapid.T) uint64 {
	last := len(h.tokens) - 1
	return h.tokens[last-roll(t, "token", min(last, 4)+1)]
}

func (h *history) name(t *rapid.T) string { return pick(t, "name", names) }

func (h *history) leaseID(t *rapid.T) session.ID {
	return session.ID{0: byte(1+roll(t, "lease", 4)) % 4}
}

func (h *history) leaseTTL(t *rapid.T) time.Duration {
	return pick(t, "lease ttl", []time.Duration{time.Second, 3 * time.Second, 3 * time.Second, 30 * time.Second, 0})
}

func (h *history) decidedIn(t *rapid.T) uint64 {
	if roll(t, "other term", 10) == 0 {
		return h.term - 1
	}
	return h.term
}

// apply applies a command to both and compares.
func (h *history) apply(t *rapid.T, cmd locktable.Command) {
	h.index++
	stamp := h.clock
	if roll(t, "old stamp", 10) == 0 {
		stamp = h.clock / 2
	}
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, stamp)
	got, err := h.table.Apply(h.index, h.term, data)
	if err != nil {
		t.Fatal(err)
	}
	reply, effects := h.model.Apply(h.index, h.term, cmd, stamp)
	where := entry{h, cmd}
	t.Logf("%v → %+v", where, reply)
	if got.Reply != reply || !slices.Equal(got.Effects, effects) {
		t.Fatalf("%v: reply and effects: -naive +table\n%s", where, cmp.Or(diff(reply, got.Reply), diff(effects, got.Effects)))
	}
	h.compare(t, where)
	h.past = append(h.past, cmd)
	h.note(reply, effects)
}

// note keeps what later commands may refer to.
func (h *history) note(reply locktable.Reply, effects []locktable.Effect) {
	h.grantedBy(reply)
	if h.met != nil {
		h.met[reply.Code.String()]++
	}
	for _, e := range effects {
		if h.met != nil {
			h.met[effectNames[e.Kind]]++
		}
		h.grantedBy(e.Reply)
		if e.Kind == locktable.Opened {
			h.lives = append(h.lives, e.Session)
		}
	}
}

var effectNames = map[locktable.EffectKind]string{
	locktable.Opened: "opened", locktable.Ended: "ended", locktable.WaitOver: "wait over", locktable.Revoked: "revoked",
	locktable.Changed: "changed",
}

func (h *history) grantedBy(r locktable.Reply) {
	if r.Code == locktable.Granted && !slices.Contains(h.tokens, r.Token) {
		h.tokens = append(h.tokens, r.Token)
	}
}

// entry names the last entry.
type entry struct {
	h   *history
	cmd locktable.Command
}

func (e entry) String() string {
	return fmt.Sprintf("at %v, term %d, entry %d, %T %+v", e.h.model.Clock(), e.h.term, e.h.index, e.cmd, e.cmd)
}

// compare compares the states.
func (h *history) compare(t *rapid.T, where entry) {
	if h.table.Clock() != h.model.Clock() || h.table.Counter() != h.model.Counter() {
		t.Fatalf("%v: clock and counter: %v and %d, not %v and %d", where, h.table.Clock(), h.table.Counter(), h.model.Clock(), h.model.Counter())
	}
	if got, want := slices.Collect(h.table.Lives()), slices.Collect(h.model.Lives()); !slices.Equal(got, want) {
		t.Fatalf("%v: lives: -naive +table\n%s", where, diff(want, got))
	}
	if got, want := h.table.Names(""), h.model.Names(); !slices.Equal(got, want) {
		t.Fatalf("%v: names: %v, not %v", where, got, want)
	}
	for _, name := range names {
		v, _ := h.table.Lock(name, 100)
		if want := h.model.Holders(name); !slices.EqualFunc(v.Holders, want, sameHolder) {
			t.Fatalf("%v: holders of %s: -naive +table\n%s", where, name, diff(want, v.Holders))
		}
		if want := h.model.Waiters(name); !slices.EqualFunc(v.Waiters, want, sameWaiter) {
			t.Fatalf("%v: waiters of %s: -naive +table\n%s", where, name, diff(want, v.Waiters))
		}
		for _, token := range h.tokens[max(0, len(h.tokens)-4):] {
			if got, want := h.table.CheckToken(name, token).Validity, h.model.CheckToken(name, token); got != want {
				t.Fatalf("%v: token %d of %s: %d, not %d", where, token, name, got, want)
			}
		}
	}
}

func sameHolder(a, b locktable.Holder) bool {
	return a.Token == b.Token && a.Session == b.Session && a.Owner == b.Owner && a.Mode == b.Mode && a.Levels == b.Levels &&
		slices.Equal(a.Names, b.Names) && a.Lease == b.Lease && a.Until == b.Until && a.Ended == b.Ended && slices.Equal(a.Value, b.Value)
}

func sameWaiter(a, b locktable.Waiter) bool {
	return a.Session == b.Session && a.Seq == b.Seq && a.Owner == b.Owner && a.Mode == b.Mode && a.Until == b.Until &&
		slices.Equal(a.Names, b.Names) && slices.Equal(a.Value, b.Value)
}

// restart builds the table anew from its records.
func (h *history) restart(t *rapid.T) {
	all := h.table.All()
	l, err := locktable.NewLoader(all.Index, all.Term, all.Meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all.Records {
		if err := l.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if h.table, err = l.Done(all.Hash, all.Count); err != nil {
		t.Fatal(err)
	}
}

func diff[T any](want, got T) string { return gocmp.Diff(want, got) }
