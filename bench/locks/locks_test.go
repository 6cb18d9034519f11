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

// TestMain lets the test binary be its own clients.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := serveOrder(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A whole comparison of both services, with the servers as processes, and every trial but the long ones.
func TestComparisonLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	if err := rig.RefuseMemory(dir); err != nil {
		dir = "." // on disk, surely
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := plan{
		systems: systems, rounds: 1, limit: time.Minute, dir: dir,
		scale: scale{Warmup: 50 * time.Millisecond, Window: 300 * time.Millisecond, Settle: time.Millisecond, Idle: 100 * time.Millisecond, Sessions: 4, Locks: 200},
	}
	if p.trials, err = pickTrials("pairs1,queue16,idle,held"); err != nil {
		t.Fatal(err)
	}
	var progress, table bytes.Buffer
	all, err := p.run(t.Context(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Figures == nil || len(m.Failed) > 0 {
			t.Errorf("%v", m)
		}
	}
	report{Rounds: 1, Scale: p.scale, Measurements: all}.print(&table, systems)
	if lines := strings.Count(table.String(), "\n| "); lines != 1+3+2+2+2 {
		t.Errorf("%d rows in\n%s", lines-1, table.String())
	}
	after, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
}

func TestRecoveryIsOfTriesThatBeganAfterTheKill(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	f, err := recovery([]time.Time{at(100), at(1000)}, []try{
		{Began: at(90), Granted: at(110)}, // was under way
		{Began: at(105), Error: "lost"},
		{Began: at(120), Granted: at(400)},
		{Began: at(130), Granted: at(300)},
		{Began: at(1010), Granted: at(1400)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if f["leader"] != 300 || f["leader-worst"] != 400 || f["lost"] != 1 || f["lost: lost"] != 1 {
		t.Errorf("found %v", f)
	}
	if f, err := recovery([]time.Time{at(100)}, []try{{Began: at(90), Granted: at(110)}}); err == nil {
		t.Errorf("found %v where nothing was granted", f)
	}
}

func TestFairnessTakesOffTheTurnThatTheWindowCuts(t *testing.T) {
	for _, c := range []struct {
		grants []uint64
		want   float64
	}{
		{[]uint64{5, 6, 5}, 1},
		{[]uint64{5, 5, 5}, 1},
		{[]uint64{10, 31, 10}, 3},
		{[]uint64{0, 7}, 6},
	} {
		if got := fairness(c.grants); got != c.want {
			t.Errorf("fairness of %v is %v, want %v", c.grants, got, c.want)
		}
	}
}

func TestGoalsAreMarked(t *testing.T) {
	for _, c := range []struct {
		row    row
		figure float64
		want   string
	}{
		{row{more: true, least: 10}, 10, " ✓"},
		{row{more: true, least: 10}, 9, " ✗"},
		{row{least: 10}, 9, " ✓"},
		{row{least: 10}, 11, " ✗"},
		{row{}, 11, ""},
	} {
		if got := c.row.mark(c.figure); got != c.want {
			t.Errorf("%+v marks %v as %q, want %q", c.row, c.figure, got, c.want)
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-systems", "etcd,none"},
		{"-trials", "none"},
		{"-rounds", "0"},
		{"-window", "10ms"},
		{"-profile", t.TempDir(), "-profilekind", "none"},
	} {
		if _, _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}
