package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// throttled is a process whose writes to one device are slow: a control group of the kernel's blkio controller, version 1.
type throttled struct{ group, device string }

const blkio = "/sys/fs/cgroup/blkio"

// throttle bounds the writes a second of a process to the device of a directory.
func (a *arena) throttle(dir string, pid, writes int) (*throttled, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return nil, err
	}
	t := &throttled{
		group:  filepath.Join(blkio, fmt.Sprintf("lockd-nemesis-%d-%d", os.Getpid(), pid)),
		device: fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)),
	}
	if err := os.Mkdir(t.group, 0o755); err != nil {
		return nil, fmt.Errorf("slow disk: %w", err)
	}
	end := sync.OnceFunc(func() { _, _ = t.end() }) // of a test that has failed
	a.t.Cleanup(end)
	err := errors.Join(
		t.write(t.group, "blkio.throttle.write_iops_device", t.device+" "+strconv.Itoa(writes)),
		t.write(t.group, "cgroup.procs", strconv.Itoa(pid)),
	)
	return t, err
}

func (t *throttled) write(group, file, text string) error {
	return os.WriteFile(filepath.Join(group, file), []byte(text), 0o600)
}

// end lets the process write again as it likes, and returns how many writes were bounded.
func (t *throttled) end() (int64, error) {
	text, err := os.ReadFile(filepath.Join(t.group, "blkio.throttle.io_serviced"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil // it has ended before
	}
	hits := int64(0)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == t.device && fields[1] == "Write" {
			hits, err = strconv.ParseInt(fields[2], 10, 64)
		}
	}
	processes, bad := os.ReadFile(filepath.Join(t.group, "cgroup.procs"))
	err = errors.Join(err, bad)
	for pid := range strings.FieldsSeq(string(processes)) {
		if bad := t.write(blkio, "cgroup.procs", pid); !errors.Is(bad, unix.ESRCH) {
			err = errors.Join(err, bad)
		}
	}
	return hits, errors.Join(err, os.Remove(t.group))
}
