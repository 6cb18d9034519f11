package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/lockd/lockd/internal/reliability"
)

// record appends the run to the scorecard, if that is asked for.
func (r *run) record(ctx context.Context, wrong int) error {
	name := os.Getenv(reliability.Variable)
	if name == "" {
		return nil
	}
	top, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	root := string(bytes.TrimSpace(top))
	if !filepath.IsAbs(name) {
		name = filepath.Join(root, name)
	}
	var operations int64
	for _, s := range r.samples {
		operations += 2*s.Pairs.count() + 2*s.Queue + s.Leases
	}
	return reliability.Append(ctx, root, name, reliability.Each(reliability.Run{
		Target: "soak", Layer: "soak", Runs: 1, Operations: operations, Violations: int64(wrong),
		Command: fmt.Sprintf("make soak TIME=%v", r.o.time),
	}, map[string]int64{
		"leader change": int64(len(r.at(leaderStopped)) + len(r.at(leaderPaused))), "stop of the leader": int64(len(r.at(leaderPaused))),
		"kill of a node": int64(len(r.at(followerKilled))),
	})...)
}
