package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestServeRelaxesTimers: the threads that Go's runtime starts before main have the slack too: one of them is its monitor.
func TestServeRelaxesTimers(t *testing.T) {
	if err := relaxTimers(); err != nil {
		t.Skipf("the kernel does not let us: %v", err)
	}
	p, log := serving(t, "--dev")
	p.start()
	logged(t, log, "serving")
	pid := strconv.Itoa(p.Process.Pid)
	threads, err := os.ReadDir(filepath.Join("/proc", pid, "task")) // in the order they were started
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads[:2] {
		slack, err := os.ReadFile(filepath.Join("/proc", thread.Name(), "timerslack_ns"))
		if err != nil || strings.TrimSpace(string(slack)) != timerSlack {
			t.Errorf("thread %s of %s: slack %q, %v", thread.Name(), pid, slack, err)
		}
	}
}
