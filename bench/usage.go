package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what this process, and the whole machine, have used so far.
type usage struct {
	cpu           time.Duration
	peak          int64 // bytes
	allocs, bytes uint64
	machine       time.Duration // CPU time of everything
}

func used() (usage, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}, fmt.Errorf("getrusage: %w", err)
	}
	machine, err := machineTime()
	return usage{
		cpu:    time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		peak:   r.Maxrss << 10, // Linux counts in KiB
		allocs: m.Mallocs, bytes: m.TotalAlloc,
		machine: machine,
	}, err
}

// machineTime returns how long the CPUs of the machine have been busy: the first line of /proc/stat counts user, nice,
// system, idle, iowait, irq, softirq and steal in hundredths of a second.
func machineTime() (time.Duration, error) {
	const file, columns, idle, iowait, tick = "/proc/stat", 8, 3, 4, 10 * time.Millisecond
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

// awaitQuiet returns when the machine has been nearly idle for a moment, or when patience ends.
func awaitQuiet(ctx context.Context, patience time.Duration) error {
	const moment, busy = 300 * time.Millisecond, 0.2 // of one CPU
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before, err := machineTime()
		if err != nil {
			return err
		}
		if err := sleepUntil(ctx, time.Now().Add(moment)); err != nil {
			return err
		}
		after, err := machineTime()
		if err != nil || (after-before).Seconds() < busy*moment.Seconds() {
			return err
		}
	}
	return nil
}
