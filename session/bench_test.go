package session_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/session"
)

// BenchmarkKeepAlive renews 100,000 sessions in turn, a thousand in each turn of the loop, with a quorum round for each turn. One iteration
// is one KeepAlive, taken in and answered.
func BenchmarkKeepAlive(b *testing.B) {
	const sessions, batch = 100_000, 1000
	terms := make([]session.Terms, sessions)
	for i := range terms {
		terms[i] = session.Terms{Life: session.Life{Index: uint64(i + 1)}, TTL: 15 * time.Second}
		binary.BigEndian.PutUint64(terms[i].Life.ID[:], uint64(i)*0x9e3779b97f4a7c15)
	}
	k := session.NewKeeper(1, 0)
	k.Start(0, 0, slices.Values(terms))
	now, round, answered := time.Duration(0), uint64(0), 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k.KeepAlive(now, session.KeepAlive{Life: terms[i%sessions].Life, Number: uint64(i)})
		if i%batch != batch-1 {
			continue
		}
		now += 100 * time.Millisecond
		k.Turn(now)
		k.RoundDone(round, 1)
		out := k.Output(now, 1, session.Work{})
		if answered += len(out.Answers); len(out.Expire) > 0 {
			b.Fatalf("%d sessions expired", len(out.Expire))
		}
		round = out.Round
	}
	if b.N > 2*batch && answered < b.N-2*batch {
		b.Fatalf("%d of %d KeepAlives were answered", answered, b.N)
	}
}
