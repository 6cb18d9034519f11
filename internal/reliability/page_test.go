package reliability_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/simproto"
	"github.com/lockd/lockd/raft/rafttest"
)

const root = "../.."

// TestPageIsWritten requires that the page is what the generator writes, so that nobody writes it by hand.
func TestPageIsWritten(t *testing.T) {
	t.Parallel()
	want, err := reliability.Generate(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, reliability.Page))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is out of date: go run ./internal/reliability/scorecard -write (-want +got):\n%s", reliability.Page, diff)
	}
}

var (
	command = regexp.MustCompile("`([^`]+)`")
	target  = regexp.MustCompile(`\bmake ([a-z][a-z-]*)`)
	goRun   = regexp.MustCompile(`\bgo (?:run|test)\b[^.]*(\./[\w./-]+)`)
)

// TestCommandsExist requires that what the page tells to type can be typed.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, reliability.Page))
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range commands(string(page), string(makefile)) {
		t.Errorf("%s says %s", reliability.Page, bad)
	}
	if bad := commands("`make moon`, `make sim-moon X=1` and `go test ./moon -run X`", string(makefile)); len(bad) != 3 {
		t.Errorf("of three commands that do not exist these are found: %q", bad)
	}
}

// commands returns those of a page that do not exist.
func commands(page, makefile string) []string {
	var bad []string
	for _, c := range command.FindAllStringSubmatch(page, -1) {
		if m := target.FindStringSubmatch(c[1]); m != nil && !regexp.MustCompile(`(?m)^`+m[1]+`:`).MatchString(makefile) {
			bad = append(bad, c[1])
		}
		if m := goRun.FindStringSubmatch(c[1]); m != nil {
			if info, err := os.Stat(filepath.Join(root, strings.TrimSuffix(m[1], "/..."))); err != nil || !info.IsDir() {
				bad = append(bad, c[1])
			}
		}
	}
	return bad
}

// TestTargetsExist requires that the table of faults names targets of the Makefile.
func TestTargetsExist(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	faults, err := reliability.Faults()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		for _, in := range f.Injected {
			if in.Target != "" && !strings.Contains("\n"+string(makefile), "\n"+in.Target+":") {
				t.Errorf("%s: %s is no target", f.Name, in.Target)
			}
		}
	}
}

// TestFaultsOfSimulatorsAreKnown requires that no fault of a simulator is left out of the scorecard.
func TestFaultsOfSimulatorsAreKnown(t *testing.T) {
	t.Parallel()
	names := slices.Clone(simproto.FaultKinds)
	for _, name := range rafttest.Expected() {
		if strings.HasPrefix(name, "fault: ") || strings.HasPrefix(name, "crash: ") {
			names = append(names, name)
		}
	}
	if len(names) < 30 {
		t.Errorf("only %d faults: %q", len(names), names)
	}
	for _, name := range names {
		if got := reliability.Each(clean(), map[string]int64{name: 1}); len(got) != 2 {
			t.Errorf("%q is no fault of faults.json", name)
		}
	}
}

func TestScores(t *testing.T) {
	t.Parallel()
	run := func(seeds string, n int64, with func(*reliability.Run)) reliability.Run {
		r := clean()
		r.Fault, r.Seeds, r.Runs = reliability.AnyFault, seeds, n
		if with != nil {
			with(&r)
		}
		return r
	}
	for _, c := range []struct {
		name string
		runs []reliability.Run
		want reliability.Score
	}{
		{
			"seeds count once",
			[]reliability.Run{run("1-60", 60, nil), run("31-90", 60, nil), run("51-60", 10, nil)},
			reliability.Score{Runs: 130, Independent: 90},
		},
		{
			"not those of other targets",
			[]reliability.Run{run("1-60", 60, nil), run("1-60", 60, func(r *reliability.Run) { r.Target = "sim2" })},
			reliability.Score{Runs: 120, Independent: 120},
		},
		{
			"rounds count each",
			[]reliability.Run{run("", 20, nil), run("", 20, nil), run("7", 5, nil)},
			reliability.Score{Runs: 45, Independent: 45},
		},
		{"from the last violation on", []reliability.Run{
			run("1-60", 60, nil), run("61-90", 30, func(r *reliability.Run) { r.Violations, r.Fixed = 2, "0123456" }), run("91-100", 10, nil),
		}, reliability.Score{Runs: 100, Ever: 2, Independent: 10}},
		{
			"an open violation",
			[]reliability.Run{run("1-60", 60, func(r *reliability.Run) { r.Violations = 1 })},
			reliability.Score{Runs: 60, Open: 1, Ever: 1},
		},
		{
			"an unknown verdict is not passed",
			[]reliability.Run{run("1-60", 60, func(r *reliability.Run) { r.Unknown = 1 })},
			reliability.Score{Runs: 60, Unknown: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			scores := reliability.ByLayer(c.runs)
			if len(scores) != 1 {
				t.Fatalf("%d layers", len(scores))
			}
			got := scores[0]
			got.Layer, got.Fault, got.Injections, got.Operations, got.Simulated = "", "", 0, 0, 0
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("score (-want +got):\n%s", diff)
			}
		})
	}
	if got := (reliability.Score{Independent: 5000}).Bound(); got != 0.0006 {
		t.Errorf("the bound after 5000 runs is %v", got)
	}
	if got := (reliability.Score{Independent: 3}).Bound(); got != 1 {
		t.Errorf("the bound after 3 runs is %v", got)
	}
}

