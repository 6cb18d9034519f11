package testdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a small file system, mounted at Dir until the test ends. Its faults may come and go while processes work on it:
//
//   - Fill and Free: it is full, and has room again.
//   - Slow and Fast: it takes so many writes a second, and as many as it can.
//   - Freeze and Thaw: it hangs, and goes on.
//   - CutPower and Restart: what was not flushed is gone, all that follows fails; it is mounted again. Who uses it has to end between the two.
//
// Each has an end that the test forgets at its own end, so that a test that fails leaves nothing behind. Slow, Freeze and CutPower
// are those of an ext4.
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
	return ext4(t, t.TempDir(), megabytes, 0, options)
}

// Thin makes an ext4 that has been promised more than there is: its blocks are in memory, and come into being when they are first
// written. When under is filled, every such write fails later, in the kernel: the next flush of its file says so, once, and the one
// after that succeeds, with the bytes lost.
func Thin(t testing.TB, megabytes int64, size string) (disk, under *Disk) {
	t.Helper()
	under = Tmpfs(t, size)
	const own = 16 // the file system's own blocks: without them it would give up as a whole
	return ext4(t, under.Dir, megabytes, own, nil, "-N", "1024", "-J", "size=4,location=8M", "-E", "nodiscard,lazy_itable_init=1"), under
}

// ext4 makes one in a file under a directory, the first megabytes of which are there from the start.
func ext4(t testing.TB, under string, megabytes, there int64, options []string, how ...string) *Disk {
	t.Helper()
	d := &Disk{Dir: t.TempDir(), image: filepath.Join(under, "image"), options: strings.Join(append([]string{"loop"}, options...), ",")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", append(how, "-q", "-m", "0", d.image)...)
	if there > 0 {
		command(t, "fallocate", "--keep-size", "--length", fmt.Sprint(there<<20), d.image)
	}
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

// ballast is the file that Fill makes in a disk.
const ballast = "ballast"

// Fill leaves no room on the disk until Free: who writes gets ENOSPC.
func (d *Disk) Fill(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(d.Dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	end, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	for part := int64(1 << 40); part > 0; { // halved until the last byte
		switch err := unix.Fallocate(int(f.Fd()), 0, end, part); {
		case err == nil:
			end += part
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EFBIG):
			part /= 2
		case !errors.Is(err, unix.EINTR):
			t.Fatalf("fill %s: %v", d.Dir, err)
		}
	}
}

// Free undoes Fill.
func (d *Disk) Free(t testing.TB) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.Dir, ballast)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// Slow lets the device take so many writes a second, until Fast. A flush is one or two of them. It needs the controller blkio of
// cgroup v1, in which everybody who writes is where this process is.
func (d *Disk) Slow(t testing.TB, writesASecond int) {
	t.Helper()
	if writesASecond < 1 {
		t.Fatalf("%d writes a second: Freeze stops a disk", writesASecond)
	}
	t.Cleanup(func() { d.throttle(t, 0) })
	d.throttle(t, writesASecond)
}

// Fast undoes Slow.
func (d *Disk) Fast(t testing.TB) {
	t.Helper()
	d.throttle(t, 0)
}

// throttle limits the writes to the disk's device; 0 takes the limit away.
func (d *Disk) throttle(t testing.TB, writesASecond int) {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(d.Dir, &s); err != nil {
		t.Fatal(err)
	}
	limit := fmt.Sprintf("%d:%d %d", unix.Major(s.Dev), unix.Minor(s.Dev), writesASecond)
	control := filepath.Join("/sys/fs/cgroup/blkio", cgroup(t, "blkio"), "blkio.throttle.write_iops_device")
	if err := os.WriteFile(control, []byte(limit), 0o600); err != nil {
		t.Fatalf("limit the writes to %s: %v", d.Dir, err)
	}
}

// cgroup returns where this process is in the hierarchy of a controller of cgroup v1.
func cgroup(t testing.TB, controller string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) { // 7:blkio:/path
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == controller {
			return f[2]
		}
	}
	t.Fatalf("no controller %s of cgroup v1 here:\n%s", controller, text)
	return ""
}
