package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// toy copies the toy module, with another table if one is given.
func toy(t *testing.T, table string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/toy")); err != nil {
		t.Fatal(err)
	}
	if table != "" {
		if err := os.WriteFile(filepath.Join(root, "mutants.txt"), []byte(table), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAllCaught(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"testdata/toy"}, &out, ""); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"3 mutants, 3 caught", "starts-at-one", "panics", "needs-seeds", "clean"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output has no %q:\n%s", want, &out)
		}
	}
}

const stanza = "mutant: m\nfile: sum.go\n"

func TestEscapes(t *testing.T) {
	const change = "old: |\n  \t\tsum += n\nnew: |\n  \t\tsum -= n\n"
	for _, c := range []struct {
		name  string
		table string
		want  outcome
	}{
		{"survives", "test: go test . -run TestSum\nold: |\n  \t\tproduct *= n\nnew: |\n  \t\tproduct += n\n", survived},
		{"too few seeds", "test: go test . -run TestSeeds\nseeds: 6\n" + change, survived},
		{"does not compile", "test: go test . -run TestSum\n" + change + "  \t\tsum += m\n", broken},
		{"hangs", "test: go test . -run TestSum -timeout=1s\n" + change + "  \t\tselect {}\n", hung},
		{"no such test", "test: go test . -run TestGone\n" + change, empty},
		{"no such flag", "test: go test . -gone\n" + change, failed},
		{"fails anyway", "test: go test . -run TestAlwaysFails\n" + change, failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := run(t.Context(), []string{toy(t, stanza+c.table)}, &out, "")
			if (err == nil) != (c.want == caught) {
				t.Errorf("the error is %v", err)
			}
			if !strings.Contains("\n"+out.String(), "\n"+string(c.want)+" ") {
				t.Errorf("the outcome is not %s:\n%s", c.want, &out)
			}
		})
	}
}

func TestBadTables(t *testing.T) {
	const rest = "test: go test .\nold: |\n  \t\tsum += n\nnew: |\n"
	for _, c := range []struct{ name, table, want string }{
		{"lost text", stanza + "test: go test .\nold: |\n  \t\tsum -= n\nnew: |\n", "stands 0 times in sum.go"},
		{"half a line", stanza + "test: go test .\nold: |\n  sum += n\nnew: |\n", "stands 0 times in sum.go"},
		{"twice", stanza + "test: go test .\nold: |\n  \t}\nnew: |\n", "stands 2 times in sum.go"},
		{"lost file", "mutant: m\nfile: gone.go\n" + rest, "gone.go"},
		{"a test", "mutant: m\nfile: sum_test.go\n" + rest, "mutates a test"},
		{"no change", stanza + "test: go test .\nold: |\n  \t\tsum += n\nnew: |\n  \t\tsum += n\n", "changes nothing"},
		{"no old", stanza + "test: go test .\nnew: |\n  \t\tsum += n\n", "wants a name, a file and an old text"},
		{"no go test", stanza + strings.Replace(rest, "go test", "rm -r", 1), "wants a test that begins with go test"},
		{"open quote", stanza + strings.Replace(rest, "test .", "test . -run 'x", 1), "an open quote"},
		{"bad seeds", stanza + "seeds: few\n" + rest, "mutants.txt:3: mutant m"},
		{"unknown key", stanza + "hunk: 1\n" + rest, `unknown key "hunk"`},
		{"no key", stanza + "nothing\n" + rest, "is not key: value"},
		{"text on the line", stanza + "old: x\n", "wants | and indented lines"},
		{"no mutant", "file: sum.go\n", "stands before the first mutant"},
		{"same name", stanza + rest + "\n" + stanza + rest, "mutants.txt:8: mutant m stands in"},
		{"nothing", "# nothing\n", "none of 0 mutants is chosen"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := run(t.Context(), []string{"-list", toy(t, c.table)}, &strings.Builder{}, "")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v; it does not say %q", err, c.want)
			}
		})
	}
}

// TestParts requires that the parts are all mutants, each once.
func TestParts(t *testing.T) {
	list := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		if err := run(t.Context(), append(args, "-list", "testdata/toy"), &out, ""); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	all := list()
	if got := strings.Count(all, "\n"); got != 3 {
		t.Fatalf("%d mutants are listed, want 3:\n%s", got, all)
	}
	first, second := list("-part", "0/2"), list("-part", "1/2")
	lines := strings.SplitAfter(all, "\n")
	if first != lines[0]+lines[2] || second != lines[1] {
		t.Errorf("the parts are\n%sand\n%s", first, second)
	}
	if got := list("-only", "panics"); got != lines[1] {
		t.Errorf("-only panics lists\n%s", got)
	}
	for _, part := range []string{"2/2", "-1/2", "0/0", "x", "1"} {
		if err := run(t.Context(), []string{"-part", part, "testdata/toy"}, &strings.Builder{}, ""); err == nil {
			t.Errorf("part %s is taken", part)
		}
	}
	if err := run(t.Context(), []string{"-only", "gone", "testdata/toy"}, &strings.Builder{}, ""); err == nil {
		t.Error("a mutant that does not exist is taken")
	}
}

// TestScores requires that a table is scored as a whole or not at all, and each layer apart.
func TestScores(t *testing.T) {
	all := []mutant{
		{table: "raft", test: []string{"go", "test", "./raft"}},
		{table: "raft", test: []string{"go", "test", "./raft/rafttest/"}},
		{table: "raft", test: []string{"go", "test", "./raft"}},
		{table: "session", test: []string{"go", "test", "./session"}},
	}
	runs := scores(all, all[:3], []result{{outcome: caught}, {outcome: caught}, {outcome: survived}})
	if len(runs) != 2 || runs[0].Layer != "unit" || runs[0].Injections != 2 || runs[0].Caught != 1 || runs[1].Layer != "raft-sim" || runs[1].Caught != 1 {
		t.Errorf("a whole table: %+v", runs)
	}
	if runs := scores(all, all[1:3], []result{{outcome: caught}, {outcome: caught}}); len(runs) != 0 {
		t.Errorf("a part of a table is scored: %+v", runs)
	}
}

func TestTableIsChosen(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-list", "-table", ".", "testdata/toy"}, &out, ""); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%v: %s", err, &out)
	}
	if err := run(t.Context(), []string{"-list", "-table", "gone", "testdata/toy"}, &out, ""); err == nil {
		t.Error("a table that does not exist is taken")
	}
}
