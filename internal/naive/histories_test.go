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
	"github.com/google/go-cmp/cmp/cmpopts"
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
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory(t)
		for range rapid.IntRange(1, 70).Draw(t, "entries") {
			h.step(t)
		}
	})
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
}

var names = []string{"a", "b", "c"}

func newHistory(t *rapid.T) *history {
	h := &history{table: locktable.NewTable(), model: naive.New(), term: 1,
		lives: []session.Life{{}}, seqs: map[session.Life]uint64{}, tokens: []uint64{0},
	}
	h.apply(t, &locktable.Incarnate{Incarnation: [16]byte{1}, Seed: 1000})
	for range 2 {
		h.apply(t, h.open(t))
	}
	return h
}

// step applies one drawn entry, now and then after the node was started again from its records.
func (h *history) step(t *rapid.T) {
	switch rapid.IntRange(0, 15).Draw(t, "time") {
	case 0:
		h.clock += 40 * time.Second
	case 1, 2, 3, 4:
		h.clock += time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond
	}
	if rapid.IntRange(0, 30).Draw(t, "restart") == 0 {
		h.restart(t)
	}
	if rapid.IntRange(0, 30).Draw(t, "election") == 0 {
		h.term++
	}
	cmd := h.draw(t)
	if rapid.IntRange(0, 9).Draw(t, "repeat") == 0 && len(h.past) > 0 {
		cmd = rapid.SampledFrom(h.past).Draw(t, "past") // a late duplicate
	}
	h.apply(t, cmd)
}

func (h *history) draw(t *rapid.T) locktable.Command {
	switch rapid.IntRange(0, 24).Draw(t, "command") {
	case 0:
		return h.open(t)
	case 1:
		return &locktable.Close{Session: h.life(t)}
	case 2, 3:
		e := &locktable.Expire{Term: h.decidedIn(t)}
		for range rapid.IntRange(0, 2).Draw(t, "lives") {
			e.Lives = append(e.Lives, h.life(t))
		}
		return e
	case 4, 5:
		return &locktable.Tick{Term: h.decidedIn(t)}
	case 6:
		if rapid.IntRange(0, 3).Draw(t, "incarnate") == 0 {
			return &locktable.Incarnate{Incarnation: [16]byte{0: byte(rapid.IntRange(0, 3).Draw(t, "incarnation"))}, Seed: 5000, Wait: rapid.SampledFrom([]time.Duration{-1, 0, time.Second}).Draw(t, "pause")}
		}
		return &locktable.Tick{Term: h.term}
	case 7, 8, 9, 10:
		return &locktable.Release{Request: h.request(t), Name: h.name(t), Token: h.token(t)}
	case 11, 12, 13:
		c := &locktable.Cancel{Request: h.request(t), Name: h.name(t)}
		c.Target = c.Seq + 1 - min(c.Seq+1, rapid.Uint64Range(0, 5).Draw(t, "back"))
		return c
	case 14:
		return &locktable.SetValue{Request: h.request(t), Name: h.name(t), Token: h.token(t), LeaseID: h.leaseID(t), Value: []byte{7}}
	case 15:
		return &locktable.RenewLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t), TTL: h.leaseTTL(t)}
	case 16:
		return &locktable.ReleaseLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t)}
	case 17:
		return &locktable.TakeLease{Name: h.name(t), ID: h.leaseID(t), Token: h.token(t), NewID: h.leaseID(t), TTL: h.leaseTTL(t)}
	default:
		return h.acquire(t)
	}
}

func (h *history) open(t *rapid.T) locktable.Command {
	return &locktable.Open{
		ID:    session.ID{15: byte(rapid.IntRange(1, 3).Draw(t, "id"))},
		TTL:   rapid.SampledFrom([]time.Duration{time.Second, 15 * time.Second, session.TTLMax}).Draw(t, "ttl"),
		Grace: rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "grace"),
	}
}

func (h *history) acquire(t *rapid.T) locktable.Command {
	a := &locktable.Acquire{
		Request: h.request(t), Owner: rapid.Uint64Range(1, 3).Draw(t, "owner"),
		Mode: rapid.SampledFrom([]locktable.Mode{locktable.Exclusive, locktable.Exclusive, locktable.Shared}).Draw(t, "mode"),
		Wait: rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second, locktable.Forever, locktable.Forever}).Draw(t, "wait"),
	}
	if rapid.IntRange(0, 3).Draw(t, "several") == 0 {
		a.Names = rapid.SampledFrom([][]string{{"a", "b"}, {"b", "a"}, {"b", "c"}, {"a", "b", "c"}, {"a", "a"}, {}}).Draw(t, "names")
	} else {
		a.Names = []string{h.name(t)}
	}
	// One name is a lock of slots, most of the time.
	if (a.Names != nil && slices.Contains(a.Names, "c")) != (rapid.IntRange(0, 9).Draw(t, "kind") == 0) {
		a.Mode, a.Limit = locktable.Slot, uint32(rapid.IntRange(1, 2).Draw(t, "limit"))
	}
	switch rapid.IntRange(0, 7).Draw(t, "option") {
	case 0:
		a.Reentrant = true
	case 1, 2:
		a.Delay = time.Duration(rapid.IntRange(1, 20).Draw(t, "delay")) * 100 * time.Millisecond
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
	if rapid.IntRange(0, 7).Draw(t, "jump") == 0 {
		seq = rapid.Uint64Range(max(seq, 4)-3, seq+2).Draw(t, "seq")
	}
	q := locktable.Request{Session: life, Seq: seq}
	if rapid.Bool().Draw(t, "ack") {
		q.Acked = seq - min(seq, rapid.Uint64Range(1, 6).Draw(t, "behind"))
	}
	for range rapid.IntRange(0, 2).Draw(t, "seen") {
		q.Seen = append(q.Seen, seq-min(seq, rapid.Uint64Range(0, 6).Draw(t, "seen back")))
	}
	if rapid.IntRange(0, 60).Draw(t, "far") == 0 {
		q.Seq += session.WindowMax
	} else {
		h.seqs[life] = max(h.seqs[life], seq)
	}
	return q
}

