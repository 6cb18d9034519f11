package lockd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// system asks the kernel.
func (h *Host) system() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		h.Files = limit.Cur
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		h.FilesOpen = uint64(len(open))
	}
	h.Sync = clockSync()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err == nil {
		h.Quota, h.Throttled = quota("/sys/fs/cgroup", string(own))
	}
}

// clockSync only reads: no mode is set.
func clockSync() ClockSync {
	const unsynced = 0x40 // STA_UNSYNC
	var t syscall.Timex
	if _, err := syscall.Adjtimex(&t); err != nil {
		return ClockSync{}
	}
	return ClockSync{Known: true, Synced: t.Status&unsynced == 0, Error: (time.Duration(t.Maxerror) * time.Microsecond).Milliseconds()}
}

// quota returns the least that the control groups of the process allow (version 2 of the interface), and how often the process has
// waited for that.
func quota(root, own string) (processors float64, throttled uint64) {
	var path string
	for line := range strings.Lines(own) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			path = rest
		}
	}
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		if text, err := os.ReadFile(filepath.Join(root, path, "cpu.max")); err == nil {
			if q := parseQuota(string(text)); q > 0 && (processors == 0 || q < processors) {
				processors = q
				throttled = throttles(filepath.Join(root, path, "cpu.stat"))
			}
		}
		if path == "/" {
			return processors, throttled
		}
	}
}

func parseQuota(text string) float64 {
	var quota, period float64
	if f := strings.Fields(text); len(f) == 2 {
		quota, _ = strconv.ParseFloat(f[0], 64) // "max" is no number
		period, _ = strconv.ParseFloat(f[1], 64)
	}
	if period <= 0 {
		return 0
	}
	return quota / period
}

func throttles(file string) (n uint64) {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "nr_throttled "); ok {
			n, _ = strconv.ParseUint(v, 10, 64)
		}
	}
	return n
}

// fileSystem names a file system to which a log should not be written.
func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return ""
	}
	switch uint32(s.Type) { //nolint:gosec // numbers of 32 bits
	case 0x01021994:
		return "tmpfs"
	case 0x858458f6:
		return "ramfs"
	case 0x6969:
		return "nfs"
	case 0xff534d42, 0xfe534d42, 0x517b:
		return "smb"
	}
	return ""
}

func syncData(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR {
			return err
		}
	}
}
