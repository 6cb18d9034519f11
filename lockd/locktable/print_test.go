package locktable_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

func describe(r locktable.Reply) string {
	out := r.Code.String()
	add := func(name string, v uint64) {
		if v != 0 {
			out += fmt.Sprintf(" %s=%d", name, v)
		}
	}
	add("token", r.Token)
	if r.Floor != r.Token {
		add("floor", r.Floor)
	}
	add("ahead", uint64(r.Ahead))
	add("behind", uint64(r.Behind))
	if r.Deadline != 0 {
		out += " until=" + r.Deadline.String()
	}
	if r.Previous.How != locktable.NotEnded {
		out += fmt.Sprintf(" previous=%s(%d)", r.Previous.How, r.Previous.Token)
	}
	return out + fmt.Sprintf(" @%d", r.Index)
}

func (w *world) name(l session.Life) string {
	for name, life := range w.lives {
		if life == l {
			return name
		}
	}
	if l == (session.Life{}) {
		return "-"
	}
	return strings.TrimRight(string(l.ID[:]), "\x00")
}

func (w *world) effect(e locktable.Effect) string {
	switch e.Kind {
	case locktable.Opened:
		return "opened " + w.name(e.Session)
	case locktable.Ended:
		return fmt.Sprintf("ended %s: %s", w.name(e.Session), e.How)
	case locktable.WaitOver:
		return fmt.Sprintf("wait %s %d is over: %s", w.name(e.Session), e.Seq, describe(e.Reply))
	case locktable.Revoked:
		return fmt.Sprintf("revoked %s token=%d: %s", e.Name, e.Token, e.How)
	case locktable.Changed:
		return fmt.Sprintf("changed %s token=%d", e.Name, e.Token)
	}
	return fmt.Sprintf("effect %d", e.Kind)
}

func (w *world) show(name string) string {
	v, ok := w.table.Lock(name, 100)
	if !ok {
		return "show " + name + ": free"
	}
	out := fmt.Sprintf("show %s: floor=%d newest=%d", name, v.Floor, v.Newest)
	for _, h := range v.Holders {
		out += fmt.Sprintf("\n    token=%d %s", h.Token, modeName(h.Mode))
		switch {
		case h.Ended != locktable.NotEnded:
			out += fmt.Sprintf(" nobody: %s, until=%s", h.Ended, h.Until)
		case h.Until != 0:
			out += fmt.Sprintf(" lease=%s until=%s", strings.TrimRight(string(h.Lease[:]), "\x00"), h.Until)
		default:
			out += fmt.Sprintf(" %s owner=%d", w.name(h.Session), h.Owner)
		}
		if h.Levels > 1 {
			out += fmt.Sprintf(" levels=%d", h.Levels)
		}
		if len(h.Value) > 0 {
			out += fmt.Sprintf(" value=%s", h.Value)
		}
		if len(h.Names) > 1 {
			out += " names=" + strings.Join(h.Names, ",")
		}
	}
	for i, x := range v.Waiters {
		out += fmt.Sprintf("\n    %d. %s %d %s", i+1, w.name(x.Session), x.Seq, modeName(x.Mode))
		if len(x.Names) > 1 {
			out += " names=" + strings.Join(x.Names, ",")
		}
	}
	return out
}

func modeName(m locktable.Mode) string {
	return [...]string{locktable.Exclusive: "exclusive", locktable.Shared: "shared", locktable.Slot: "slot"}[m]
}

// store is a checkpoint in memory: every record that was cut, and the meta record.
type store struct {
	records map[string][]byte
	last    locktable.Changes
}

func newStore() *store { return &store{records: make(map[string][]byte)} }

// save cuts the changes of an entry, and checks them against the state as a whole and against a Table rebuilt from them.
func (s *store) save(t *testing.T, table *locktable.Table) {
	t.Helper()
	s.cut(t, table)
	s.check(t, table)
}

func (s *store) cut(t *testing.T, table *locktable.Table) {
	t.Helper()
	c := table.Cut()
	if c.Index == s.last.Index+1 && len(c.Records) > locktable.EntryRecordsMax {
		t.Fatalf("entry %d changed %d records", c.Index, len(c.Records))
	}
	for _, r := range c.Records {
		if r.Value == nil {
			delete(s.records, string(r.Key))
		} else {
			s.records[string(r.Key)] = r.Value
		}
	}
	s.last = c
}

func (s *store) check(t *testing.T, table *locktable.Table) {
	t.Helper()
	rebuilt := s.load(t)
	want, got := table.All(), rebuilt.All()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the state rebuilt at entry %d differs (-live +rebuilt):\n%s", want.Index, diff)
	}
	if want.Count != len(s.records) {
		t.Fatalf("entry %d: the state has %d records, the store %d", want.Index, want.Count, len(s.records))
	}
}

func (s *store) load(t *testing.T) *locktable.Table {
	t.Helper()
	l, err := locktable.NewLoader(s.last.Index, s.last.Term, s.last.Meta)
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, 0, len(s.records))
	for key := range s.records {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	slices.Reverse(keys) // no order is promised: this is the one that is not natural
	for _, key := range keys {
		if err := l.Add(locktable.Record{Key: []byte(key), Value: bytes.Clone(s.records[key])}); err != nil {
			t.Fatal(err)
		}
	}
	table, err := l.Done(s.last.Hash, s.last.Count)
	if err != nil {
		t.Fatal(err)
	}
	return table
}
