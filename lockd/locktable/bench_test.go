package locktable_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// pairs applies acquire and release of one session over some names, as encoded entries.
type pairs struct {
	b     *testing.B
	table *locktable.Table
	index uint64
	life  session.Life
	seq   uint64
}

func newPairs(b *testing.B, held int) *pairs {
	b.Helper()
	p := &pairs{b: b, table: locktable.NewTable()}
	p.apply(locktable.Encode(&locktable.Open{ID: session.ID{1}, TTL: time.Minute}))
	p.life = session.Life{ID: session.ID{1}, Index: 1}
	for i := range held {
		p.apply(p.acquire(fmt.Sprintf("held/%011d", i)))
		if p.table.Full() {
			p.table.Cut()
		}
	}
	p.table.Cut()
	return p
}

func (p *pairs) apply(data []byte) locktable.Reply {
	p.index++
	applied, err := p.table.Apply(p.index, 1, data)
	if err != nil {
		p.b.Fatal(err)
	}
	return applied.Reply
}

func (p *pairs) request() locktable.Request {
	p.seq++
	return locktable.Request{Session: p.life, Seq: p.seq, Acked: p.seq - 1}
}

func (p *pairs) acquire(name string) []byte {
	return locktable.Encode(&locktable.Acquire{
		Request: p.request(), Names: []string{name}, Mode: locktable.Exclusive, Wait: locktable.Forever, Owner: p.seq,
	})
}

// encode returns the entries of n pairs that will be applied next, whose tokens begin after token.
func (p *pairs) encode(n int, token uint64) [][]byte {
	entries := make([][]byte, 0, 2*n)
	for i := range n {
		name := fmt.Sprintf("jobs/%011d", i%1000)
		entries = append(entries, p.acquire(name),
			locktable.Encode(&locktable.Release{Request: p.request(), Name: name, Token: token + uint64(i) + 1}))
	}
	return entries
}

// benchmarkPairs measures Apply of a pair; each is what happens between two entries.
func benchmarkPairs(b *testing.B, each func(*locktable.Table)) {
	p := newPairs(b, 10_000)
	const chunk = 1 << 14
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += chunk {
		b.StopTimer()
		n := min(chunk, b.N-done)
		entries := p.encode(n, p.table.Counter())
		b.StartTimer()
		for _, data := range entries {
			if code := p.apply(data).Code; code != locktable.Granted && code != locktable.OK {
				b.Fatal(code)
			}
			each(p.table)
		}
	}
}

// BenchmarkApplyPair applies acquire and release of a free lock, encoded; the checkpoint takes its changes as they fill a set.
func BenchmarkApplyPair(b *testing.B) {
	benchmarkPairs(b, func(t *locktable.Table) {
		if t.Full() {
			t.Cut()
		}
	})
}

// BenchmarkApplyPairHashed does the same and asks for the hash every 1,000 entries: the difference is what the hash costs.
func BenchmarkApplyPairHashed(b *testing.B) {
	n := 0
	benchmarkPairs(b, func(t *locktable.Table) {
		if t.Full() {
			t.Cut()
		}
		if n++; n%1000 == 0 {
			t.Hash()
		}
	})
}

// BenchmarkApplyPairHashedEach asks for the hash after every entry, as a simulator does.
func BenchmarkApplyPairHashedEach(b *testing.B) {
	benchmarkPairs(b, func(t *locktable.Table) {
		if t.Full() {
			t.Cut()
		}
		t.Hash()
	})
}

// BenchmarkHandOver releases a lock with 100 waiters; the one that gets it waits again. One iteration is a release, a grant and a wait.
func BenchmarkHandOver(b *testing.B) {
	r := newRun(b)
	var lives []session.Life
	for range 101 {
		l := r.open()
		lives = append(lives, l)
		r.acquire(l, locktable.Exclusive, locktable.Forever, "x")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		l := lives[i%len(lives)]
		q := r.request(l)
		q.Seen = []uint64{q.Seq - 1}
		applied := r.apply(&locktable.Release{Request: q, Name: "x", Token: uint64(i + 1)})
		if applied.Reply.Code != locktable.OK || len(applied.Effects) != 3 {
			b.Fatal(applied.Reply, applied.Effects)
		}
		r.want(r.acquire(l, locktable.Exclusive, locktable.Forever, "x").Code, locktable.Queued)
		if r.table.Full() {
			r.table.Cut()
		}
	}
}

// BenchmarkHeldLockBytes reports the live heap of one held lock among a million, with names of 16 bytes.
func BenchmarkHeldLockBytes(b *testing.B) {
	const locks = 1_000_000
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		p := newPairs(b, locks)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/locks, "B/lock")
		runtime.KeepAlive(p)
	}
}

// BenchmarkLoad rebuilds a Table of a million held locks from its records.
func BenchmarkLoad(b *testing.B) {
	all := newPairs(b, 1_000_000).table.All()
	b.ResetTimer()
	for range b.N {
		l, err := locktable.NewLoader(all.Index, all.Term, all.Meta)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range all.Records {
			if err := l.Add(r); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := l.Done(all.Hash, all.Count); err != nil {
			b.Fatal(err)
		}
	}
}
