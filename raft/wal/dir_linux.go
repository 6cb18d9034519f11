package wal

import (
	"errors"
	"os"
	"syscall"
)

// dataSync flushes data and what is needed to find it; on a file that does not grow that is no journal commit.
func dataSync(f *os.File) error {
	fd := int(f.Fd())
	for {
		if err := syscall.Fdatasync(fd); !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
