package main

import (
	"errors"
	"os"
	"path/filepath"
)

// timerSlack is how late the kernel may wake a thread that waits for a time, in nanoseconds; its own default is 50 µs.
const timerSlack = "1000000"

// relaxTimers gives the threads of this process, and those they will start, a timerSlack. The monitor of Go's runtime looks every 20 µs
// whether a thread hangs in the kernel, and a node under load is in the kernel most of the time: these looks cost a follower a sixth of
// its CPU. For the threads of others than the caller Linux asks for CAP_SYS_NICE. Without it the error says so, and nothing is changed
// but the speed; systemd's TimerSlackNSec does the same for a service that lacks it.
func relaxTimers() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		err := os.WriteFile(filepath.Join("/proc", thread.Name(), "timerslack_ns"), []byte(timerSlack), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // it has ended since
			return err
		}
	}
	return nil
}
