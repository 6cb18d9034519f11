package rig

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit in which Linux counts CPU time in /proc.
const tick = 10 * time.Millisecond

// MachineTime returns how long the CPUs of the machine have been busy: the first line of /proc/stat counts user, nice,
// system, idle, iowait, irq, softirq and steal.
func MachineTime() (time.Duration, error) {
	const file, columns, idle, iowait = "/proc/stat", 8, 3, 4
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 1+columns {
		return 0, fmt.Errorf("%s: short line %q", file, line)
	}
	var sum int64
	for i, f := range fields[1 : 1+columns] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		if i != idle && i != iowait {
			sum += n
		}
	}
	return time.Duration(sum) * tick, nil
}

// ProcessTime returns the CPU time, user and system, that the processes have used so far.
func ProcessTime(pids ...int) (time.Duration, error) {
	const utime, stime = 11, 12 // counted from the field behind the name
	var sum int64
	for _, pid := range pids {
		file := fmt.Sprintf("/proc/%d/stat", pid)
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		// The name stands in parentheses and may hold anything, parentheses too.
		fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(fields) <= stime {
			return 0, fmt.Errorf("%s: %d fields", file, len(fields))
		}
		for _, f := range fields[utime : stime+1] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			sum += n
		}
	}
	return time.Duration(sum) * tick, nil
}

// Resident returns the bytes of memory that a process has in RAM.
func Resident(pid int) (int64, error) {
	file := fmt.Sprintf("/proc/%d/status", pid)
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", file, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s: no VmRSS; has process %d ended?", file, pid)
}

// AwaitQuiet returns when the machine has been nearly idle for a moment, or when patience ends.
func AwaitQuiet(ctx context.Context, patience time.Duration) error {
	const moment, busy = 300 * time.Millisecond, 0.2 // of one CPU
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before, err := MachineTime()
		if err != nil {
			return err
		}
		if err := Sleep(ctx, moment); err != nil {
			return err
		}
		after, err := MachineTime()
		if err != nil || (after-before).Seconds() < busy*moment.Seconds() {
			return err
		}
	}
	return nil
}

// Sleep waits for d, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// RefuseMemory fails for a file system in memory, where a flush costs nothing.
func RefuseMemory(dir string) error {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if s.Type == tmpfs || s.Type == ramfs {
		return fmt.Errorf("%s is in memory, where a flush costs nothing: use -dir", dir)
	}
	return nil
}
