package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
)

// TestFencing fails if the store takes the late write; run itself says so.
func TestFencing(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	var out bytes.Buffer
	if err := run(t.Context(), cluster.Endpoints(), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "the cluster says: stale") {
		t.Errorf("got:\n%s", out.String())
	}
}
