//go:build unix && !solaris && !aix

package wal_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/lockd/lockd/raft/wal"
)

// TestLockEndsWithClose holds a copy of the descriptor, as a child does between fork and exec: the directory is free all the same.
func TestLockEndsWithClose(t *testing.T) {
	path := t.TempDir()
	dir, err := wal.DirFS(path)
	if err != nil {
		t.Fatal(err)
	}
	held, err := syscall.Dup(int(dir.Handle().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(held) }()
	if _, err := wal.DirFS(path); !errors.Is(err, wal.ErrInUse) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := wal.DirFS(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
