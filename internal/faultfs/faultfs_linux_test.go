package faultfs_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/internal/faultfs"
	"github.com/lockd/lockd/internal/testdisk"
)

func mount(t *testing.T) (f *faultfs.FS, under string) {
	t.Helper()
	testdisk.Need(t)
	under = t.TempDir()
	return faultfs.Mount(t, under), under
}

func create(t *testing.T, f *faultfs.FS, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(f.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiskFUSESyncFails(t *testing.T) {
	f, _ := mount(t)
	file, other := create(t, f, "a.log"), create(t, f, "b")
	must(t, file.Sync())
	fault := f.Inject(faultfs.Fault{Call: faultfs.Sync, File: "*.log", After: 1, Times: 1, Error: syscall.EIO})
	must(t, file.Sync())
	must(t, other.Sync())
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second flush: %v", err)
	}
	<-fault.Hit()
	must(t, file.Sync()) // it is over
	if n := f.Hits(fault); n != 1 {
		t.Errorf("%d hits", n)
	}
}

func TestDiskFUSETornWrite(t *testing.T) {
	f, under := mount(t)
	file := create(t, f, "a")
	f.Inject(faultfs.Fault{Call: faultfs.Write, Error: syscall.ENOSPC, Torn: 100})
	if _, err := file.Write(make([]byte, 4096)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write: %v", err)
	}
	if s, err := os.Stat(filepath.Join(under, "a")); err != nil || s.Size() != 100 {
		t.Errorf("%v, %v", s, err)
	}
	f.Heal()
	if _, err := file.Write(make([]byte, 4096)); err != nil {
		t.Error(err)
	}
}

func TestDiskFUSEReadFlipsABit(t *testing.T) {
	f, under := mount(t)
	must(t, os.WriteFile(filepath.Join(under, "a"), []byte("0123456789"), 0o600))
	f.Inject(faultfs.Fault{Call: faultfs.Read, Flip: 3})
	if b, err := os.ReadFile(filepath.Join(f.Dir, "a")); err != nil || string(b) != "0122456789" {
		t.Errorf("%q, %v", b, err)
	}
	f.Heal()
	if b, err := os.ReadFile(filepath.Join(f.Dir, "a")); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	f.Inject(faultfs.Fault{Call: faultfs.Read, Error: syscall.EIO})
	if _, err := os.ReadFile(filepath.Join(f.Dir, "a")); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

func TestDiskFUSERename(t *testing.T) {
	f, _ := mount(t)
	create(t, f, "a.tmp")
	f.Inject(faultfs.Fault{Call: faultfs.Rename, File: "a", Error: syscall.EIO})
	rename := func() error { return os.Rename(filepath.Join(f.Dir, "a.tmp"), filepath.Join(f.Dir, "a")) }
	if err := rename(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	f.Heal()
	must(t, rename())
}

func TestDiskFUSEDelay(t *testing.T) {
	f, _ := mount(t)
	file := create(t, f, "a")
	f.Inject(faultfs.Fault{Call: faultfs.Sync, Delay: 100 * time.Millisecond})
	start := time.Now()
	must(t, file.Sync())
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

// mapper is set for a process of the test that writes to a file by a mapping: the process that serves the file must not, as a page that it
// waits for stops it as a whole.
const mapper = "LOCKD_FAULTFS_MAP"

func TestMain(m *testing.M) {
	path := os.Getenv(mapper)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := mapAndWrite(path); err != nil {
		fmt.Println(err)
	}
}

// mapAndWrite writes once at its start, and once more when there is something on stdin.
func mapAndWrite(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "first")
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	fmt.Println("written")
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	copy(m, "other")
	return unix.Msync(m, unix.MS_SYNC)
}

// A mapping is written by the kernel, which must come here for it and not go to the backing file.
func TestDiskFUSEMapping(t *testing.T) {
	f, under := mount(t)
	file := create(t, f, "a")
	must(t, file.Truncate(4096))
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), mapper+"="+file.Name())
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "written" {
		t.Fatalf("without a fault: %q", lines.Text())
	}
	fault := f.Inject(faultfs.Fault{Call: faultfs.Write, Error: syscall.EIO})
	_, err = in.Write([]byte{0})
	must(t, err)
	if !lines.Scan() || lines.Text() != syscall.EIO.Error() || f.Hits(fault) == 0 {
		t.Errorf("with a fault: %q, %d hits", lines.Text(), f.Hits(fault))
	}
	must(t, cmd.Wait())
	if b, err := os.ReadFile(filepath.Join(under, "a")); err != nil || !bytes.HasPrefix(b, []byte("first")) {
		t.Errorf("%q, %v", b[:5], err)
	}
}

// A write that the kernel makes several calls of is short when a later one fails. os.File writes the rest once more, and hears of nothing.
func TestDiskFUSEShortWrite(t *testing.T) {
	f, under := mount(t)
	file := create(t, f, "a")
	fault := f.Inject(faultfs.Fault{Call: faultfs.Write, After: 1, Times: 1, Error: syscall.EIO})
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	if n, err := file.Write(data); err != nil || n != len(data) || f.Hits(fault) != 1 {
		t.Errorf("%d bytes, %v, %d hits", n, err, f.Hits(fault))
	}
	if b, err := os.ReadFile(filepath.Join(under, "a")); err != nil || !bytes.Equal(b, data) {
		t.Errorf("%d bytes are there: %v", len(b), err)
	}
}
