// Mutants plants bugs, one at a time, and requires the test that is named for each to find it.
//
//	go run ./internal/mutants [-list] [-only NAME] [-table DIR] [-part i/n] [-j n] [root]
//
// Every file mutants.txt of the repository is a table of stanzas:
//
//	mutant: renewal-without-round
//	file: session/keeper.go
//	test: go test ./session/ -run TestScripts
//	seeds: 50
//	old: |
//	  lines that stand exactly once in the file
//	new: |
//	  lines that take their place
//
// No source is touched: the mutated file is given to the compiler by an overlay. Each test first runs without a mutant, and must
// pass. A mutant is caught when its test fails; it is an error when it does not compile, survives, or makes the test hang. The
// optional seeds are the number within which a simulator must find it, handed to the test as LOCKD_SEEDS. With LOCKD_RELIABILITY naming a
// file, how many of a table were caught is appended to it, of tables that were run as a whole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"runtime"
	"strings"

	"github.com/lockd/lockd/internal/reliability"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Getenv(reliability.Variable)); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

// run does what the arguments say. Scores go to the file named scorecard, unless that is empty.
func run(ctx context.Context, args []string, out io.Writer, scorecard string) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	list := flags.Bool("list", false, "check the tables and list them; run nothing")
	only := flags.String("only", "", "run the mutant of this name")
	table := flags.String("table", "", "run the mutants of the table in this directory")
	part := flags.String("part", "0/1", "run part `i/n` of all mutants, i from 0")
	jobs := flags.Int("j", runtime.NumCPU(), "run so many at a time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root := "."
	if flags.NArg() > 0 {
		root = flags.Arg(0)
	}
	all, err := find(root)
	if err != nil {
		return err
	}
	chosen, err := choose(all, *only, *table, *part)
	if err != nil {
		return err
	}
	if *list {
		for _, m := range chosen {
			fmt.Fprintf(out, "%-40s %s: %s\n", m.name, m.file, strings.Join(m.test, " "))
		}
		return nil
	}
	results, err := (&runner{root: root, out: out, jobs: max(1, *jobs)}).run(ctx, chosen)
	if scorecard == "" || results == nil {
		return err
	}
	return errors.Join(err, reliability.Append(ctx, root, scorecard, scores(all, chosen, results)...))
}

// choose returns the mutant of that name, those of that table, or every n-th mutant.
func choose(all []mutant, only, table, part string) ([]mutant, error) {
	var i, n int
	if _, err := fmt.Sscanf(part, "%d/%d", &i, &n); err != nil || n < 1 || i < 0 || i >= n {
		return nil, fmt.Errorf("part %q is not i/n with 0 <= i < n", part)
	}
	var chosen []mutant
	for k, m := range all {
		if m.name == only || only == "" && k%n == i && (table == "" || m.table == path.Clean(table)) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of %d mutants is chosen", len(all))
	}
	return chosen, nil
}
