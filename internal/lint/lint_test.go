package lint_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/lint"
)

var rewrite = flag.Bool("rewrite", false, "write what the rules find in the samples to testdata/*.want")

// rules are those that need nothing but the tree, and the sample in testdata that breaks each.
var rules = []struct {
	name   string
	sample string
	find   func(*lint.Tree) []lint.Finding
}{
	{"PackageDocs", "docs", lint.PackageDocs},
	{"Words", "words", lint.Words},
	{"Citations", "citations", lint.Citations},
	{"Sleeps", "tests", lint.Sleeps},
	{"Assertions", "tests", lint.Assertions},
	{"Skips", "tests", lint.Skips},
	{"Tables", "tables", lint.Tables},
	{"Stages", "stages", lint.Stages},
}

func TestRepository(t *testing.T) {
	tree := load(t, "../..")
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, f := range rule.find(tree) {
				t.Error(f)
			}
		})
	}
	for _, m := range lint.Machines() {
		t.Run("Pure/"+m.Dir, func(t *testing.T) {
			found, err := lint.Pure(t.Context(), tree, m)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

func TestRules(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			compare(t, rule.name, rule.find(load(t, filepath.Join("testdata", rule.sample))))
		})
	}
}

// TestSizes makes its samples itself, as they are long.
func TestSizes(t *testing.T) {
	root := t.TempDir()
	write := func(name string, lines int) {
		t.Helper()
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("package raft\n"+strings.Repeat("\n", lines-1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	find := func() string {
		tree := load(t, root)
		return fmt.Sprint(append(lint.Lengths(tree), lint.CoreLength(tree)...))
	}
	for i := range 5 {
		write(fmt.Sprintf("raft/core%d.go", i), 500)
	}
	write("raft/core5.go", 300)
	write("raft/node.go", 500)
	write("raft/core_test.go", 2000)
	write("raft/wal/wal.go", 500)
	if diff := cmp.Diff("[]", find()); diff != "" {
		t.Errorf("at the limits (-want +got):\n%s", diff)
	}
	write("raft/core5.go", 301)
	write("raft/node.go", 501)
	want := "[raft/node.go: 501 lines: split it; the limit is 500 raft: the core has 2801 lines; the limit is 2800]"
	if diff := cmp.Diff(want, find()); diff != "" {
		t.Errorf("beyond the limits (-want +got):\n%s", diff)
	}
}

func TestPure(t *testing.T) {
	m := lint.Machine{Dir: "machine", Pure: func(name string) bool { return name != "node.go" }}
	found, err := lint.Pure(t.Context(), load(t, "testdata/pure"), m)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "Pure", found)
}

func TestPureNeedsCode(t *testing.T) {
	tree := load(t, "testdata/pure")
	if _, err := lint.Pure(t.Context(), tree, lint.Machine{Dir: "gone"}); err == nil {
		t.Error("a machine without a directory passes")
	}
}

func load(t *testing.T, root string) *lint.Tree {
	t.Helper()
	tree, err := lint.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// compare holds what a rule found in its sample against testdata/NAME.want.
func compare(t *testing.T, name string, found []lint.Finding) {
	t.Helper()
	if len(found) == 0 {
		t.Fatal("the rule finds nothing in its sample")
	}
	var got strings.Builder
	for _, f := range found {
		got.WriteString(f.String() + "\n")
	}
	golden := filepath.Join("testdata", name+".want")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("findings differ from %s (-want +got):\n%s", golden, diff)
	}
}
