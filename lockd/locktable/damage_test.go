package locktable_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestDamagedRecordsNeverPanic changes every byte of every record, gives the whole with the hash that fits, and goes on with whatever
// loads: it may be wrong, and must not panic, now or later.
func TestDamagedRecordsNeverPanic(t *testing.T) {
	all := stateOfEverything(t)
	loaded := 0
	for i := range len(all.Records) + 1 {
		for at := 0; ; at++ {
			damaged := slices.Clone(all.Records)
			meta := all.Meta
			value := &meta
			if i < len(damaged) {
				value = &damaged[i].Value
			}
			if at == len(*value) {
				break
			}
			for _, flip := range []byte{1, 0x40, 0xff} {
				*value = bytes.Clone(*value)
				(*value)[at] ^= flip
				if table := load(damaged, meta); table != nil {
					loaded++
					goOn(t, table)
				}
				(*value)[at] ^= flip
			}
		}
	}
	if loaded < 100 {
		t.Fatalf("only %d states were loaded", loaded)
	}
}

func load(records []locktable.Record, meta []byte) *locktable.Table {
	l, err := locktable.NewLoader(1000, 1, meta)
	if err != nil {
		return nil
	}
	hash := session.Digest(append([]byte{locktable.MetaKey}, meta...))
	for _, r := range records {
		if l.Add(r) != nil {
			return nil
		}
		hash = hash.Plus(session.Digest(append(bytes.Clone(r.Key), r.Value...)))
	}
	table, err := l.Done(hash, len(records))
	if err != nil {
		return nil
	}
	return table
}

// goOn touches everything in a Table, and lets all of its time pass.
func goOn(t *testing.T, table *locktable.Table) {
	t.Helper()
	index, _ := table.Index()
	r := &run{t: t, table: table, index: index, seqs: make(map[session.Life]uint64)}
	for _, clock := range []time.Duration{0, 2 * time.Minute, 48 * time.Hour} {
		r.clock = clock
		s := r.open()
		for _, name := range append(table.Names(""), "remembered", "new") {
			table.Lock(name, 10)
			table.CheckToken(name, 1)
			r.acquire(s, locktable.Shared, time.Second, name)
			r.acquire(s, locktable.Exclusive, locktable.Forever, name)
		}
		for range 5 {
			r.apply(&locktable.Tick{Term: 1})
		}
		table.Cut()
		table.All()
	}
}
