package rolling

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// buildOld builds the program as it was at a commit, in a directory of the test's.
func buildOld(t *testing.T, commit string) (path string) {
	t.Helper()
	git := func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		var bad bytes.Buffer
		cmd.Stderr = &bad
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(bad.Bytes()))
		}
		return out, err
	}
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	root := strings.TrimSpace(string(top))
	if _, err := git("-C", root, "cat-file", "-e", commit+"^{commit}"); err != nil {
		shallow, _ := git("-C", root, "rev-parse", "--is-shallow-repository")
		t.Fatalf("the commit %s is not in this repository (a shallow clone: %s; \"git fetch --unshallow\" brings the rest): %v",
			commit, bytes.TrimSpace(shallow), err)
	}
	dir := filepath.Join(t.TempDir(), "source")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "..", "source.tar")
	if _, err := git("-C", root, "archive", "--output", archive, commit); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("unpack the source of %s: %v: %s", commit, err, out)
	}
	path = filepath.Join(t.TempDir(), "lockd-old")
	if err := build(t.Context(), dir, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// gossips reports whether a program knows gossip.
func gossips(t *testing.T, path string) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, "help", "serve").CombinedOutput()
	if err != nil {
		t.Fatalf("%s help serve: %v: %s", path, err, out)
	}
	return bytes.Contains(out, []byte("--bootstrap-expect"))
}

// TestMixed begins a cluster with the program of an older commit, brings the nodes to this one's one after the other under load, and takes
// one back and forth again. Old and new nodes follow old and new leaders meanwhile, and old and new clients are served.
func TestMixed(t *testing.T) {
	commit := os.Getenv("LOCKD_OLD")
	if commit == "" {
		t.Skip("it needs an older commit: make mixed OLD=COMMIT")
	}
	old := buildOld(t, commit)
	f := newFleet(t, 5, gossips(t, old))
	for _, m := range f.machines {
		m.program = old
		f.start(m)
	}
	for _, m := range f.machines {
		f.awaitReady(m)
	}
	l := startLoad(t, clientsOf(f.machines))
	l.more()
	seen := map[string]int{} // by who led, while there were nodes of the other kind
	changes := 0
	change := func(m *machine, to string) {
		t.Helper()
		f.terminate(m)
		m.program = to
		f.start(m)
		f.awaitReady(m)
		l.more()
		leader := f.leader(f.machines)
		if slices.ContainsFunc(f.machines, func(m *machine) bool { return m.program != leader.program }) {
			seen[filepath.Base(leader.program)]++
		}
		oldClient(t, old, m)
		changes++
	}
	follower := func(of []*machine) *machine {
		leader := f.leader(f.machines)
		return of[slices.IndexFunc(of, func(m *machine) bool { return m != leader })]
	}
	change(follower(f.machines), program) // the leader stays an old one
	for _, m := range f.machines {
		if m.program == old {
			change(m, program)
		}
	}
	back := follower(f.machines) // the leader stays a new one
	change(back, old)
	f.terminate(f.leader(f.machines))
	for _, m := range f.machines {
		if m.cmd == nil {
			f.start(m)
			f.awaitReady(m)
		}
	}
	change(back, program)
	for _, m := range f.machines {
		f.awaitWell(m)
	}
	requests := l.finish()
	for _, led := range []string{old, program} {
		if seen[filepath.Base(led)] == 0 {
			t.Errorf("%s has never led while there were others: %v", led, seen)
		}
	}
	t.Logf("from %s: %d changes of a node's program, %v, %d requests", commit, changes, seen, requests)
	record(t, "mixed", "make mixed OLD="+commit, 1, requests, map[string]int64{"rolling upgrade, mixed versions": int64(changes)})
}

// oldClient takes a lock by the old program, at the node that was changed.
func oldClient(t *testing.T, old string, m *machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, old, "--endpoints", m.client(), "lock", "by-the-old", "--", "true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the old program takes a lock of %s: %v: %s", m.name, err, out)
	}
}
