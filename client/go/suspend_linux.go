package client

import (
	"time"

	"golang.org/x/sys/unix"
)

// platformSuspended returns how long the machine has slept since it was started: CLOCK_BOOTTIME counts that, CLOCK_MONOTONIC does
// not. Reading the latter before and after bounds the error of not reading both at once; what is told is never too much by more.
func platformSuspended() time.Duration {
	const quick = 100 * time.Microsecond
	for range 10 {
		before, boot, after := read(unix.CLOCK_MONOTONIC), read(unix.CLOCK_BOOTTIME), read(unix.CLOCK_MONOTONIC)
		if after-before <= quick {
			return max(boot-after, 0)
		}
	}
	return max(read(unix.CLOCK_BOOTTIME)-read(unix.CLOCK_MONOTONIC), 0)
}

func read(id int32) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(id, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
