package checkpoint_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// setOf is what a server makes of a table's changes.
func setOf(c locktable.Changes) checkpoint.Set {
	position := raft.Position{Index: raft.Index(c.Index), Term: raft.Term(c.Term)}
	s := checkpoint.Set{Head: checkpoint.Head{Mark: raft.Mark{Position: position, Config: config(1)}, Meta: c.Meta, Hash: c.Hash, Count: c.Count}}
	for _, r := range c.Records {
		s.Records = append(s.Records, checkpoint.Record(r))
	}
	return s
}

func tableOf(s checkpoint.State) (*locktable.Table, error) {
	head := s.Head()
	l, err := locktable.NewLoader(uint64(head.Index), uint64(head.Term), head.Meta)
	if err != nil {
		return nil, err
	}
	if err := s.Load(func(r checkpoint.Record) error { return l.Add(locktable.Record(r)) }); err != nil {
		return nil, err
	}
	return l.Done(head.Hash, head.Count)
}

// TestTableSurvives requires that the hash of the lock table is the one that is computed here, and that its records suffice.
func TestTableSurvives(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	table, index := locktable.NewTable(), uint64(0)
	apply := func(command []byte) {
		t.Helper()
		index++
		if _, err := table.Apply(index, 1, command); err != nil {
			t.Fatal(err)
		}
		if table.Full() || index%40 == 0 {
			mustFlush(t, d, setOf(table.Cut()))
		}
	}
	apply(locktable.Encode(&locktable.Open{ID: session.ID{1}, TTL: time.Minute}))
	life := session.Life{ID: session.ID{1}, Index: 1}
	for seq := uint64(1); seq <= 3000; seq++ {
		request := locktable.Request{Session: life, Seq: seq, Acked: seq - 1}
		if seq%3 == 0 {
			apply(locktable.Encode(&locktable.Release{Request: request, Name: fmt.Sprint("jobs/", seq-1), Token: seq / 3}))
			continue
		}
		apply(locktable.Encode(&locktable.Acquire{
			Request: request, Names: []string{fmt.Sprint("jobs/", seq)}, Mode: locktable.Exclusive, Wait: locktable.Forever, Owner: seq,
			Value: []byte("value"), Metadata: []byte("metadata"),
		}))
	}
	if changes := table.Cut(); changes.Index > uint64(d.Head().Index) {
		mustFlush(t, d, setOf(changes))
	}
	hash, count := table.Hash()
	if count < 2000 {
		t.Fatalf("only %d records", count)
	}
	mustClose(t, d)
	d = openDisk(t, dir)
	again, err := tableOf(d)
	if err != nil {
		t.Fatal(err)
	}
	if h, n := again.Hash(); h != hash || n != count {
		t.Errorf("hash %s of %d records, want %s of %d", h, n, hash, count)
	}
}
