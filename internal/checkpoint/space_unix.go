//go:build linux || darwin

package checkpoint

import (
	"fmt"
	"syscall"
)

// FreeSpace returns how many bytes an ordinary user can still write to the file system of dir. Where the system does not
// tell, the error is errors.ErrUnsupported.
func FreeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
