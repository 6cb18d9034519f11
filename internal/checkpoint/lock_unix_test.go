//go:build unix && !solaris && !aix

package checkpoint_test

import (
	"syscall"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
)

// TestLockEndsWithClose holds a copy of every descriptor, as a child does between fork and exec: the directory is free all the same.
func TestLockEndsWithClose(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	held, err := syscall.Dup(int(d.Lock().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(held) }()
	if _, err := checkpoint.Open(checkpoint.Options{Dir: dir}); err == nil {
		t.Fatal("opened twice")
	}
	mustClose(t, d)
	mustClose(t, openDisk(t, dir))
}
