package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
)

// A toy is a repository with a bug, its fix, and a track record.
type toy struct {
	t    *testing.T
	root string
}

const (
	wrong = "package sum\n\nfunc Of(a, b int) int { return a - b }\n"
	right = "package sum\n\nfunc Of(a, b int) int { return a + b }\n"
	check = "package sum\n\nimport \"testing\"\n\nfunc TestOf(t *testing.T) {\n\tif Of(2, 1) != 3 {\n\t\tt.Error(Of(2, 1))\n\t}\n}\n\nfunc TestBlind(*testing.T) {}\n"
)

// commit writes files and returns the name of the commit.
func (r toy) commit(files map[string]string) string {
	r.t.Helper()
	for name, text := range files {
		name = filepath.Join(r.root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
	r.git("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "x")
	return r.git("rev-parse", "HEAD")
}

func (r toy) git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// record writes a track record of one bug.
func (r toy) record(b reliability.Bug) {
	r.t.Helper()
	data, err := json.Marshal([]reliability.Bug{b})
	if err != nil {
		r.t.Fatal(err)
	}
	name := filepath.Join(r.root, filepath.FromSlash(reliability.TrackRecord))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// last returns the date that is noted for the bug.
func (r toy) last() string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.root, filepath.FromSlash(reliability.TrackRecord)))
	if err != nil {
		r.t.Fatal(err)
	}
	bugs, err := reliability.DecodeBugs(data)
	if err != nil {
		r.t.Fatal(err)
	}
	return bugs[0].Show.Last
}

func TestReproduce(t *testing.T) {
	r := toy{t, t.TempDir()}
	r.git("init", "-q")
	intro := r.commit(map[string]string{"go.mod": "module toy\n\ngo 1.26\n", "sum.go": wrong})
	fix := r.commit(map[string]string{"sum.go": right, "sum_test.go": check})
	broken := r.commit(map[string]string{"sum.go": right + "\nfunc Twice(a int) int { return Of(a, a) }\n", "twice_test.go": strings.Replace(
		strings.Replace(check, "Of(2, 1)", "Twice(2)", 1), "func TestBlind(*testing.T) {}\n", "", 1)})
	bug := func(fixed string, show reliability.Show) reliability.Bug {
		return reliability.Bug{
			ID: "toy-bug", Area: "raft", Bug: "minus", Severity: "safety", Introduced: intro, FoundBy: "reading", Fixed: []string{fixed}, Tests: []string{"TestOf"},
			Show: show,
		}
	}
	for _, c := range []struct {
		name, want string
		bug        reliability.Bug
		seen       bool
	}{
		{"shown", "shown    toy-bug", bug(fix, reliability.Show{Run: "go test . -count=1 -run '^TestOf$'"}), true},
		{"the test sees nothing", "before " + fix + ": the test passes", bug(fix, reliability.Show{Run: "go test . -count=1 -run '^TestBlind$'"}), false},
		{"no such test", "the test did not run", bug(fix, reliability.Show{Run: "go test . -count=1 -run '^TestGone$'"}), false},
		{"the test does not compile before", "the test did not run", bug(broken, reliability.Show{Run: "go test . -count=1"}), false},
		{"the fix mends nothing", "on " + intro + ": the test fails", bug(fix, reliability.Show{Run: "go test . -count=1 -run '^TestOf$'", Passes: intro}), false},
		{"cannot", "cannot   toy-bug: too long ago", bug(fix, reliability.Show{Never: "too long ago"}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.record(c.bug)
			var out strings.Builder
			err := run(t.Context(), []string{"-root", r.root, "-reproduce", "all"}, &out)
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("no %q in\n%s(%v)", c.want, &out, err)
			}
			today := time.Now().UTC().Format(time.DateOnly)
			if last := r.last(); (last == today) != c.seen || (err == nil) != (c.seen || c.bug.Show.Never != "") {
				t.Errorf("noted %q, error %v", last, err)
			}
		})
	}
	if status := r.git("status", "--porcelain", "--untracked-files=no"); status != "" {
		t.Errorf("the work tree was touched: %s", status)
	}
	if err := run(t.Context(), []string{"-root", r.root, "-reproduce", "gone"}, &strings.Builder{}); err == nil {
		t.Error("a bug that does not exist was reproduced")
	}
	if err := run(t.Context(), []string{"-root", r.root}, &strings.Builder{}); err == nil {
		t.Error("nothing to do is no error")
	}
}
