package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
)

// TestLease ends the first client before the second one begins: the lease is still there, and can be finished once.
func TestLease(t *testing.T) {
	cluster := testcluster.Start(t, 3)
	var reference bytes.Buffer
	if err := run(t.Context(), cluster.Endpoints(), []string{"begin"}, &reference); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), cluster.Endpoints(), []string{"finish", reference.String()}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "finishing with token ") {
		t.Errorf("got %q", out.String())
	}
	err := run(t.Context(), cluster.Endpoints(), []string{"finish", reference.String()}, &out)
	if !errors.Is(err, client.ErrNotHeld) {
		t.Errorf("finished twice: %v", err)
	}
	if err := run(t.Context(), cluster.Endpoints(), []string{"finish", "nonsense"}, &out); err == nil {
		t.Error("took nonsense for a reference")
	}
}
