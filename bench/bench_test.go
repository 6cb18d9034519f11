package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// TestMain lets the test binary be its own child process.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Every system must apply every command once, in one order, on all three nodes; measure fails otherwise.
func TestEverySystemAppliesAllCommandsOnAllNodes(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			out, err := measure(t.Context(), spec{
				System: s.name, Proposers: 8, Warmup: 20 * time.Millisecond, Window: 200 * time.Millisecond, Dir: t.TempDir(),
			})
			if err != nil {
				t.Fatal(err)
			}
			if out.Proposals == 0 || out.Applied < out.Proposals {
				t.Errorf("%d proposals ended in the window, %d commands were applied", out.Proposals, out.Applied)
			}
			if out.P50 <= 0 || out.P99 < out.P50 || out.CPU <= 0 {
				t.Errorf("p50 %v, p99 %v, CPU %v", out.P50, out.P99, out.CPU)
			}
		})
	}
}

func TestNodesThatDifferAreFound(t *testing.T) {
	var c command
	machines := [nodes]*machine{{}, {}, {}}
	for i, m := range machines {
		for k := range 2 {
			c.set(1, uint64(k+i/2)) // the third node got others
			m.add(c[:])
		}
	}
	if _, err := agree(t.Context(), machines, 2); err == nil || !strings.Contains(err.Error(), "nodes 1 and 3 differ") {
		t.Errorf("agree says %v", err)
	}
	if _, err := agree(t.Context(), machines, 1); err == nil || !strings.Contains(err.Error(), "applied 2 commands of 1") {
		t.Errorf("agree says %v", err)
	}
}

// A whole comparison, with child processes.
func TestComparisonLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := rig.RefuseMemory(dir); err != nil {
		dir = "." // on disk, surely
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	picked, err := pick("etcd,lockd")
	if err != nil {
		t.Fatal(err)
	}
	p := plan{systems: picked, proposers: []int{1, 4}, rounds: 2, warmup: 20 * time.Millisecond, window: 100 * time.Millisecond, dir: dir}
	var progress, table bytes.Buffer
	all, err := p.run(t.Context(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	order := ""
	for _, m := range all {
		order += m.System[:1]
	}
	if order != "elellele" {
		t.Errorf("order of measurements: %s", order)
	}
	report{Rounds: 2, Measurements: all}.print(&table)
	if rows := strings.Count(table.String(), "\n| "); rows != 1+4 {
		t.Errorf("%d rows in\n%s", rows, table.String())
	}
	after, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
}