func TestNewestPlantedBugsCount(t *testing.T) {
	t.Parallel()
	planted := func(name string, n, caught int64) reliability.Run {
		r := clean()
		r.Fault, r.Package, r.Injections, r.Caught, r.Seeds = reliability.PlantedBug, name, n, caught, ""
		return r
	}
	runs := []reliability.Run{planted("raft", 10, 9), planted("session", 5, 5), planted("raft", 12, 12)}
	if s := reliability.ByLayer(runs); len(s) != 1 || s[0].Planted != 17 || s[0].Caught != 17 || s[0].Runs != 0 {
		t.Errorf("%+v", s)
	}
	if p := reliability.Planted(runs); len(p) != 2 || p[0].Package != "raft" || p[0].Caught != 12 || p[1].Package != "session" {
		t.Errorf("%+v", p)
	}
}

func TestBadTables(t *testing.T) {
	t.Parallel()
	const bug = `{"id": "raft-x", "area": "raft", "bug": "b", "severity": "safety", "introduced": "0123456", "found_by": "f", "fixed": ["0123456"],
		"tests": ["TestX"], "show": {"run": "go test ./raft -run X"}}`
	for _, c := range []struct{ old, bad, want string }{
		{`"raft-x"`, `"Raft"`, "wants an id"},
		{`"area": "raft"`, `"area": "moon"`, `area "moon"`},
		{`"safety"`, `"bad"`, `severity "bad"`},
		{`["0123456"]`, `[]`, "wants a commit"},
		{`["0123456"]`, `["main"]`, `commit "main"`},
		{`["TestX"]`, `[]`, "wants a commit that fixed it, and a test"},
		{`"go test ./raft -run X"`, `"make test"`, "is no go test"},
		{`{"run": "go test ./raft -run X"}`, `{}`, "or why there is none"},
		{`{"run"`, `{"files": ["../x"], "run"`, "is outside"},
		{`{"run"`, `{"last": "today", "run"`, `date "today"`},
		{`"bug": "b"`, `"bug": "b", "moon": 1`, `unknown field "moon"`},
	} {
		if _, err := reliability.DecodeBugs([]byte("[" + strings.Replace(bug, c.old, c.bad, 1) + "]")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s in place of %s: %v", c.bad, c.old, err)
		}
	}
	if _, err := reliability.DecodeBugs([]byte("[" + bug + "," + bug + "]")); err == nil || !strings.Contains(err.Error(), "its id is taken") {
		t.Errorf("a bug that stands twice: %v", err)
	}
	if _, err := reliability.DecodePromises([]byte(`[{"promise": "p", "tests": ["TestX"]}]`)); err == nil {
		t.Error("a promise without a command is taken")
	}
	if _, err := reliability.DecodePromises([]byte(`[{"promise": "p", "not": true}]`)); err != nil {
		t.Errorf("what is not promised needs no test: %v", err)
	}
}

func TestDurationsAreWholeSeconds(t *testing.T) {
	t.Parallel()
	r := clean()
	r.Simulated = 90*time.Second + time.Millisecond
	data, err := reliability.Encode([]reliability.Run{r})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `"simulated_seconds":90,`) {
		t.Errorf("%s", data)
	}
}
