package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares what was said with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -rewrite takes what is new):\n%s", file, diff)
	}
}

// paths returns every command.
func paths(commands []*cli.Command, before ...string) [][]string {
	var all [][]string
	for _, c := range commands {
		path := append(append([]string{}, before...), c.Name)
		all = append(all, path)
		all = append(all, paths(c.Subcommands, path...)...)
	}
	return all
}

// TestHelp of every command fits a terminal of 80 columns, has an example, and says what it said before.
func TestHelp(t *testing.T) {
	app := (&program{out: io.Discard, err: io.Discard}).app()
	for _, path := range append(paths(app.Commands), nil) {
		out, errs, code := runHere(t, append([]string{"help"}, path...)...)
		if code != 0 || errs != "" {
			t.Errorf("help %v: code %d, %s", path, code, errs)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("help %v: %d columns: %s", path, n, line)
			}
		}
		if len(path) == 1 && path[0] == "complete" {
			continue // for scripts
		}
		if !strings.Contains(out, "\nExamples:\n  ") {
			t.Errorf("help %v has no example", path)
		}
		golden(t, filepath.Join("help", strings.Join(append([]string{"lockd"}, path...), "-")+".txt"), out)
		if len(path) == 0 {
			continue
		}
		if flagged, _, _ := runHere(t, append(append([]string{}, path...), "--help")...); flagged != out {
			t.Errorf("%v --help differs from help %v", path, path)
		}
	}
}

// TestExamplesAreCommands: every example of every help names commands and flags that exist.
func TestExamplesAreCommands(t *testing.T) {
	app := (&program{out: io.Discard, err: io.Discard}).app()
	var examples int
	for _, path := range append(paths(app.Commands), nil) {
		out, _, _ := runHere(t, append([]string{"help"}, path...)...)
		_, text, _ := strings.Cut(out, "\nExamples:\n")
		text = strings.ReplaceAll(text, "\\\n", " ")
		for line := range strings.Lines(text) {
			_, command, ok := strings.Cut(strings.TrimSpace(line), "lockd ")
			if !ok || strings.HasPrefix(line, "Flags of") {
				continue
			}
			command, _, _ = strings.Cut(command, "#")
			command, _, _ = strings.Cut(command, ")")
			command, _, _ = strings.Cut(command, "&&")
			command, _, _ = strings.Cut(command, "|")
			examples++
			if _, err := read(app, strings.Fields(command)); err != nil {
				t.Errorf("help %v: %s: %v", path, strings.TrimSpace(line), err)
			}
		}
	}
	if examples < 25 {
		t.Errorf("%d examples were found", examples)
	}
}

func TestBareProgramHelps(t *testing.T) {
	out, errs, code := runHere(t)
	want, _, _ := runHere(t, "help")
	if code != 0 || errs != "" || out != want {
		t.Errorf("code %d, %s%s", code, errs, cmp.Diff(want, out))
	}
}
