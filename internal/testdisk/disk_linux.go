package testdisk

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// Disk is a small file system, mounted at Dir until the test ends.
type Disk struct {
	Dir string

	image, options string
}

// Need skips a test that has not been asked for.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv("LOCKD_ROOT") != "1" {
		t.Skip("LOCKD_ROOT=1 is not set: this test mounts file systems, which needs root")
	}
}

// Ext4 makes an ext4 in a file. Options are those of mount, beside loop.
func Ext4(t testing.TB, megabytes int64, options ...string) *Disk {
	t.Helper()
	Need(t)
	d := &Disk{Dir: t.TempDir(), image: filepath.Join(t.TempDir(), "image"), options: strings.Join(append([]string{"loop"}, options...), ",")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-m", "0", d.image)
	d.mount(t)
	d.unmountLater(t)
	return d
}

// Tmpfs makes a file system in memory of the size that mount understands.
func Tmpfs(t testing.TB, size string) *Disk {
	t.Helper()
	Need(t)
	d := &Disk{Dir: t.TempDir()}
	command(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", d.Dir)
	d.unmountLater(t)
	return d
}

// unmountLater is lazy: a test that has failed may have left files open.
func (d *Disk) unmountLater(t testing.TB) {
	t.Cleanup(func() { command(t, "umount", "-l", d.Dir) })
}

func (d *Disk) mount(t testing.TB) {
	t.Helper()
	command(t, "mount", "-o", d.options, d.image, d.Dir)
}

// CutPower makes an ext4 forget what has not reached its device, the journal included. Everything on it fails from here on.
func (d *Disk) CutPower(t testing.TB) {
	t.Helper()
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	dir, err := os.Open(d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	withoutFlush := uint32(2)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&withoutFlush)))
	if err := dir.Close(); errno != 0 || err != nil {
		t.Fatalf("shut the file system down: %v, %v", errno, err)
	}
}

// Restart mounts the file system again, as a start after a power cut does. Nobody may use it meanwhile.
func (d *Disk) Restart(t testing.TB) {
	t.Helper()
	command(t, "umount", d.Dir)
	d.mount(t)
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Freeze lets everybody who writes to the file system wait until Thaw, as a disk that hangs does.
func (d *Disk) Freeze(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { // of a test that has failed: nothing that is frozen can be unmounted
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "fsfreeze", "--unfreeze", d.Dir).Run()
	})
	command(t, "fsfreeze", "--freeze", d.Dir)
}

// Thaw undoes Freeze.
func (d *Disk) Thaw(t testing.TB) {
	t.Helper()
	command(t, "fsfreeze", "--unfreeze", d.Dir)
}
