package main

import (
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
)

// TestClusterHealth tells the same through every node, and fails when a node is not well.
func TestClusterHealth(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 3)
	for i := range 3 {
		var out, errs string
		until(t, "the leader has looked after the others", func() bool {
			var code int
			out, errs, code = runProcess(t, "", "cluster", "health", "--http", c.Addresses(i).HTTP)
			return code == 0
		})
		if strings.Count(out, "well, ") != 3 || !strings.Contains(errs, "3 of 3 voters are well and 2 are needed: 1 more may fail") {
			t.Errorf("node %d: %s%s", i, out, errs)
		}
		fits(t, out)
	}
	c.Crash(2)
	until(t, "the loss of a node is told", func() bool {
		_, errs, code := runProcess(t, "", "cluster", "health", "--http", c.Addresses(0).HTTP)
		return code == exitFailure && strings.Contains(errs, "2 of 3 voters are well and 2 are needed: 0 more may fail") && strings.Contains(errs, "not every node is well")
	})
}
