package locktable_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Page after page, a list has the same names as the whole, while locks come and go between.
func TestNamesComePageByPage(t *testing.T) {
	table := locktable.NewTable()
	index := uint64(0)
	apply := func(cmd locktable.Command) locktable.Reply {
		index++
		applied, err := table.Apply(index, 1, locktable.Encode(cmd))
		if err != nil {
			t.Fatal(err)
		}
		return applied.Reply
	}
	life := session.Life{ID: session.ID{1}, Index: 1}
	apply(&locktable.Open{ID: life.ID, TTL: time.Minute})
	request := func() locktable.Request { return locktable.Request{Session: life, Seq: index, Acked: index - 1} }
	var want []string
	for i := range 3000 {
		name := fmt.Sprintf("%c/%04d", 'a'+rune(i%3), i*7919%3000)
		held := apply(&locktable.Acquire{Request: request(), Names: []string{name}, Mode: locktable.Exclusive, Owner: index})
		if i%4 == 0 {
			apply(&locktable.Release{Request: request(), Name: name, Token: held.Token})
			continue
		}
		want = append(want, name)
	}
	slices.Sort(want)
	for _, prefix := range []string{"", "a", "b/", "b/1", "c/2999", "d"} {
		whole := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return !strings.HasPrefix(name, prefix) })
		var paged []string
		for after := ""; ; after = paged[len(paged)-1] {
			page := table.NamesAfter(prefix, after, 7)
			paged = append(paged, page...)
			if len(page) < 7 {
				break
			}
		}
		if !slices.Equal(paged, whole) || !slices.Equal(table.Names(prefix), whole) {
			t.Errorf("prefix %q: %d names page by page, %d at once, want %d", prefix, len(paged), len(table.Names(prefix)), len(whole))
		}
	}
}

// Holds and waits without metadata of their own show that of their session.
func TestMetadataIsTheSessionsUnlessThereIsMore(t *testing.T) {
	r := newRun(t)
	id := session.ID{7}
	life := session.Life{ID: id, Index: r.apply(&locktable.Open{ID: id, TTL: time.Minute, Metadata: []byte("session")}).Reply.Index}
	ask := func(wait time.Duration, metadata string) {
		q := r.request(life)
		r.apply(&locktable.Acquire{
			Request: q, Names: []string{"x"}, Mode: locktable.Shared, Wait: wait, Owner: q.Seq, Metadata: []byte(metadata),
		})
	}
	ask(0, "")
	ask(0, "own")
	r.acquire(r.open(), locktable.Exclusive, locktable.Forever, "x")
	ask(locktable.Forever, "")
	ask(locktable.Forever, "own")
	v, _ := r.table.Lock("x", 10)
	var got []string
	for _, h := range v.Holders {
		got = append(got, string(h.Metadata))
	}
	for _, w := range v.Waiters {
		got = append(got, string(w.Metadata))
	}
	if want := []string{"session", "own", "", "session", "own"}; !slices.Equal(got, want) {
		t.Errorf("metadata of holders and waiters: %q, want %q", got, want)
	}
}
