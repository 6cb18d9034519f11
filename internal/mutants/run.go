package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// testTimeout ends a test that a mutant made hang; a hang is not a find.
const testTimeout = 5 * time.Minute

// An outcome is what became of one run of a test.
type outcome string

const (
	caught   outcome = "caught"    // the test failed
	survived outcome = "SURVIVED"  // the test passed
	broken   outcome = "NO BUILD"  // the mutant does not compile
	hung     outcome = "HUNG"      // the test ran into its time limit
	empty    outcome = "NO TEST"   // the command matches no test
	failed   outcome = "NOT CLEAN" // the test does not pass without any mutant
)

// A runner runs mutants of one repository.
type runner struct {
	root string
	out  io.Writer
	jobs int
}

type result struct {
	outcome outcome
	took    time.Duration
	output  string // of the test
}

// run plants the mutants and prints a table of what became of them, which it returns if it came to the end. It returns an error
// unless every one was caught.
func (r *runner) run(ctx context.Context, mutants []mutant) (results []result, err error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, fmt.Errorf("make room for the mutants: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := r.clean(ctx, mutants); err != nil {
		return nil, err
	}
	results = make([]result, len(mutants))
	work := make(chan int)
	var group sync.WaitGroup
	var mu sync.Mutex // guards r.out
	for range r.jobs {
		group.Go(func() {
			for i := range work {
				results[i] = r.plant(ctx, dir, i, mutants[i])
				mu.Lock()
				r.print(mutants[i], results[i])
				mu.Unlock()
			}
		})
	}
	for i := range mutants {
		work <- i
	}
	close(work)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	escaped := 0
	for _, res := range results {
		if res.outcome != caught {
			escaped++
		}
	}
	fmt.Fprintf(r.out, "%d mutants, %d caught\n", len(mutants), len(mutants)-escaped)
	if escaped > 0 {
		return results, fmt.Errorf("%d of %d mutants were not caught", escaped, len(mutants))
	}
	return results, nil
}

// clean runs every distinct test once without a mutant: what fails anyway finds nothing.
func (r *runner) clean(ctx context.Context, mutants []mutant) error {
	var seen []string
	for _, m := range mutants {
		key := fmt.Sprint(m.seeds, m.test)
		if slices.Contains(seen, key) {
			continue
		}
		seen = append(seen, key)
		start := time.Now()
		got, output := r.test(ctx, m, "")
		if got == survived { // as it should
			fmt.Fprintf(r.out, "%-10s %6.1fs  %s\n", "clean", time.Since(start).Seconds(), strings.Join(m.test, " "))
			continue
		}
		if got != empty {
			got = failed
		}
		r.print(m, result{got, time.Since(start), output})
		return fmt.Errorf("%s: mutant %s: its test does not pass without it", m.where, m.name)
	}
	return nil
}

// plant runs the test of one mutant with the mutant in place.
func (r *runner) plant(ctx context.Context, dir string, i int, m mutant) result {
	start := time.Now()
	overlay, err := r.overlay(dir, i, m)
	if err != nil {
		return result{broken, 0, err.Error()}
	}
	got, output := r.test(ctx, m, overlay)
	return result{got, time.Since(start), output}
}

// overlay writes the mutated file and the description that makes the compiler read it in place of the original.
func (r *runner) overlay(dir string, i int, m mutant) (string, error) {
	text, err := m.apply(r.root)
	if err != nil {
		return "", err
	}
	original, err := filepath.Abs(filepath.Join(r.root, filepath.FromSlash(m.file)))
	if err != nil {
		return "", err
	}
	mutated := filepath.Join(dir, strconv.Itoa(i)+".go")
	if err := os.WriteFile(mutated, []byte(text), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, strconv.Itoa(i)+".json")
	return name, os.WriteFile(name, overlay, 0o600)
}

func (r *runner) test(ctx context.Context, m mutant, overlay string) (outcome, string) {
	args := []string{"test", "-count=1", "-vet=off", "-timeout=" + testTimeout.String()}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, m.test[2:]...)...)
	cmd.Dir = r.root
	cmd.Env = os.Environ()
	if m.seeds > 0 {
		cmd.Env = append(cmd.Env, "LOCKD_SEEDS="+strconv.Itoa(m.seeds))
	}
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	return judge(cmd.Run(), output.String()), output.String()
}

var (
	timedOut = regexp.MustCompile(`(?m)^panic: test timed out after`)
	noBuild  = regexp.MustCompile(`(?m)^FAIL\s.*\[(build|setup) failed\]$`)
	noTest   = regexp.MustCompile(`(?m)\[(no tests to run|no test files)\]$`)
	failure  = regexp.MustCompile(`(?m)^(--- FAIL|panic:|fatal error:|FAIL\s)`)
)

// judge reads what go test has to say. The order matters: a run of several packages may show several signs.
func judge(err error, output string) outcome {
	_, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil && noTest.MatchString(output):
		return empty
	case err == nil:
		return survived
	case !ran || noBuild.MatchString(output) || !failure.MatchString(output):
		return broken
	case timedOut.MatchString(output):
		return hung
	default:
		return caught
	}
}

// print writes one line of the table; what escaped also shows the end of its test's output.
func (r *runner) print(m mutant, res result) {
	fmt.Fprintf(r.out, "%-10s %6.1fs  %-36s %s\n", res.outcome, res.took.Seconds(), m.name, m.where)
	if res.outcome == caught || res.outcome == survived {
		return
	}
	const shown = 2000
	if len(res.output) > shown {
		res.output = "…" + res.output[len(res.output)-shown:]
	}
	fmt.Fprintf(r.out, "%s\n", strings.TrimSpace(res.output))
}
