package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	client "github.com/lockd/lockd/client/go"
)

// sampleLock is a lock with everything that can be told of one.
func sampleLock() client.LockInfo {
	who := func(name string, pid int) client.Person {
		return client.Person{Identity: name, Host: "worker-7", PID: pid}
	}
	return client.LockInfo{
		Name: "jobs/nightly", Held: 2, Waiting: 1, Floor: 903_812_345_678_001, Newest: 903_812_345_678_002,
		Last: client.Previous{How: client.HowExpired, Token: 903_812_345_677_999}, Index: 4711, Age: 1500 * time.Millisecond,
		Holders: []client.Holder{
			{
				Person: who("worker-7:123", 123), Token: 903_812_345_678_001, Session: client.SessionID{1, 2, 3}, Mode: client.ModeExclusive,
				Since: 75 * time.Second, Names: []string{"jobs/nightly"}, Value: []byte("step 3"),
			},
			{
				Person: who("worker-8:9", 9), Token: 903_812_345_678_002, Mode: client.ModeExclusive, Since: 26 * time.Hour, Left: 90 * time.Minute,
				Lease: client.LeaseID{0xab}, Names: []string{"jobs/nightly", "jobs/weekly"}, Value: []byte{0xff, 0},
			},
		},
		Waiters: []client.Waiter{{
			Person: who("worker-9:77", 77), Session: client.SessionID{4}, Mode: client.ModeShared, Since: 12 * time.Second, Left: 48 * time.Second,
			Names: []string{"jobs/nightly"},
		}},
	}
}

func capture(asJSON bool, f func(*call) error) (string, error) {
	var out bytes.Buffer
	c := &call{program: &program{out: &out, err: io.Discard}, json: asJSON}
	err := f(c)
	return out.String(), err
}

func TestLockIsShown(t *testing.T) {
	for name, asJSON := range map[string]bool{"show.txt": false, "show.json": true} {
		out, err := capture(asJSON, func(c *call) error { return c.printLock(sampleLock()) })
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, out)
		if asJSON && !json.Valid([]byte(out)) {
			t.Error("not JSON")
		}
		fits(t, out)
	}
}

// fits fails if a line is too wide for a usual terminal.
func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestStatusIsShown(t *testing.T) {
	nodes := []nodeShown{
		showNode(client.Node{ID: 1, Name: "n1", Address: "10.20.30.41:7400", Voter: true}, client.Status{Node: 1, Leader: 1, Term: 12, Commit: 123_456, Applied: 123_456, Locks: 1_000_000, Sessions: 10_000, Agent: "lockd v1.0.0"}, nil),
		showNode(client.Node{ID: 2, Name: "n2", Address: "10.20.30.42:7400", Voter: true}, client.Status{Node: 2, Leader: 1, Term: 12, Commit: 123_456, Applied: 123_455, Locks: 1_000_000, Sessions: 10_000, Agent: "lockd v1.0.0"}, nil),
		showNode(client.Node{ID: 3, Name: "n3", Address: "10.20.30.43:7400", Voter: true}, client.Status{}, client.ErrUnavailable),
		showNode(client.Node{ID: 4, Name: "n4", Address: "10.20.30.44:7400"}, client.Status{Node: 4, Leader: 1, Term: 12, Agent: "lockd v1.0.0"}, nil),
	}
	for name, asJSON := range map[string]bool{"status.txt": false, "status.json": true} {
		out, err := capture(asJSON, func(c *call) error { return c.printStatus(nodes) })
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, out)
		if asJSON && !json.Valid([]byte(out)) {
			t.Error("not JSON")
		}
		if !asJSON {
			fits(t, out)
		}
	}
	if _, err := capture(false, func(c *call) error { return c.printStatus(nodes[1:]) }); err == nil {
		t.Error("no leader, no error")
	} else if code, hint := verdict(err); code != exitUnavailable || hint == "" {
		t.Errorf("code %d, hint %q", code, hint)
	}
}

// TestEmptyListIsStillAList for those who read JSON, and nothing at all for people.
func TestEmptyListIsStillAList(t *testing.T) {
	out, err := capture(true, func(c *call) error { return c.list("name").end() })
	if err != nil || out != "[]\n" {
		t.Errorf("%q, %v", out, err)
	}
	out, err = capture(false, func(c *call) error { return c.list("name").end() })
	if err != nil || out != "" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestTableGivesWay on a terminal, in the columns that can be shortened and nowhere else.
func TestTableGivesWay(t *testing.T) {
	long := "warehouse/europe/west/shelf-0001/" + strings.Repeat("x", 60) + "/bin-17"
	table := table{head: []string{"name", "TOKEN"}, rows: [][]string{{long, "903812345678001"}, {"short", "1"}}}
	var narrow, pipe strings.Builder
	if err := table.write(&narrow, 80); err != nil {
		t.Fatal(err)
	}
	if err := table.write(&pipe, 0); err != nil {
		t.Fatal(err)
	}
	fits(t, narrow.String())
	if s := narrow.String(); !strings.Contains(s, "903812345678001") || !strings.Contains(s, "…") || !strings.Contains(s, "/bin-17") {
		t.Errorf("on a terminal:\n%s", s)
	}
	if !strings.Contains(pipe.String(), long) {
		t.Errorf("in a pipe:\n%s", pipe.String())
	}
}

func TestDurationsForPeople(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"12ms": 12_345 * time.Microsecond, "1.3s": 1342 * time.Millisecond, "1m15s": 75 * time.Second, "1h30m": 90 * time.Minute,
		"2h": 2 * time.Hour, "3d4h": 76*time.Hour + 59*time.Minute,
	} {
		if got := about(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestColors only where people look, and who sets NO_COLOR wants none there either.
func TestColors(t *testing.T) {
	var b bytes.Buffer
	p := &program{err: &b}
	if p.complain(client.ErrForbidden); strings.Contains(b.String(), "\x1b") {
		t.Errorf("colors in a file: %q", b.String())
	}
	t.Setenv("NO_COLOR", "1")
	if p.colored(os.Stderr) {
		t.Error("NO_COLOR is not heeded")
	}
}
