//go:build unix && !solaris && !aix

package wal

import (
	"errors"
	"os"
	"syscall"
)

// lockDir holds the directory itself, so that no stale lock file can be left behind.
func lockDir(dir *os.File) error {
	err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// unlockDir lets go of the lock and the directory. Closing alone would not do: a child that is just being started has a copy of the
// descriptor until it runs its program, and the lock is held by both.
func unlockDir(dir *os.File) error {
	return errors.Join(syscall.Flock(int(dir.Fd()), syscall.LOCK_UN), dir.Close())
}
