package reliability

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Variable names the file that Record appends to.
const Variable = "LOCKD_RELIABILITY"

// Each returns the entry of a run as a whole, and one for each fault of faults.json that was met. The counts are under the names that
// the test has for its faults, several of which may be one fault of the table; what the table does not know is no fault. The total
// needs no Fault and no Injections.
func Each(total Run, counts map[string]int64) []Run {
	faults, err := Faults()
	if err != nil {
		panic(err) // the table is part of the program, and tested
	}
	total.Fault, total.Injections = AnyFault, 0
	runs := []Run{total}
	for _, f := range faults {
		one := total
		one.Fault = f.Name
		for _, kind := range append([]string{f.Name}, f.Kinds...) {
			one.Injections += counts[kind]
		}
		if one.Injections > 0 {
			runs[0].Injections += one.Injections
			runs = append(runs, one)
		}
	}
	return runs
}

// Record appends the runs to the file that the variable LOCKD_RELIABILITY names, with today's date and the present commit; a run
// without a Violation counts as one in a test that has failed. Without the variable it only checks them. A relative name counts from
// the root of the repository. An entry that cannot be ends the test.
func Record(t testing.TB, runs ...Run) {
	t.Helper()
	name := os.Getenv(Variable)
	for i := range runs {
		if t.Failed() && runs[i].Violations == 0 {
			runs[i].Violations = 1
		}
	}
	if err := record(context.WithoutCancel(t.Context()), name, runs); err != nil {
		t.Fatal(err)
	}
}

func record(ctx context.Context, name string, runs []Run) error {
	if name == "" {
		return checkUndated(runs)
	}
	root, err := git(ctx, "", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(root, name)
	}
	return Append(ctx, root, name, runs...)
}

// checkUndated checks what can be checked before date and commit are known.
func checkUndated(runs []Run) error {
	faults, err := Faults()
	if err != nil {
		return err
	}
	var bad []error
	for _, r := range runs {
		r.Date, r.Commit = time.DateOnly, "0000000"
		if err := r.check(faults); err != nil {
			bad = append(bad, fmt.Errorf("%s, %s, %s: %w", r.Target, r.Layer, r.Fault, err))
		}
	}
	return errors.Join(bad...)
}

// Append adds runs to a file, which need not exist, and fills in the date and the commit of the repository at root where they are
// missing. An earlier entry of the same commit about the same seeds gives way, as repeating it shows nothing new, unless it had found a
// violation. The file is replaced as a whole; other processes wait meanwhile.
func Append(ctx context.Context, root, name string, runs ...Run) (err error) {
	commit, err := head(ctx, root)
	if err != nil {
		return err
	}
	for i := range runs {
		if runs[i].Date == "" {
			runs[i].Date = time.Now().UTC().Format(time.DateOnly)
		}
		if runs[i].Commit == "" {
			runs[i].Commit = commit
		}
	}
	// The directory is what stays when the file is replaced, so it is what is locked.
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return fmt.Errorf("append to %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the directory of %s: %w", name, err)
	}
	all, err := Load(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	all = slices.DeleteFunc(all, func(old Run) bool {
		return old.Seeds != "" && old.Violations == 0 && slices.ContainsFunc(runs, func(r Run) bool { return r.repeats(old) })
	})
	return Save(name, append(all, runs...))
}

func (r Run) repeats(old Run) bool {
	return r.Commit == old.Commit && r.Target == old.Target && r.Layer == old.Layer && r.Fault == old.Fault && r.Package == old.Package &&
		r.Seeds == old.Seeds
}

// Load reads a file of runs.
func Load(name string) ([]Run, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the scorecard: %w", err)
	}
	runs, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return runs, nil
}

// Save replaces a file of runs, after checking that Load will take it.
func Save(name string, runs []Run) error {
	data, err := Encode(runs)
	if err != nil {
		return err
	}
	if _, err := Decode(data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	temporary := fmt.Sprintf("%s.%d", name, os.Getpid())
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return fmt.Errorf("write the scorecard: %w", err)
	}
	if err := os.Rename(temporary, name); err != nil {
		return errors.Join(fmt.Errorf("write the scorecard: %w", err), os.Remove(temporary))
	}
	return nil
}

// head names the commit of the repository, and says whether its source differs from it.
func head(ctx context.Context, root string) (string, error) {
	commit, err := git(ctx, root, "rev-parse", "--short=10", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := git(ctx, root, "status", "--porcelain", "--", ":/*.go", ":/*.s", ":/go.mod", ":/go.sum")
	if err != nil {
		return "", err
	}
	if changed != "" {
		commit += "-dirty"
	}
	return commit, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("which commit is this? git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Counts turns counters of a test into what Each wants.
func Counts[N ~int | ~int64 | ~uint64](counters map[string]N) map[string]int64 {
	counts := make(map[string]int64, len(counters))
	for what, n := range counters {
		counts[what] = int64(n)
	}
	return counts
}
