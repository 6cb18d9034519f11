package history

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
)

// A process that is killed loses nothing but the end of its last line.
func TestKilledRecorder(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, "one")
	p := r.Begin(Operation{Kind: Acquire, Keys: []string{"a b", "\n"}, Mode: Exclusive})
	p.End(OK, "", func(o *Operation) { o.Token, o.Until = 7, 9 })
	r.Begin(Operation{Kind: Release, Keys: []string{"a b"}, Token: 7})
	r.Note(Operation{Kind: Lost, Keys: []string{"a b"}, Token: 7})
	whole := b.String()
	last := strings.LastIndex(strings.TrimSuffix(whole, "\n"), "\n") + 1
	for cut := last; cut < len(whole); cut++ {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, []byte(whole[:cut]+"\nprocess \"two\"\nbegin 1 5 {\"kind\":\"query\"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := Read(path)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if len(h.Operations) < 3 || len(h.Operations) > 4 {
			t.Fatalf("cut at %d: %d operations", cut, len(h.Operations))
		}
		for _, o := range h.Operations {
			switch {
			case o.Process == "two" && (o.Kind != Query || o.End() != forever):
				t.Errorf("cut at %d: %v", cut, &o)
			case o.Kind == Acquire && (o.Token != 7 || o.Until != 9 || o.Outcome != OK || o.Return < o.Call || o.Keys[1] != "\n"):
				t.Errorf("cut at %d: %v", cut, &o)
			case o.Kind == Release && (o.Outcome != Unknown || o.End() != forever):
				t.Errorf("cut at %d: %v", cut, &o)
			}
		}
	}
}

func TestBadHistories(t *testing.T) {
	for _, text := range []string{
		"process \"a\"\nbegin 1 2 {\nbegin 3 4 {}\n", // torn, and the process goes on
		"process \"a\"\nend 1 2 {}\nend 1 2 {}\n",
		"process \"a\"\n> 1 2 AAAA\n> 1 2 AAAA\n",
		"process \"a\"\nnonsense 1 2\nnonsense 1 2\n",
	} {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := Read(path); err == nil {
			t.Errorf("%q is read as %+v", text, h)
		}
	}
}

