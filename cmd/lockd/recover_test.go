package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestClusterRecover shows the arithmetic, changes nothing unconfirmed, and makes a node that serves.
func TestClusterRecover(t *testing.T) {
	t.Parallel()
	var dir string
	c := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		if i == 2 {
			dir = c.DataDir
		}
	})
	if _, errs, code := runProcess(t, "", "cluster", "recover", "--data-dir", dir, "--yes"); code != exitFailure || !strings.Contains(errs, "another lockd process runs with it") {
		t.Errorf("of a node that runs: code %d, %s", code, errs)
	}
	ref, errs, code := runProcess(t, c.Addresses(2).Client, "lease", "acquire", "kept", "--ttl", "5h", "-q")
	if code != 0 {
		t.Fatal(errs)
	}
	for i := range 3 {
		c.Crash(i)
	}
	_, errs, code = runProcess(t, "", "cluster", "recover", "--data-dir", dir)
	if code != exitFailure || !strings.Contains(errs, "2 of 3 are needed") || !strings.Contains(errs, "confirmed, on a terminal or by --yes") {
		t.Errorf("unconfirmed: code %d, %s", code, errs)
	}
	if _, err := os.Stat(dir + ".before-recovery-1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unconfirmed, and something was done: %v", err)
	}
	out, errs, code := runProcess(t, "", "cluster", "recover", "--data-dir", dir, "--yes", "--no-wait", "-o", "json")
	if code != 0 {
		t.Fatal(errs)
	}
	shape(t, out, "name", "cluster_name", "data_dir", "old_data_dir", "old_voters", "index", "term", "locks", "newest_token", "tokens_above", "waits")
	one := testcluster.Start(t, 1, func(_ int, c *lockd.Config) { c.Name, c.DataDir = "n3", dir })
	if _, errs, code := runProcess(t, one.Addresses(0).Client, "lease", "renew", strings.TrimSpace(ref)); code != 0 {
		t.Errorf("the lease is lost: %s", errs)
	}
	one.Stop(0)
	if _, errs, code := runProcess(t, "", "cluster", "recover", "--data-dir", dir, "--yes"); code != exitFailure || !strings.Contains(errs, "the only voter") {
		t.Errorf("recovered again: code %d, %s", code, errs)
	}
}
