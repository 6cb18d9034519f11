package replica_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// history is a log, and what a table that never knew a disk made of it.
type history struct {
	entries []raft.Entry
	replies []locktable.Reply       // of entries[i]; zero for what is no command
	states  map[raft.Index]fixture  // after each entry
	table   *locktable.Table        // after the last one
	configs map[raft.Index][]string // voters' addresses in force
}

type fixture struct {
	hash  session.Hash
	count int
}

func configOf(addresses ...string) raft.Config {
	var c raft.Config
	for i, a := range addresses {
		c.Voters = append(c.Voters, raft.Peer{ID: raft.PeerID{Node: raft.NodeID(i + 1), Incarnation: 1}, Address: a})
	}
	return c
}

// newHistory draws n entries: several sessions acquire, wait and release over few names, some die, and now and then the
// configuration changes or a leader begins.
func newHistory(seed uint64, n int) *history {
	h := &history{states: map[raft.Index]fixture{}, configs: map[raft.Index][]string{}, table: locktable.NewTable()}
	rng := rand.New(rand.NewPCG(seed, 7))
	lives := map[int]session.Life{}
	seqs := map[session.Life]uint64{}
	voters := []string{"a", "b", "c"}
	h.add(raft.KindConfig, configOf(voters...).AppendBinary(nil), voters)
	h.add(raft.KindNoop, nil, voters)
	for len(h.entries) < n {
		who := rng.IntN(5)
		life, lives0 := lives[who]
		at := locktable.Header{Stamp: time.Duration(len(h.entries)) * time.Second / 10}
		switch draw := rng.IntN(40); {
		case !lives0:
			index := uint64(len(h.entries) + 1)
			open := &locktable.Open{Header: at, ID: session.ID{byte(who + 1), byte(index), byte(index >> 8)}, TTL: time.Minute}
			h.add(raft.KindCommand, locktable.Encode(open), voters)
			lives[who] = session.Life{ID: open.ID, Index: index}
		case draw == 0:
			h.add(raft.KindCommand, locktable.Encode(&locktable.Close{Header: at, Session: life}), voters)
			delete(lives, who)
		case draw == 1:
			voters = append(voters[:1:1], fmt.Sprint(len(h.entries)))
			h.add(raft.KindConfig, configOf(voters...).AppendBinary(nil), voters)
		case draw == 2:
			h.add(raft.KindNoop, nil, voters)
		case draw == 3:
			h.add(raft.KindCommand, locktable.Encode(&locktable.Tick{Header: at, Term: 1}), voters)
		default:
			seqs[life]++
			h.add(raft.KindCommand, h.request(rng, at, locktable.Request{Session: life, Seq: seqs[life], Acked: seqs[life] - 1}), voters)
		}
	}
	return h
}

func (h *history) request(rng *rand.Rand, at locktable.Header, q locktable.Request) []byte {
	name := fmt.Sprintf("name-%d", rng.IntN(12))
	if rng.IntN(2) == 0 {
		if view, ok := h.table.Lock(name, 1); ok && len(view.Holders) > 0 {
			q.Session = view.Holders[0].Session
			return locktable.Encode(&locktable.Release{Header: at, Request: q, Name: name, Token: view.Holders[0].Token})
		}
	}
	return locktable.Encode(&locktable.Acquire{
		Header: at, Request: q, Names: []string{name}, Mode: locktable.Exclusive, Owner: q.Seq,
		Wait: time.Duration(rng.IntN(3)) * 5 * time.Second, Delay: time.Duration(rng.IntN(2)) * time.Second,
		Value: make([]byte, rng.IntN(64)),
	})
}

func (h *history) add(kind raft.Kind, data []byte, voters []string) {
	at := raft.Position{Index: raft.Index(len(h.entries) + 1), Term: 1}
	h.entries = append(h.entries, raft.NewEntry(at, kind, data))
	var reply locktable.Reply
	if kind == raft.KindCommand {
		applied, err := h.table.Apply(uint64(at.Index), uint64(at.Term), data)
		if err != nil {
			panic(err)
		}
		reply = applied.Reply
	}
	h.replies = append(h.replies, reply)
	hash, count := h.table.Hash()
	h.states[at.Index] = fixture{hash, count}
	h.configs[at.Index] = voters
}

func (h *history) last() raft.Index { return raft.Index(len(h.entries)) }

// batch returns entries lo to hi as raft hands them out.
func (h *history) batch(lo, hi raft.Index) raft.Batch {
	entries := h.entries[lo-1 : hi]
	config := configOf(h.configs[hi]...)
	return raft.Batch{Entries: entries, Results: make([]any, len(entries)), Config: config}
}

// apply applies entries lo to hi and compares what is answered.
func (h *history) apply(t testing.TB, r *replica.Replica, lo, hi raft.Index) {
	t.Helper()
	b := h.batch(lo, hi)
	r.Apply(b)
	for i, result := range b.Results {
		outcome, _ := result.(*replica.Outcome)
		if command := b.Entries[i].Kind() == raft.KindCommand; command != (outcome != nil) {
			t.Fatalf("entry %d of kind %v has the outcome %+v", b.Entries[i].Index(), b.Entries[i].Kind(), result)
		}
		if outcome == nil {
			continue
		}
		if diff := cmp.Diff(h.replies[int(lo)+i-1], outcome.Reply); diff != "" {
			t.Fatalf("entry %d (-plain +replica):\n%s", b.Entries[i].Index(), diff)
		}
		if outcome.Began.IsZero() || outcome.Ended.Before(outcome.Began) {
			t.Fatalf("entry %d was applied from %v to %v", b.Entries[i].Index(), outcome.Began, outcome.Ended)
		}
	}
}

// check compares the replica's state with what the plain table had at the same entry.
func (h *history) check(t testing.TB, r *replica.Replica) {
	t.Helper()
	var hash session.Hash
	var count int
	var index uint64
	r.View(func(table *locktable.Table) {
		hash, count = table.Hash() // the tests read alone
		index, _ = table.Index()
	})
	at := r.AppliedIndex()
	if at == 0 && index == 0 {
		return
	}
	if uint64(at) != index {
		t.Fatalf("entry %d is applied, the table is at %d", at, index)
	}
	if want := h.states[at]; hash != want.hash || count != want.count {
		t.Fatalf("after entry %d: hash %v of %d records, the plain table has %v of %d", at, hash, count, want.hash, want.count)
	}
}

// checkMark compares what is durable with the history: it is a state that was, with the configuration then in force.
func (h *history) checkMark(t testing.TB, head checkpoint.Head) {
	t.Helper()
	if head.Index == 0 {
		return
	}
	if want := h.states[head.Index]; head.Hash != want.hash || head.Count != want.count {
		t.Fatalf("durable at entry %d: hash %v of %d records, the plain table has %v of %d", head.Index, head.Hash, head.Count,
			want.hash, want.count)
	}
	var got []string
	for _, v := range head.Config.Voters {
		got = append(got, v.Address)
	}
	if diff := cmp.Diff(h.configs[head.Index], got); diff != "" {
		t.Fatalf("configuration at entry %d (-want +got):\n%s", head.Index, diff)
	}
}

func mustOpen(t testing.TB, o replica.Options) *replica.Replica {
	t.Helper()
	r, err := replica.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// snapshotOf returns the durable state as a stream.
func snapshotOf(t testing.TB, r *replica.Replica) (raft.Mark, []byte) {
	t.Helper()
	if err := r.FlushAll(); err != nil {
		t.Fatal(err)
	}
	s, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	mark := s.Mark()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return mark, b
}
