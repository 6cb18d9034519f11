//go:build !unix || solaris || aix

package wal

import "os"

// lockDir holds nothing where the system has no flock: there, keeping a second process away is the operator's duty.
func lockDir(*os.File) error { return nil }

func unlockDir(dir *os.File) error { return dir.Close() }
