package main

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
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
	machine, err := rig.MachineTime()
	return usage{
		cpu:    time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		peak:   r.Maxrss << 10, // Linux counts in KiB
		allocs: m.Mallocs, bytes: m.TotalAlloc,
		machine: machine,
	}, err
}
