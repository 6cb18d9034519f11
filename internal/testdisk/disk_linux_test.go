package testdisk_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testdisk"
)

// write writes a block and flushes it.
func write(t *testing.T, f *os.File) error {
	t.Helper()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return err
	}
	return f.Sync()
}

func create(t *testing.T, d *testdisk.Disk) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(d.Dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestDiskFillAndFree(t *testing.T) {
	testdisk.Need(t)
	for name, d := range map[string]*testdisk.Disk{"ext4": testdisk.Ext4(t, 16), "tmpfs": testdisk.Tmpfs(t, "4m")} {
		f := create(t, d)
		d.Fill(t)
		d.Fill(t) // there is nothing left to take
		if err := write(t, f); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: a full disk: %v", name, err)
		}
		d.Free(t)
		if err := write(t, f); err != nil {
			t.Errorf("%s: there is room again: %v", name, err)
		}
	}
}

func TestDiskSlowAndFast(t *testing.T) {
	d := testdisk.Ext4(t, 16)
	f := create(t, d)
	d.Slow(t, 10)
	start := time.Now()
	for range 4 {
		if err := write(t, f); err != nil {
			t.Fatal(err)
		}
	}
	// The law of the disk, not of the machine: four flushes are four writes at least, and the first may be free.
	if took := time.Since(start); took < 250*time.Millisecond {
		t.Errorf("four writes took %v with ten a second", took)
	}
	d.Fast(t)
	for range 200 { // with ten a second the test runs into its limit
		if err := write(t, f); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskPowerCutLosesWhatWasNotFlushed(t *testing.T) {
	d := testdisk.Ext4(t, 16)
	f := create(t, d)
	if err := write(t, f); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	d.CutPower(t)
	for range 2 { // and it stays
		if err := f.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("a flush without power: %v", err)
		}
	}
	_ = f.Close()
	d.Restart(t)
	if s, err := os.Stat(f.Name()); err != nil || s.Size() != 4096 {
		t.Errorf("%v: %v", s, err)
	}
}

// A flush fails once and then succeeds, and the bytes are gone: what a failed flush has lost stays lost.
func TestDiskThatForgetsItsError(t *testing.T) {
	d, under := testdisk.Thin(t, 64, "32m")
	f := create(t, d)
	if err := write(t, f); err != nil {
		t.Fatal(err)
	}
	under.Fill(t)
	failed, after := 0, 0
	for range 200 { // some blocks are there already
		switch err := write(t, f); {
		case err == nil && failed > 0:
			after++
		case err != nil:
			failed++
		}
	}
	if failed == 0 || f.Sync() != nil {
		t.Errorf("%d flushes failed, %d succeeded after the first of them; the last: %v", failed, after, f.Sync())
	}
	under.Free(t)
	if err := write(t, f); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}
