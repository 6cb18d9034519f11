package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// model is a state as a map, and what a table does: it closes sets with the hash kept as records change.
type model struct {
	records map[string]string
	head    checkpoint.Head
	sum     session.Hash
}

func newModel() *model { return &model{records: map[string]string{}} }

func config(index raft.Index) raft.Config {
	return raft.Config{Index: index, Voters: []raft.Peer{{ID: raft.PeerID{Node: 1, Incarnation: 2}, Address: "127.0.0.1:7401"}}}
}

func digest(key, value string) session.Hash { return session.Digest([]byte(key + value)) }

func put(key, value string) checkpoint.Record {
	return checkpoint.Record{Key: []byte(key), Value: []byte(value)}
}

func gone(key string) checkpoint.Record { return checkpoint.Record{Key: []byte(key)} }

// set applies records and closes the set that tells of them.
func (m *model) set(index raft.Index, records ...checkpoint.Record) checkpoint.Set {
	for _, r := range records {
		key := string(r.Key)
		if old, ok := m.records[key]; ok {
			m.sum = m.sum.Minus(digest(key, old))
			delete(m.records, key)
		}
		if r.Value != nil {
			m.records[key] = string(r.Value)
			m.sum = m.sum.Plus(digest(key, string(r.Value)))
		}
	}
	meta := fmt.Sprintf("meta of %d", index)
	m.head = checkpoint.Head{
		Mark: raft.Mark{Position: raft.Position{Index: index, Term: raft.Term(1 + index/10)}, Config: config(1 + index/7)},
		Meta: []byte(meta), Hash: m.sum.Plus(digest(string(checkpoint.MetaKey), meta)), Count: len(m.records),
	}
	return checkpoint.Set{Head: m.head, Records: records}
}

func (m *model) clone() *model {
	return &model{records: maps.Clone(m.records), head: m.head, sum: m.sum}
}

// step is the set of an entry, the same for every process that asks.
func (m *model) step(index raft.Index) checkpoint.Set {
	records := make([]checkpoint.Record, 0, 60)
	for i := range 50 {
		key := fmt.Sprintf("l/%04d", (int(index)*37+i*11)%700)
		if (int(index)+i)%5 == 0 {
			records = append(records, gone(key))
		} else {
			records = append(records, put(key, fmt.Sprintf("%d of %d %0100d", i, index, i)))
		}
	}
	return m.set(index, records...)
}

// at returns the model after the sets of the entries 1 to index.
func at(index raft.Index) *model {
	m := newModel()
	for i := raft.Index(1); i <= index; i++ {
		m.step(i)
	}
	return m
}

// check compares a loaded state, and reports whether the state says of itself what it is.
func (m *model) check(t testing.TB, s checkpoint.State, installed bool) {
	t.Helper()
	records, err := load(s)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if diff := cmp.Diff(m.records, records); diff != "" {
		t.Fatalf("records (-want +got):\n%s", diff)
	}
	m.checkHead(t, s, installed)
}

func (m *model) checkHead(t testing.TB, s checkpoint.State, installed bool) {
	t.Helper()
	want := m.head
	want.Installed = installed
	if diff := cmp.Diff(want, s.Head()); diff != "" {
		t.Fatalf("head (-want +got):\n%s", diff)
	}
}

func load(s checkpoint.State) (map[string]string, error) {
	records := map[string]string{}
	last := ""
	err := s.Load(func(r checkpoint.Record) error {
		if string(r.Key) <= last {
			return fmt.Errorf("key %q after %q", r.Key, last)
		}
		last = string(r.Key)
		records[last] = string(r.Value)
		return nil
	})
	return records, err
}

// mustLoad is for a store whose state does not matter.
func mustLoad(t testing.TB, s checkpoint.Store) checkpoint.Store {
	t.Helper()
	if _, err := load(s); err != nil {
		t.Fatalf("load: %v", err)
	}
	return s
}

func mustFlush(t testing.TB, s checkpoint.Store, sets ...checkpoint.Set) {
	t.Helper()
	for _, set := range sets {
		if err := s.Flush(set); err != nil {
			t.Fatalf("flush %d: %v", set.Index, err)
		}
	}
}

func mustClose(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// streamOf returns the snapshot of a store as bytes.
func streamOf(t testing.TB, s checkpoint.Store) (raft.Mark, []byte) {
	t.Helper()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	b, err := io.ReadAll(snapshot)
	if err := errors.Join(err, snapshot.Close()); err != nil {
		t.Fatalf("read the snapshot: %v", err)
	}
	return snapshot.Mark(), b
}

// sampleStream is the stream of the model.
func sampleStream(t testing.TB, sets ...checkpoint.Set) (raft.Mark, []byte) {
	t.Helper()
	s := mustLoad(t, checkpoint.OpenMemory(&checkpoint.Media{}))
	mustFlush(t, s, sets...)
	return streamOf(t, s)
}

func mustRestore(t testing.TB, s checkpoint.Store, mark raft.Mark, stream []byte) checkpoint.Staged {
	t.Helper()
	staged, err := s.Restore(mark, bytes.NewReader(stream))
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	return staged
}
