package checkpoint_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/testdisk"
	"github.com/lockd/lockd/raft"
)

// cutAfter cuts the power when a child has told so many lines, and returns those. What it tells later counts for nothing:
// with real power there is nobody left to tell it, and a flush that is under way when ext4 is shut down may find its
// transaction gone and call that a success.
func cutAfter(t *testing.T, i *testdisk.Disk, part string, lines int) string {
	t.Helper()
	c := child(t, part, filepath.Join(i.Dir, "state"), 0)
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
			i.CutPower(t)
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err == nil {
		t.Fatalf("the child ended by itself:\n%s", told.String())
	}
	i.Restart(t)
	return told.String()
}

// TestDiskPowerCutWhileFlushing requires every set that was told to be durable.
func TestDiskPowerCutWhileFlushing(t *testing.T) {
	i := testdisk.Ext4(t, 128)
	for round := range 4 {
		out := cutAfter(t, i, "flush", 10+60*round)
		d := openDisk(t, filepath.Join(i.Dir, "state"))
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
		i := testdisk.Ext4(t, 128)
		out := cutAfter(t, i, "life", lines)
		dir := filepath.Join(i.Dir, "state")
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
	i := testdisk.Ext4(t, 400)
	ballast := filepath.Join(i.Dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 150<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(i.Dir, "state")
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

// TestDiskFullAtTheStart requires that a start on a full file system is an error that says so, touches nothing, and succeeds when there is
// room again.
func TestDiskFullAtTheStart(t *testing.T) {
	i := testdisk.Ext4(t, 400)
	o := checkpoint.Options{Dir: filepath.Join(i.Dir, "state")}
	d, err := checkpoint.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	m := newModel()
	m.check(t, d, false)
	mustFlush(t, d, m.set(1, bulk(1)...))
	mustClose(t, d)
	ballast, err := os.Create(filepath.Join(i.Dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(ballast.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(ballast.Fd()), 0, 0, (int64(stat.Bavail)-8)*stat.Bsize); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := checkpoint.Open(o); !errors.Is(err, raft.ErrDiskFull) {
			t.Fatalf("opened on a full disk: %v", err)
		}
	}
	if err := errors.Join(ballast.Close(), os.Remove(ballast.Name())); err != nil {
		t.Fatal(err)
	}
	if d, err = checkpoint.Open(o); err != nil {
		t.Fatal(err)
	}
	m.check(t, d, false)
	checkTidy(t, o.Dir)
	mustClose(t, d)
}