func (h *history) life(t *rapid.T) session.Life {
	if rapid.IntRange(0, 5).Draw(t, "any life") == 0 {
		return rapid.SampledFrom(h.lives).Draw(t, "life")
	}
	return h.lives[len(h.lives)-1-rapid.IntRange(0, min(len(h.lives), 3)-1).Draw(t, "late life")]
}

func (h *history) token(t *rapid.T) uint64 {
	last := len(h.tokens) - 1
	return h.tokens[last-rapid.IntRange(0, min(last, 4)).Draw(t, "token")]
}

func (h *history) name(t *rapid.T) string { return rapid.SampledFrom(names).Draw(t, "name") }

func (h *history) leaseID(t *rapid.T) session.ID {
	return session.ID{0: byte(rapid.IntRange(0, 3).Draw(t, "lease"))}
}

func (h *history) leaseTTL(t *rapid.T) time.Duration {
	return rapid.SampledFrom([]time.Duration{time.Second, 3 * time.Second, 30 * time.Second, 0}).Draw(t, "lease ttl")
}

func (h *history) decidedIn(t *rapid.T) uint64 {
	if rapid.IntRange(0, 9).Draw(t, "other term") == 0 {
		return h.term - 1
	}
	return h.term
}

// apply applies a command to both and compares.
func (h *history) apply(t *rapid.T, cmd locktable.Command) {
	h.index++
	stamp := h.clock
	if rapid.IntRange(0, 9).Draw(t, "old stamp") == 0 {
		stamp = h.clock / 2
	}
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, stamp)
	got, err := h.table.Apply(h.index, h.term, data)
	if err != nil {
		t.Fatal(err)
	}
	reply, effects := h.model.Apply(h.index, h.term, cmd, stamp)
	where := fmt.Sprintf("entry %d, %T %+v", h.index, cmd, cmd)
	t.Logf("%s → %+v", where, reply)
	equal(t, where+": reply", got.Reply, reply)
	equal(t, where+": effects", got.Effects, effects)
	h.compare(t, where)
	h.past = append(h.past, cmd)
	h.note(reply, effects)
}

// note keeps what later commands may refer to.
func (h *history) note(reply locktable.Reply, effects []locktable.Effect) {
	h.grantedBy(reply)
	for _, e := range effects {
		h.grantedBy(e.Reply)
		if e.Kind == locktable.Opened {
			h.lives = append(h.lives, e.Session)
		}
	}
}

func (h *history) grantedBy(r locktable.Reply) {
	if r.Code == locktable.Granted && !slices.Contains(h.tokens, r.Token) {
		h.tokens = append(h.tokens, r.Token)
	}
}

// compare compares the states.
func (h *history) compare(t *rapid.T, where string) {
	equal(t, where+": clock", h.table.Clock(), h.model.Clock())
	equal(t, where+": counter", h.table.Counter(), h.model.Counter())
	equal(t, where+": lives", slices.Collect(h.table.Lives()), slices.Collect(h.model.Lives()))
	equal(t, where+": names", h.table.Names(""), h.model.Names())
	for _, name := range names {
		v, _ := h.table.Lock(name, 100)
		equal(t, where+": holders of "+name, v.Holders, h.model.Holders(name))
		equal(t, where+": waiters of "+name, v.Waiters, h.model.Waiters(name))
		for _, token := range h.tokens[max(0, len(h.tokens)-4):] {
			equal(t, where+": token", h.table.CheckToken(name, token).Validity, h.model.CheckToken(name, token))
		}
	}
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

var options = gocmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(locktable.Holder{}, "Since", "Metadata"),
	cmpopts.IgnoreFields(locktable.Waiter{}, "Since", "Metadata"),
}

func equal[T any](t *rapid.T, what string, got, want T) {
	t.Helper()
	if !gocmp.Equal(got, want, options) {
		t.Fatalf("%s: -naive +table\n%s", what, gocmp.Diff(want, got, options))
	}
}
