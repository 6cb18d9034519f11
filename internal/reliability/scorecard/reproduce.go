package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/reliability"
)

// limit ends a test that a bug makes hang.
const limit = 10 * time.Minute

// reproduce shows one bug or all, and notes the date of those that were seen.
func reproduce(ctx context.Context, root, id string, out io.Writer) (err error) {
	name := filepath.Join(root, filepath.FromSlash(reliability.TrackRecord))
	bugs, err := load(name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "reproduce")
	if err != nil {
		return fmt.Errorf("make room for a clone: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := clone{dir: filepath.Join(dir, "clone")}
	if err := command(ctx, root, "git", "clone", "--quiet", "--shared", "--no-checkout", ".", c.dir); err != nil {
		return err
	}
	found, failed := 0, 0
	for _, b := range bugs {
		if id != "all" && b.ID != id {
			continue
		}
		found++
		verdict := c.show(ctx, b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case verdict == nil:
			fmt.Fprintf(out, "shown    %s\n", b.ID)
			if err := note(name, b.ID); err != nil { // at once: all of them take long
				return err
			}
		case errors.Is(verdict, errCannot):
			fmt.Fprintf(out, "cannot   %s: %s\n", b.ID, b.Show.Never)
		default:
			failed++
			fmt.Fprintf(out, "NOT SEEN %s: %v\n", b.ID, verdict)
		}
	}
	switch {
	case found == 0:
		return fmt.Errorf("no bug has the id %q", id)
	case failed > 0:
		return fmt.Errorf("%d of %d bugs were not seen", failed, found)
	}
	return nil
}

func load(name string) ([]reliability.Bug, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the track record: %w", err)
	}
	bugs, err := reliability.DecodeBugs(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return bugs, nil
}

// note writes today's date to a bug. The track record may have been edited since the beginning.
func note(name, id string) error {
	bugs, err := load(name)
	if err != nil {
		return err
	}
	for i := range bugs {
		if bugs[i].ID == id {
			bugs[i].Show.Last = time.Now().UTC().Format(time.DateOnly)
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(bugs); err != nil {
		return fmt.Errorf("write the track record: %w", err)
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// errCannot is the verdict on a bug that says itself why it cannot be shown.
var errCannot = errors.New("it cannot be shown")

// A clone is a copy of the repository, to be put on any commit.
type clone struct{ dir string }

// show returns nil when the bug was seen.
func (c clone) show(ctx context.Context, b reliability.Bug) error {
	fix := b.Fixed[0]
	switch {
	case b.Show.Run != "":
		if err := c.at(ctx, fix+"^", b); err != nil {
			return err
		}
		if err := c.test(ctx, b.Show.Run, true); err != nil {
			return fmt.Errorf("before %s: %w", fix, err)
		}
		passes := cmp.Or(b.Show.Passes, fix)
		if err := c.at(ctx, passes, b); err != nil {
			return err
		}
		if err := c.test(ctx, b.Show.Run, false); err != nil {
			return fmt.Errorf("on %s: %w", passes, err)
		}
		return nil
	case b.Show.Mutant != "":
		if err := command(ctx, c.dir, "git", "checkout", "--quiet", "--force", "--detach", "origin/HEAD"); err != nil {
			return err
		}
		return command(ctx, c.dir, "go", "run", "./internal/mutants", "-only", b.Show.Mutant)
	default:
		return errCannot
	}
}

// at puts the clone on a commit, with the test over it.
func (c clone) at(ctx context.Context, commit string, b reliability.Bug) error {
	if err := command(ctx, c.dir, "git", "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return err
	}
	if err := command(ctx, c.dir, "git", "clean", "-ffdxq"); err != nil {
		return err
	}
	from, files := cmp.Or(b.Show.From, b.Fixed[0]), b.Show.Files
	if len(files) == 0 {
		changed, err := output(ctx, c.dir, "git", "diff-tree", "--no-commit-id", "--name-only", "--diff-filter=AM", "-r", from)
		if err != nil {
			return err
		}
		for f := range strings.FieldsSeq(changed) {
			if strings.HasSuffix(f, "_test.go") || strings.Contains(f, "/testdata/") {
				files = append(files, f)
			}
		}
	}
	if len(files) == 0 {
		return fmt.Errorf("commit %s brings no test: name the files", from)
	}
	return command(ctx, c.dir, "git", append([]string{"checkout", "--quiet", from, "--"}, files...)...)
}

var (
	noBuild = regexp.MustCompile(`(?m)^FAIL\s.*\[(build|setup) failed\]$`)
	noTest  = regexp.MustCompile(`(?m)\[(no tests to run|no test files)\]$`)
	failure = regexp.MustCompile(`(?m)^\s*(--- FAIL|panic:|fatal error:|WARNING: DATA RACE)`)
)

// test runs a go test and returns nil when it fails or passes, as wanted. A test that does not compile has not failed.
func (c clone) test(ctx context.Context, line string, fails bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	text, err := output(ctx, c.dir, "bash", "-c", line)
	switch {
	case noBuild.MatchString(text) || noTest.MatchString(text) || err != nil && !failure.MatchString(text):
		return fmt.Errorf("the test did not run: %s", end(text))
	case fails && err == nil:
		return errors.New("the test passes")
	case !fails && err != nil:
		return fmt.Errorf("the test fails: %s", end(text))
	}
	return nil
}

func end(text string) string {
	const shown = 1500
	if len(text) > shown {
		text = "…" + text[len(text)-shown:]
	}
	return text
}

func command(ctx context.Context, dir, name string, args ...string) error {
	text, err := output(ctx, dir, name, args...)
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, end(text))
	}
	return nil
}

func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	text, err := cmd.CombinedOutput()
	return string(text), err
}
