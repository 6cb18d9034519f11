//go:build unix

package front

import (
	"errors"
	"syscall"
)

// writeOnce writes to a socket that does not block.
var writeOnce = func(fd uintptr, piece []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), piece)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		default:
			return 0, err
		}
	}
}