// An audit of several lives of a node, each killed in the middle of a line.
func TestTornAudit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit")
	for life := range uint64(3) {
		a, err := OpenAuditor(path, "n1")
		if err != nil {
			t.Fatal(err)
		}
		a.UseClock(func() int64 { return 77 })
		for i := range uint64(4) {
			a.Applied(lockd.Entry{Index: 10*life + i, Term: life, Token: i, Command: []byte{1, 2, 3, byte(i)}, Hash: [16]byte{15: 1}})
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-3-int64(life)*15); err != nil {
			t.Fatal(err)
		}
	}
	audit, err := ReadAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(audit.Entries) != 9 || audit.Node != "n1" {
		t.Fatalf("%d entries of %s, want 9 of n1", len(audit.Entries), audit.Node)
	}
	for i, e := range audit.Entries {
		life, n := uint64(i/3), uint64(i%3)
		if e.Index != 10*life+n || e.Term != life || e.Token != n || len(e.Command) != 4 || e.Command[3] != byte(n) || e.Hash[15] != 1 || e.At != 77 {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	for _, text := range []string{
		"node \"a\"\n1 2 3\n1 2 3\n",                   // torn in the middle of a life
		"1 1 1 1 00000000000000000000000000000000 .\n", // of no node
		"node \"a\"\nnode \"b\"\n",
	} {
		if a, err := readAudit(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read as %+v", text, a)
		}
	}
}

// The tap notes every frame, whole, however the stream comes in pieces; and nothing that proves an identity.
func TestTap(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, "one")
	ours, theirs := net.Pipe()
	c := &tap{Conn: ours, r: r, id: 4}
	var stream []byte
	for _, m := range []wire.Message{
		&wire.Hello{Magic: wire.Magic, VersionMin: 1, VersionMax: 1, Role: wire.RoleClient, Credential: []byte("secret")},
		&wire.KeepAlive{Life: wire.Life{Index: 3}, Number: 1}, &wire.Get{ID: 5, Name: "x"},
	} {
		var err error
		if stream, err = wire.Append(stream, m); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for i := range stream {
			_, _ = theirs.Write(stream[i : i+1])
		}
		_, _ = io.Copy(io.Discard, theirs)
	}()
	if _, err := io.ReadFull(c, make([]byte, len(stream))); err != nil {
		t.Fatal(err)
	}
	for part := range [3][]byte{} {
		if _, err := c.Write(stream[part*len(stream)/3 : (part+1)*len(stream)/3]); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	in, out := 0, 0
	for _, f := range h.Frames {
		switch f.Message.(type) {
		case *wire.KeepAlive, *wire.Get:
			if f.Out {
				out++
			} else {
				in++
			}
		default:
			t.Errorf("%T is noted", f.Message)
		}
	}
	if in != 2 || out != 2 || r.Err() != nil {
		t.Errorf("%d frames in and %d out, want 2 each", in, out)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestRecorderTellsOfItsDisk(t *testing.T) {
	if r := NewRecorder(broken{}, "one"); r.Err() == nil {
		t.Error("what could not be written is no error")
	}
}

func TestOutcomesOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Outcome
	}{
		{nil, OK},
		{&client.Error{Known: true, Err: client.ErrNotAcquired}, Refused},
		{&client.Error{Err: client.ErrUnavailable}, Unknown},
		{errors.New("?"), Unknown},
	} {
		var b bytes.Buffer
		r := NewRecorder(&b, "one")
		r.Begin(Operation{Kind: Release}).Done(c.err)
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := Read(path); err != nil || h.Operations[0].Outcome != c.want {
			t.Errorf("%v is recorded as %+v, %v", c.err, h, err)
		}
	}
}

// Too little in a run, and a fault that has hit nothing, are violations.
func TestTooLittle(t *testing.T) {
	s := newWorld(t, 1, 6, 3).run(operations)
	for name, o := range map[string]Options{
		"operations": {Minimum: Minimum{Operations: operations + 1}},
		"grants":     {Minimum: Minimum{Grants: operations}},
		"writes":     {Minimum: Minimum{Writes: operations}},
		"searches":   {Minimum: Minimum{Searched: 1000}},
		"kinds":      {Minimum: Minimum{Kinds: map[Kind]int64{SetValue: 1}}},
		"faults":     {Faults: map[string]int64{"kill": 3, "pause": 0}},
	} {
		v, err := Check(s.h, s.audits, o)
		if err != nil {
			t.Fatal(err)
		}
		if v.Count != 1 || v.Violations[0].Check != "traffic" {
			t.Errorf("too few %s: %v", name, v.Err())
		}
	}
	if v, err := Check(&History{}, nil, Options{}); err != nil || v.Count == 0 {
		t.Errorf("a run without nodes passes: %+v, %v", v, err)
	}
}

// A search that is not decided in its time is a violation.
func TestUndecidedSearch(t *testing.T) {
	s := newWorld(t, 1, 6, 3).run(operations)
	v, err := Check(s.h, s.audits, Options{SearchLimit: time.Nanosecond, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if v.Count == 0 || v.Violations[0].Check != "search" || !strings.Contains(v.Violations[0].Text, "not decided") {
		t.Errorf("an undecided search passes: %v", v.Err())
	}
}

// At a resource that checks nothing lost updates are counted; a paused holder loses some.
func TestUnfenced(t *testing.T) {
	write := func(process string, call int64, token, before, order uint64) Operation {
		return Operation{Process: process, Kind: Write, Keys: []string{"r"}, Token: token, Before: before, Order: order, Call: call, Return: call + 1, Outcome: OK}
	}
	ops := []Operation{write("a", 1, 1, 0, 1), write("b", 3, 2, 1, 2), write("a", 5, 1, 1, 3), write("b", 7, 2, 2, 4)}
	r := &report{kept: map[string]int{}}
	if fencing(ops, []string{"r"}, r); r.Lost != 1 || r.Count != 0 {
		t.Errorf("%d lost updates and %d violations, want 1 and none", r.Lost, r.Count)
	}
	r = &report{kept: map[string]int{}}
	if fencing(ops, nil, r); r.Count != 2 {
		t.Errorf("%d violations, want the lost update and the old token", r.Count)
	}
}

// Late: a session that outlives its TTL by much is found where lateness counts.
func TestLateExpiry(t *testing.T) {
	s := newWorld(t, 3, 6, 3).run(operations)
	planted := false
	for i := range s.audits[0].Entries {
		if commandLine(s.audits[0].Entries[i].Command)[:2] == "Ex" {
			s.entries(s.audits[0].Entries[i].Index, func(e *Entry) { e.At += int64(time.Minute) })
			planted = true
		}
	}
	for late, want := range map[time.Duration]bool{0: false, 10 * time.Second: true} {
		v, err := Check(s.h, s.audits, Options{Late: late})
		if err != nil {
			t.Fatal(err)
		}
		if !planted || v.Count > 0 != want {
			t.Errorf("late %v: %v", late, v.Err())
		}
	}
}

// A picture of a failed search is written.
func TestPicture(t *testing.T) {
	dir := t.TempDir()
	h := &History{Operations: []Operation{
		{Process: "a", ID: 1, Kind: Acquire, Keys: []string{"x"}, Mode: Exclusive, Token: 1, Call: 1, Return: 2, Until: 100, Outcome: OK},
		{Process: "b", ID: 2, Kind: Acquire, Keys: []string{"x"}, Mode: Exclusive, Token: 2, Call: 3, Return: 4, Until: 100, Outcome: OK},
		{Process: "a", ID: 3, Kind: Release, Keys: []string{"x"}, Token: 1, Call: 5, Return: 6, Outcome: OK},
	}}
	r := &report{kept: map[string]int{}}
	if err := search(h, Options{Dir: dir}, r); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "search-1.html"))
	if err != nil || r.Count != 1 || !bytes.Contains(page, []byte("b#2 acquire x token 2")) {
		t.Errorf("%d violations, a picture of %d bytes, %v", r.Count, len(page), err)
	}
}

// BenchmarkCheck checks a million operations on a thousand locks.
func BenchmarkCheck(b *testing.B) {
	const n = 1_000_000
	s := newWorld(b, 1, 50, 1000).run(n)
	b.ResetTimer()
	for b.Loop() {
		v, err := Check(s.h, s.audits, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if v.Count > 0 {
			b.Fatal(v.Err())
		}
	}
	b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "operations/s")
	b.ReportMetric(float64(len(s.h.Frames)), "frames")
}
