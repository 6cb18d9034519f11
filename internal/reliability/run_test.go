package reliability_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/reliability"
)

// clean is an entry without a fault.
func clean() reliability.Run {
	return reliability.Run{
		Date: "2026-11-23", Commit: "0123456789", Target: "sim", Layer: "raft-sim", Fault: "disk full", Runs: 60, Injections: 7,
		Operations: 1000, Simulated: 90 * time.Second, Seeds: "1-60", Command: "make sim SEEDS=60 SEED=1",
	}
}

func TestRunsAreKept(t *testing.T) {
	t.Parallel()
	planted := clean()
	planted.Fault, planted.Package, planted.Seeds, planted.Caught = reliability.PlantedBug, "raft", "", 6
	want := []reliability.Run{clean(), planted}
	data, err := reliability.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := reliability.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoding what was encoded (-want +got):\n%s", diff)
	}
	if got := strings.Count(string(data), "\n"); got != len(want)+2 {
		t.Errorf("%d lines for %d entries: one each, and the brackets\n%s", got, len(want), data)
	}
}

// TestBadRuns holds what a check must refuse, and name.
func TestBadRuns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(*reliability.Run)
		want  string
	}{
		{"no date", func(r *reliability.Run) { r.Date = "yesterday" }, `date "yesterday"`},
		{"no commit", func(r *reliability.Run) { r.Commit = "main" }, `commit "main"`},
		{"layer", func(r *reliability.Run) { r.Layer = "moon" }, `layer "moon" is unknown`},
		{"fault", func(r *reliability.Run) { r.Fault = "bad luck" }, `fault "bad luck" is unknown`},
		{"no command", func(r *reliability.Run) { r.Command = "" }, "wants a target and a command"},
		{"no run", func(r *reliability.Run) { r.Runs = 0 }, "runs are 0"},
		{"negative", func(r *reliability.Run) { r.Unknown = -1 }, "a number is negative"},
		{"never injected", func(r *reliability.Run) { r.Injections = 0 }, "proves nothing"},
		{"fixed without a violation", func(r *reliability.Run) { r.Fixed = "0123456" }, "fixed in"},
		{"caught", func(r *reliability.Run) { r.Caught = 1 }, "only planted bugs"},
		{"no package", func(r *reliability.Run) { r.Fault = reliability.PlantedBug }, "belong to a package"},
		{"more caught than planted", func(r *reliability.Run) {
			r.Fault, r.Package, r.Caught = reliability.PlantedBug, "raft", 8
		}, "8 planted bugs caught of 7"},
		{"seeds", func(r *reliability.Run) { r.Seeds = "9-1" }, `seeds "9-1"`},
		{"more runs than seeds", func(r *reliability.Run) { r.Runs = 61 }, "61 runs of the seeds 1-60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := clean()
			c.spoil(&r)
			data, err := reliability.Encode([]reliability.Run{clean(), r})
			if err != nil {
				t.Fatal(err)
			}
			_, err = reliability.Decode(data)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "entry 2 ") {
				t.Errorf("the error is %v; want entry 2 and %q", err, c.want)
			}
		})
	}
}

func TestUnknownFieldsAreNamed(t *testing.T) {
	t.Parallel()
	data, err := reliability.Encode([]reliability.Run{clean()})
	if err != nil {
		t.Fatal(err)
	}
	for old, bad := range map[string]string{`"runs"`: `"rnus"`, `60,`: `"many",`, `[`: `{`, "\n]": "\n]]"} {
		if _, err := reliability.Decode([]byte(strings.Replace(string(data), old, bad, 1))); err == nil {
			t.Errorf("%s in place of %s is taken", bad, old)
		}
	}
}

func TestEachCountsByFault(t *testing.T) {
	t.Parallel()
	total := clean()
	total.Fault, total.Injections = "", 0
	got := map[string]int64{}
	for _, r := range reliability.Each(total, reliability.Counts(map[string]int{
		"message lost": 3, "loss": 4, "fault: bit rot in the log": 5, "crash of all nodes": 2, "election": 0, "follower to candidate": 9,
	})) {
		got[r.Fault] = r.Injections
		if r.Runs != total.Runs || r.Operations != total.Operations {
			t.Errorf("%s: %d runs, %d operations", r.Fault, r.Runs, r.Operations)
		}
	}
	want := map[string]int64{reliability.AnyFault: 14, "messages lost": 7, "bit rot": 5, "crash of all nodes": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("injections by fault (-want +got):\n%s", diff)
	}
}

// TestRecord appends from many goroutines, which lock each other out as processes do, for each opens the directory anew.
func TestRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "runs.json")
	t.Setenv(reliability.Variable, name)
	const writers = 8
	var wg sync.WaitGroup
	for i := range uint64(writers) {
		wg.Go(func() {
			r := clean()
			r.Date, r.Commit, r.Runs, r.Seeds = "", "", 1, reliability.SeedRange(i, 1)
			reliability.Record(t, r)
		})
	}
	wg.Wait()
	repeated := clean()
	repeated.Date, repeated.Commit, repeated.Runs, repeated.Seeds = "", "", 1, "3"
	repeated.Injections = 99
	reliability.Record(t, repeated)
	runs, err := reliability.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int64{}
	for _, r := range runs {
		seen[r.Seeds] = r.Injections
		if r.Date == "" || r.Commit == "" {
			t.Errorf("an entry without date or commit: %+v", r)
		}
	}
	if len(runs) != writers || len(seen) != writers || seen["3"] != 99 {
		t.Errorf("%d entries of %d seeds, want %d; the repeated one counts %d", len(runs), len(seen), writers, seen["3"])
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

func TestRecordNeedsNoFile(t *testing.T) {
	t.Setenv(reliability.Variable, "")
	r := clean()
	r.Date, r.Commit = "", ""
	reliability.Record(t, r) // which fails the test if the entry is refused
	if t.Failed() {
		t.Error("a good entry is refused")
	}
}

// failedTest is a test that has failed, and notes whether it was ended.
type failedTest struct {
	testing.TB

	ended bool
}

func (f *failedTest) Failed() bool { return true }
func (f *failedTest) Helper()      {}
func (f *failedTest) Fatal(...any) { f.ended = true }

func TestFailedTestsHaveFoundSomething(t *testing.T) {
	name := filepath.Join(t.TempDir(), "runs.json")
	t.Setenv(reliability.Variable, name)
	failed := &failedTest{TB: t}
	reliability.Record(failed, clean())
	runs, err := reliability.Load(name)
	if err != nil || len(runs) != 1 || runs[0].Violations != 1 {
		t.Errorf("recorded %+v, %v; want one violation", runs, err)
	}
	bad := clean()
	bad.Layer = "moon"
	if reliability.Record(failed, bad); !failed.ended {
		t.Error("a bad entry does not end the test")
	}
}
