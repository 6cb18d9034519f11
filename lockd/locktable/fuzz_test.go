package locktable_test

import (
	"bytes"
	"errors"
	"math"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// The stated bound of what decoding allocates: a constant, and a factor of the input. The constant covers what the runtime counts in
// whole spans.
const (
	fuzzAllocMax    = 256 << 10
	fuzzAllocFactor = 16
)

// allocated returns how many bytes f allocates, about: the least of some runs, for the fuzzer itself allocates beside it.
func allocated(f func()) uint64 {
	least := uint64(math.MaxUint64)
	for range 5 {
		sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
		metrics.Read(sample)
		before := sample[0].Value.Uint64()
		f()
		metrics.Read(sample)
		if least = min(least, sample[0].Value.Uint64()-before); least <= fuzzAllocMax {
			break
		}
	}
	return least
}

func checkAllocated(t *testing.T, input int, n uint64) {
	t.Helper()
	if n > fuzzAllocMax+uint64(fuzzAllocFactor*input) {
		t.Fatalf("%d bytes of input made it allocate %d", input, n)
	}
}

// FuzzDecode: bytes from anywhere never panic, never allocate beyond the bound, and what decodes is what its encoding decodes to.
func FuzzDecode(f *testing.F) {
	for _, data := range goldenBytes(f, "commands.txt") {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var cmd locktable.Command
		var err error
		checkAllocated(t, len(data), allocated(func() { cmd, err = locktable.Decode(data) }))
		if err != nil {
			if !errors.Is(err, locktable.ErrCommand) {
				t.Fatal(err)
			}
			return
		}
		encoded := locktable.Encode(cmd)
		again, err := locktable.Decode(encoded)
		if err != nil {
			t.Fatalf("%+v does not decode again: %v", cmd, err)
		}
		if twice := locktable.Encode(again); !bytes.Equal(twice, encoded) {
			t.Fatalf("%x decodes to what encodes to %x", encoded, twice)
		}
	})
}

// FuzzApply: whatever decodes can be applied to a state with something of everything, and leaves a state that can be rebuilt.
func FuzzApply(f *testing.F) {
	for _, data := range goldenBytes(f, "commands.txt") {
		f.Add(data, data)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		r := newRun(t)
		s := r.open()
		r.acquire(s, locktable.Exclusive, 0, "a", "jobs/nightly")
		r.acquire(s, locktable.Exclusive, time.Minute, "a")
		q := r.request(s)
		r.apply(&locktable.Acquire{
			Request: q, Names: []string{"l"}, Mode: locktable.Shared, LeaseID: session.ID{'L'}, LeaseTTL: time.Second, Delay: time.Second,
		})
		for i, data := range [][]byte{one, two} {
			if _, err := r.table.Apply(r.index+uint64(i)+1, 1, data); err != nil && !errors.Is(err, locktable.ErrCommand) {
				t.Fatal(err)
			}
		}
		store := newStore()
		store.save(t, r.table)
	})
}

// FuzzLoad: records from anywhere, with the hash that fits them, never panic and never allocate beyond the bound.
func FuzzLoad(f *testing.F) {
	all := stateOfEverything(f)
	join := func(r locktable.Record) ([]byte, uint8) {
		return append(bytes.Clone(r.Key), r.Value...), uint8(len(r.Key))
	}
	for i, r := range all.Records {
		one, oneKey := join(r)
		two, twoKey := join(all.Records[(i*7+3)%len(all.Records)])
		f.Add(all.Meta, one, oneKey, two, twoKey)
	}
	f.Fuzz(func(t *testing.T, meta, one []byte, oneKey uint8, two []byte, twoKey uint8) {
		var err error
		load := func() {
			var l *locktable.Loader
			if l, err = locktable.NewLoader(1, 1, meta); err != nil {
				return
			}
			hash, count := session.Digest(append([]byte{locktable.MetaKey}, meta...)), 0
			for _, r := range []locktable.Record{split(one, oneKey), split(two, twoKey)} {
				if err = l.Add(r); err != nil {
					return
				}
				hash = hash.Plus(session.Digest(append(append([]byte(nil), r.Key...), r.Value...)))
				count++
			}
			_, err = l.Done(hash, count)
		}
		checkAllocated(t, len(meta)+len(one)+len(two), allocated(load))
		if err != nil && !errors.Is(err, locktable.ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// stateOfEverything returns the records of a state with something of everything.
func stateOfEverything(t testing.TB) locktable.Changes {
	t.Helper()
	r := newRun(t)
	s, u := r.open(), r.open()
	r.acquire(s, locktable.Exclusive, 0, "plain")
	r.acquire(s, locktable.Shared, 0, "a", "b")
	r.acquire(u, locktable.Exclusive, time.Minute, "a")
	r.acquire(u, locktable.Exclusive, time.Millisecond, "plain")
	q := r.request(s)
	r.apply(&locktable.Acquire{Request: q, Names: []string{"l"}, Mode: locktable.Exclusive, LeaseID: session.ID{1}, LeaseTTL: time.Hour, Value: []byte("v")})
	d := r.open()
	q = r.request(d)
	r.apply(&locktable.Acquire{Request: q, Names: []string{"nobody's"}, Mode: locktable.Exclusive, Delay: time.Minute})
	r.acquire(d, locktable.Exclusive, 0, "remembered")
	r.clock = time.Second
	r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{d}})
	return r.table.All()
}

func split(b []byte, key uint8) locktable.Record {
	n := min(len(b), int(key))
	return locktable.Record{Key: b[:n], Value: b[n:]}
}
