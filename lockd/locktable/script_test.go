package locktable_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestScripts runs testdata/*.txt. Each line of a script is one log entry, or a question to the state; the answers are rewritten
// with -rewrite. After every entry the state is rebuilt from the records that were cut and must be the same.
//
//	time 5s                      cluster time from here on
//	term 2                       term of the entries from here on
//	open S [ttl=15s] [grace=2s] [as=S2]
//	close S · expire S,T [term=1] · tick [term=1] · incarnate [seed=N] [wait=1m]
//	acquire S 1 X,Y [try|wait=5s] [shared|slots=3] [owner=7] [reentrant] [delay=5s] [lease=L:1m] [value=v] [acked=N] [seen=N,N]
//	release S 2 X token=1 · cancel S 3 target=1 X · value S 4 X token=1 v
//	renew L X token=1 ttl=1m · unlease L X token=1 · take L X token=1 new=M ttl=1m
//	check X token=1 · show X · work · seed wall=2026 [build=2025] [saved=2025] [counter=N]
//	acquire-many S 1 1000 m/     acquire m/0 … m/999 with the seqs from 1 on
//	tick-all                     tick until nothing is left
//	reload                       go on with the Table that was rebuilt
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			var out strings.Builder
			for line := range strings.SplitSeq(d.Input, "\n") {
				fmt.Fprintf(&out, "%s\n", w.line(strings.TrimSpace(line)))
			}
			return out.String()
		})
		if testing.Verbose() {
			t.Log(filepath.Base(path), w.index, "entries")
		}
	})
}

// effectsShown is how many effects of an entry a script shows.
const effectsShown = 10

// world is one Table, its checkpoint, and the names a script gives to things.
type world struct {
	t     *testing.T
	table *locktable.Table
	index uint64
	term  uint64
	clock time.Duration
	lives map[string]session.Life
	store *store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{t: t, table: locktable.NewTable(), term: 1, lives: make(map[string]session.Life), store: newStore()}
}

func id(name string) (id session.ID) {
	copy(id[:], name)
	return id
}

// args are the words of a line, and its key=value pairs.
type args struct {
	words []string
	pairs map[string]string
}

func parse(line string) args {
	a := args{pairs: make(map[string]string)}
	for word := range strings.FieldsSeq(line) {
		if key, value, ok := strings.Cut(word, "="); ok {
			a.pairs[key] = value
		} else {
			a.words = append(a.words, word)
		}
	}
	return a
}

func (a args) has(word string) bool { return slices.Contains(a.words, word) }

func (w *world) number(s string) uint64 {
	w.t.Helper()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) duration(s string, otherwise time.Duration) time.Duration {
	w.t.Helper()
	if s == "" {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) line(line string) string {
	a := parse(line)
	switch a.words[0] {
	case "time":
		w.clock = w.duration(a.words[1], 0)
		return line
	case "term":
		w.term = w.number(a.words[1])
		return line
	case "check":
		c := w.table.CheckToken(a.words[1], w.number(a.pairs["token"]))
		return fmt.Sprintf("%s: %s newest=%d floor=%d", line, c.Validity, c.Newest, c.Floor)
	case "show":
		return w.show(a.words[1])
	case "work":
		k := w.table.Work()
		return fmt.Sprintf("work: clock=%s left=%t pending=%t next=%s", k.Clock, k.Left, k.Pending, k.Next)
	case "seed":
		return line + ": " + w.seed(a)
	case "acquire-many":
		return w.acquireMany(a)
	case "tick-all":
		for n := 0; ; n++ {
			if !w.table.Work().Left {
				return fmt.Sprintf("%s: %d ticks", line, n)
			}
			w.apply(&locktable.Tick{Term: w.term})
		}
	case "reload":
		w.table = w.store.load(w.t)
		return line
	}
	applied := w.apply(w.command(a))
	out := fmt.Sprintf("%d %s: %s", w.index, line, describe(applied.Reply))
	for i, e := range applied.Effects {
		if i == effectsShown {
			return fmt.Sprintf("%s\n    and %d effects more", out, len(applied.Effects)-i)
		}
		if e.Kind == locktable.Opened {
			name := a.pairs["as"]
			if name == "" {
				name = a.words[1]
			}
			w.lives[name] = e.Session
		}
		out += "\n    " + w.effect(e)
	}
	return out
}

// acquireMany acquires names that begin with a prefix, with seqs from one on.
func (w *world) acquireMany(a args) string {
	w.t.Helper()
	q := locktable.Request{Session: w.life(a.words[1])}
	first, n := w.number(a.words[2]), w.number(a.words[3])
	for i := range n {
		q.Seq, q.Acked = first+i, first+i-1
		c := &locktable.Acquire{Request: q, Names: []string{fmt.Sprint(a.words[4], i)}, Mode: locktable.Exclusive, Owner: q.Seq}
		w.index++
		applied, err := w.table.Apply(w.index, w.term, locktable.Encode(c))
		if err != nil || applied.Reply.Code != locktable.Granted {
			w.t.Fatalf("acquire %s: %v %v", c.Names[0], applied.Reply.Code, err)
		}
	}
	w.store.cut(w.t, w.table)
	return fmt.Sprintf("%d granted", n)
}

func (w *world) apply(cmd locktable.Command) locktable.Applied {
	w.t.Helper()
	w.index++
	data := locktable.Encode(cmd)
	locktable.SetStamp(data, w.clock)
	applied, err := w.table.Apply(w.index, w.term, data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store.save(w.t, w.table)
	return applied
}

func (w *world) life(name string) session.Life {
	w.t.Helper()
	l, ok := w.lives[name]
	if !ok {
		w.t.Fatalf("session %q was not opened", name)
	}
	return l
}

func (w *world) termOf(a args) uint64 {
	if s := a.pairs["term"]; s != "" {
		return w.number(s)
	}
	return w.term
}

func (w *world) command(a args) locktable.Command {
	switch a.words[0] {
	case "open":
		return &locktable.Open{ID: id(a.words[1]), TTL: w.duration(a.pairs["ttl"], 15*time.Second), Grace: w.duration(a.pairs["grace"], 0)}
	case "close":
		return &locktable.Close{Session: w.life(a.words[1])}
	case "expire":
		e := &locktable.Expire{Term: w.termOf(a)}
		for name := range strings.SplitSeq(a.words[1], ",") {
			e.Lives = append(e.Lives, w.life(name))
		}
		return e
	case "tick":
		return &locktable.Tick{Term: w.termOf(a)}
	case "incarnate":
		return &locktable.Incarnate{Incarnation: id(a.words[1]), Seed: w.number(a.pairs["seed"]), Wait: w.duration(a.pairs["wait"], -1)}
	case "renew":
		return &locktable.RenewLease{ID: id(a.words[1]), Name: a.words[2], Token: w.number(a.pairs["token"]), TTL: w.duration(a.pairs["ttl"], 0)}
	case "unlease":
		return &locktable.ReleaseLease{ID: id(a.words[1]), Name: a.words[2], Token: w.number(a.pairs["token"])}
	case "take":
		return &locktable.TakeLease{
			ID: id(a.words[1]), Name: a.words[2], Token: w.number(a.pairs["token"]), NewID: id(a.pairs["new"]),
			TTL: w.duration(a.pairs["ttl"], 0),
		}
	}
	return w.requestCommand(a)
}

func (w *world) requestCommand(a args) locktable.Command {
	w.t.Helper()
	q := locktable.Request{Session: w.life(a.words[1]), Seq: w.number(a.words[2]), Acked: w.number(a.pairs["acked"])}
	if seen := a.pairs["seen"]; seen != "" {
		for s := range strings.SplitSeq(seen, ",") {
			q.Seen = append(q.Seen, w.number(s))
		}
	}
	switch a.words[0] {
	case "acquire":
		return w.acquire(a, q)
	case "release":
		return &locktable.Release{Request: q, Name: a.words[3], Token: w.number(a.pairs["token"])}
	case "cancel":
		return &locktable.Cancel{Request: q, Name: a.words[3], Target: w.number(a.pairs["target"])}
	case "value":
		v := &locktable.SetValue{Request: q, Name: a.words[3], Token: w.number(a.pairs["token"]), Value: []byte(a.words[4])}
		if l := a.pairs["lease"]; l != "" {
			v.LeaseID = id(l)
		}
		return v
	}
	w.t.Fatalf("no such command: %q", a.words[0])
	return nil
}

func (w *world) acquire(a args, q locktable.Request) locktable.Command {
	c := &locktable.Acquire{
		Request: q, Names: strings.Split(a.words[3], ","), Mode: locktable.Exclusive, Wait: w.duration(a.pairs["wait"], locktable.Forever),
		Owner: w.number(a.pairs["owner"]), Reentrant: a.has("reentrant"), Delay: w.duration(a.pairs["delay"], 0),
		Value: []byte(a.pairs["value"]),
	}
	if c.Owner == 0 {
		c.Owner = q.Seq
	}
	if a.has("try") {
		c.Wait = 0
	}
	if a.has("shared") {
		c.Mode = locktable.Shared
	}
	if slots := a.pairs["slots"]; slots != "" {
		c.Mode, c.Limit = locktable.Slot, uint32(w.number(slots))
	}
	if lease := a.pairs["lease"]; lease != "" {
		name, ttl, _ := strings.Cut(lease, ":")
		c.LeaseID, c.LeaseTTL = id(name), w.duration(ttl, 0)
	}
	return c
}

func (w *world) seed(a args) string {
	date := func(s string) (d time.Time) {
		if s == "" {
			return d
		}
		d, err := time.Parse("2006-01-02", s)
		if err != nil {
			w.t.Fatal(err)
		}
		return d
	}
	seed, err := locktable.TokenSeed(date(a.pairs["wall"]), date(a.pairs["build"]), date(a.pairs["saved"]), w.number(a.pairs["counter"]))
	if err != nil {
		if !errors.Is(err, locktable.ErrWallClock) {
			w.t.Fatal(err)
		}
		return "refused: " + err.Error()
	}
	return strconv.FormatUint(seed, 10)
}
