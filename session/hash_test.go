package session_test

import (
	"math/rand/v2"
	"testing"

	"github.com/lockd/lockd/session"
)

// TestHashTellsRecordsApart: whatever bit is flipped, wherever it is cut or lengthened, a record has another hash.
func TestHashTellsRecordsApart(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	seen := make(map[session.Hash]string)
	note := func(b []byte) {
		h := session.Digest(b)
		if other, ok := seen[h]; ok && other != string(b) {
			t.Fatalf("%x and %x have the same hash", other, b)
		}
		seen[h] = string(b)
	}
	for n := range 100 {
		b := make([]byte, n)
		note(b) // zeros of every length
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		for cut := range n {
			note(b[:cut])
		}
		for bit := range 8 * n {
			b[bit/8] ^= 1 << (bit % 8)
			note(b)
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// TestHashIsASumOverASet: the order does not matter, and what is taken out leaves what was there before.
func TestHashIsASumOverASet(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var records [][]byte
	for i := range 200 {
		records = append(records, []byte{byte(i), byte(rng.Uint32())})
	}
	sum := func() (h session.Hash) {
		rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		for _, r := range records {
			h = h.Plus(session.Digest(r))
		}
		return h
	}
	want := sum()
	if got := sum(); got != want {
		t.Fatalf("another order: %s, not %s", got, want)
	}
	got := want
	for _, r := range records {
		got = got.Minus(session.Digest(r))
	}
	if got != (session.Hash{}) {
		t.Fatalf("all taken out: %s", got)
	}
}
