package endurance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

// group makes a control group of version 1 with limits, and returns its directory and how to run a program in it.
func group(t *testing.T, controller string, limits map[string]string) (dir string, command func(context.Context, string, ...string) *exec.Cmd) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	mine := ""
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == controller {
			mine = f[2]
		}
	}
	dir = filepath.Join("/sys/fs/cgroup", controller, mine, fmt.Sprintf("lockd-%d-%s", os.Getpid(), t.Name()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatalf("make a control group: %v", err)
	}
	t.Cleanup(func() { // after the nodes have ended
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove the control group: %v", err)
		}
	})
	for name, limit := range limits {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(limit), 0o600); err != nil {
			t.Fatalf("limit %s: %v", name, err)
		}
	}
	return dir, func(ctx context.Context, name string, args ...string) *exec.Cmd {
		enter := []string{"-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(dir, "cgroup.procs"), name}
		return exec.CommandContext(ctx, "bash", append(enter, args...)...)
	}
}

// TestHostSlowCPU gives one node five percent of a processor: it may fall behind, and the others may not wait for it.
func TestHostSlowCPU(t *testing.T) {
	testdisk.Need(t)
	dir, slow := group(t, "cpu", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"})
	survive(t, testcluster.Place{Command: slow})
	if text, err := os.ReadFile(filepath.Join(dir, "cpu.stat")); err != nil || strings.Contains(string(text), "nr_throttled 0\n") {
		t.Errorf("the node was never short of time: %v\n%s", err, text)
	}
}

// TestHostSmallMemory gives one node 64 MiB, its page cache included.
func TestHostSmallMemory(t *testing.T) {
	testdisk.Need(t)
	dir, small := group(t, "memory", map[string]string{"memory.limit_in_bytes": "64M"})
	survive(t, testcluster.Place{Command: small})
	if text, err := os.ReadFile(filepath.Join(dir, "memory.failcnt")); err != nil || string(text) == "0\n" {
		t.Errorf("the node was never short of memory: %v\n%s", err, text)
	}
}

// survive runs three nodes, the last of them on a bad host, under load, kills that one and starts it again.
func survive(t *testing.T, bad testcluster.Place) {
	t.Helper()
	cluster, agree := start(t, testcluster.Place{}, testcluster.Place{}, bad)
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	<-l.next()
	<-l.next()
	if !cluster.Running(2) {
		t.Errorf("the node has ended:\n%s", cluster.Log(2))
	}
	cluster.Kill(2)
	cluster.Run(2)
	cluster.WaitReady()
	<-l.next()
	stop()
	if !caughtUp(t, cluster, 2) {
		t.Errorf("the node has ended:\n%s", cluster.Log(2))
	}
	l.check(t.Context(), t, reader)
	agree()
}

// TestHostOtherUptime starts every node again on a host whose clocks since boot show something else, hours and days forth and back: nothing
// that was stored is compared with them. A lease of an hour is still held.
func TestHostOtherUptime(t *testing.T) {
	testdisk.Need(t)
	uptime := 0
	command := func(ctx context.Context, name string, args ...string) *exec.Cmd {
		uptime++
		shift := fmt.Sprint([]int{0, 1_000_000, 30_000, 5_000_000, 10}[uptime%5])
		return exec.CommandContext(ctx, "unshare",
			append([]string{"--time", "--boottime", shift, "--monotonic", shift, "--fork", "--kill-child", "--", name}, args...)...)
	}
	var first, second float64
	for _, up := range []*float64{&first, &second} {
		out, err := command(t.Context(), "cat", "/proc/uptime").Output()
		if _, scan := fmt.Sscan(string(out), up); err != nil || scan != nil {
			t.Fatalf("%q: %v, %v", out, err, scan)
		}
	}
	if first-second < 900_000 {
		t.Fatalf("two hosts are up for %.0f and %.0f seconds", first, second)
	}
	place := testcluster.Place{Command: command}
	cluster, agree := start(t, place, place, place)
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	for range 3 {
		<-l.next()
		cluster.Kill(0, 1, 2)
		for i := range 3 {
			cluster.Run(i)
		}
		cluster.WaitReady()
		l.check(t.Context(), t, reader)
	}
	<-l.next()
	stop()
	l.check(t.Context(), t, reader)
	agree()
}
