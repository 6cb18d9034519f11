package checkpoint_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// The tests of this file need root, loop devices and mkfs.ext4. They run with LOCKD_ROOT=1 (make disk), and then fail
// when they cannot be set up.

// image is a small ext4 in a file.
type image struct{ file, dir string }

func newImage(t *testing.T, megabytes int64) image {
	t.Helper()
	if os.Getenv("LOCKD_ROOT") != "1" {
		t.Skip("LOCKD_ROOT=1 is not set: this test mounts file systems, which needs root")
	}
	i := image{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	f, err := os.Create(i.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(megabytes<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-m", "0", i.file)
	i.mount(t)
	// A test that has failed may have left files open.
	t.Cleanup(func() { command(t, "umount", "-l", i.dir) })
	return i
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (i image) mount(t *testing.T) {
	t.Helper()
	command(t, "mount", "-o", "loop", i.file, i.dir)
}

// cutPower makes the file system forget what has not reached its device, the journal included.
func (i image) cutPower(t *testing.T) {
	t.Helper()
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	d, err := os.Open(i.dir)
	if err != nil {
		t.Fatal(err)
	}
	withoutFlush := uint32(2)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&withoutFlush)))
	if err := d.Close(); errno != 0 || err != nil {
		t.Fatalf("shut the file system down: %v, %v", errno, err)
	}
}

// cutAfter cuts the power when a child has told so many lines, and returns those. What it tells later counts for nothing:
// with real power there is nobody left to tell it, and a flush that is under way when ext4 is shut down may find its
// transaction gone and call that a success.
func (i image) cutAfter(t *testing.T, part string, lines int) string {
	t.Helper()
	c := child(t, part, filepath.Join(i.dir, "state"), 0)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for s := bufio.NewScanner(out); s.Scan(); {
		if lines > 0 && !strings.HasPrefix(s.Text(), "error") {
			fmt.Fprintln(&told, s.Text())
		}
		if lines--; lines == 0 {
			i.cutPower(t)
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err == nil {
		t.Fatalf("the child ended by itself:\n%s", told.String())
	}
	command(t, "umount", i.dir)
	i.mount(t)
	return told.String()
}

// TestDiskPowerCutWhileFlushing requires every set that was told to be durable.
func TestDiskPowerCutWhileFlushing(t *testing.T) {
	i := newImage(t, 128)
	for round := range 4 {
		out := i.cutAfter(t, "flush", 10+60*round)
		d := openDisk(t, filepath.Join(i.dir, "state"))
		head := d.Head()
		if head.Index < told(out, "durable") {
			t.Fatalf("round %d: state of entry %d, the child told of %d", round, head.Index, told(out, "durable"))
		}
		at(head.Index).check(t, d, false)
		mustClose(t, d)
	}
}

// TestDiskPowerCutAfterInstall requires the files of a restored state, and their names, as soon as it was told to be current.
func TestDiskPowerCutAfterInstall(t *testing.T) {
	for lines := 3; lines <= 5; lines++ { // kept, committing, durable
		i := newImage(t, 128)
		out := i.cutAfter(t, "life", lines)
		dir := filepath.Join(i.dir, "state")
		d := openDisk(t, dir)
		head := d.Head()
		m := at(min(head.Index, before))
		if head.Index >= after {
			m, _ = restored()
		}
		if head.Index == after+1 {
			m.step(after + 1)
		}
		if head.Index < told(out, "durable") {
			t.Fatalf("state of entry %d, the child told:\n%s", head.Index, out)
		}
		m.check(t, d, head.Index == after)
		if told(out, "kept") > 0 {
			checkKept(t, d, before)
		}
		checkTidy(t, dir)
		mustClose(t, d)
	}
}

// TestDiskFull requires that a full file system is an error and not the death of the process, that everything told to be durable is
// there, and that it goes on when there is room again.
func TestDiskFull(t *testing.T) {
	i := newImage(t, 400)
	ballast := filepath.Join(i.dir, "ballast")
	command(t, "fallocate", "-l", "150M", ballast)
	dir := filepath.Join(i.dir, "state")
	c := child(t, "fill", dir, 0)
	c.Env = append(c.Env, childReserve+"=default")
	out, err := c.CombinedOutput()
	full := told(string(out), "full")
	if err != nil || full < 10 || full != told(string(out), "durable") {
		t.Fatalf("the child told %d sets: %v: %s", full, err, out)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	d, err := checkpoint.Open(checkpoint.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	m := newModel()
	for index := raft.Index(1); index <= full; index++ {
		m.set(index, bulk(index)...)
	}
	m.check(t, d, false)
	mustFlush(t, d, m.set(full+1, bulk(full+1)...))
	mustClose(t, d)
}
