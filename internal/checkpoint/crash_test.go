package checkpoint_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// A child is this test binary with a part to play in a directory. It tells of what is durable, and is killed or kills itself.
const (
	childPart = "LOCKD_CHECKPOINT_PART"
	childDir  = "LOCKD_CHECKPOINT_DIR"
	childStep = "LOCKD_CHECKPOINT_STEP"
	// With childReserve a child leaves as much room on the disk as a server does.
	childReserve = "LOCKD_CHECKPOINT_RESERVE"
)

var parts = map[string]func(*checkpoint.Disk) error{
	"life": life, "flush": flushForEver, "rebuild": rebuild, "fill": fillUp,
}

func TestMain(m *testing.M) {
	part := parts[os.Getenv(childPart)]
	if part == nil {
		os.Exit(m.Run())
	}
	if err := play(part); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func play(part func(*checkpoint.Disk) error) error {
	left, err := strconv.Atoi(os.Getenv(childStep))
	if err != nil {
		return err
	}
	o := options(os.Getenv(childDir))
	if os.Getenv(childReserve) != "" {
		o.Reserve = checkpoint.DefaultReserve
	}
	d, err := checkpoint.Open(o.WithTrace(func(string) {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}))
	if err != nil {
		return err
	}
	return errors.Join(part(d), d.Close())
}

func child(t *testing.T, part, dir string, step int) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childPart+"="+part, childDir+"="+dir, childStep+"="+strconv.Itoa(step))
	return c
}

// runChild lets a child die before one of its steps, and returns what it told, and whether it came to its end before.
func runChild(t *testing.T, part, dir string, step int) (told string, finished bool) {
	t.Helper()
	out, err := child(t, part, dir, step).Output()
	var exit *exec.ExitError
	if err == nil {
		return string(out), true
	}
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("step %d: %v: %s", step, err, out)
	}
	return string(out), false
}

const (
	before = 2 // entry of the state that a restored one replaces
	after  = 40
)

// restored is the state that life and rebuild get from another node.
func restored() (*model, checkpoint.Set) {
	m := at(after)
	return m, checkpoint.Set{Head: m.head, Records: all(m)}
}

func streamOfRestored() (raft.Mark, *bytes.Reader, error) {
	_, set := restored()
	s := checkpoint.OpenMemory(&checkpoint.Media{})
	var b bytes.Buffer
	err := s.Load(func(checkpoint.Record) error { return nil })
	if err == nil {
		err = s.Flush(set)
	}
	if err != nil {
		return raft.Mark{}, nil, err
	}
	snapshot, err := s.Snapshot()
	if err == nil {
		_, err = b.ReadFrom(snapshot)
	}
	return set.Mark, bytes.NewReader(b.Bytes()), err
}

// life is what a store sees: birth, sets, a kept stream, a state of another node, and sets on top of it.
func life(d *checkpoint.Disk) error {
	if _, err := load(d); err != nil {
		return err
	}
	m := newModel()
	for i := raft.Index(1); i <= before; i++ {
		if err := d.Flush(m.step(i)); err != nil {
			return err
		}
		fmt.Println("durable", i)
	}
	if _, err := d.Keep(); err != nil {
		return err
	}
	fmt.Println("kept", before)
	if err := install(d, os.Stdout); err != nil {
		return err
	}
	m, _ = restored()
	if err := d.Flush(m.step(after + 1)); err != nil {
		return err
	}
	fmt.Println("durable", after+1)
	return nil
}

func install(d *checkpoint.Disk, out io.Writer) error {
	mark, stream, err := streamOfRestored()
	if err != nil {
		return err
	}
	staged, err := d.Restore(mark, stream)
	if err != nil {
		return err
	}
	if _, err := load(staged); err != nil {
		return err
	}
	fmt.Fprintln(out, "committing")
	if err := staged.Commit(); err != nil {
		return err
	}
	fmt.Fprintln(out, "durable", after)
	return nil
}

// told returns the number on the last line that begins with a word, or zero.
func told(out, word string) (n raft.Index) {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, word+" "); ok {
			v, _ := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			n = raft.Index(v)
		}
	}
	return n
}

// TestL12CrashAtEveryStep kills a process before every step of the life of a store, and requires the state before or after.
func TestL12CrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for step := 1; ; step++ {
		dir := t.TempDir()
		out, finished := runChild(t, "life", dir, step)
		d := openDisk(t, dir)
		head := d.Head()
		var m *model
		switch {
		case head.Index < told(out, "durable"):
			t.Fatalf("step %d: state of entry %d, though the process told:\n%s", step, head.Index, out)
		case head.Index <= before:
			m = at(head.Index)
		case !strings.Contains(out, "committing"):
			t.Fatalf("step %d: state of entry %d before the commit:\n%s", step, head.Index, out)
		case head.Index == after:
			m, _ = restored()
		default:
			m, _ = restored()
			m.step(after + 1)
		}
		m.check(t, d, head.Index == after)
		checkTidy(t, dir)
		if told(out, "kept") > 0 {
			checkKept(t, d, before)
		}
		mustClose(t, d)
		if finished {
			if step < 15 {
				t.Errorf("only %d steps: the trace is blind", step)
			}
			return
		}
	}
}

func checkKept(t *testing.T, d *checkpoint.Disk, index raft.Index) {
	t.Helper()
	kept, err := d.Kept()
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, kept)
	if head, err := checkpoint.Verify(kept); err != nil || head.Index != index || kept.Mark().Index != index {
		t.Errorf("kept stream: entry %d and %d, %v, want %d", head.Index, kept.Mark().Index, err, index)
	}
}

// rebuild finds damage and goes on with the state of another node.
func rebuild(d *checkpoint.Disk) error {
	if _, err := load(d); !errors.Is(err, checkpoint.ErrDamaged) {
		return fmt.Errorf("load: %w, not damaged", err)
	}
	return install(d, os.Stdout)
}

// TestL13DamageIsNeverLost kills a process before every step from finding damage to having replaced it: until another state
// is durable the damaged one is there and told of.
func TestL13DamageIsNeverLost(t *testing.T) {
	t.Parallel()
	damaged := t.TempDir()
	d := openDisk(t, damaged)
	mustLoad(t, d)
	mustFlush(t, d, newModel().step(1))
	mustClose(t, d)
	spoil(t, filepath.Join(currentDir(t, damaged), "MANIFEST"))
	lost, err := os.ReadFile(filepath.Join(currentDir(t, damaged), "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	for step := 1; ; step++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(damaged)); err != nil {
			t.Fatal(err)
		}
		out, finished := runChild(t, "rebuild", dir, step)
		d := openDisk(t, dir)
		m, _ := restored()
		if d.Head().Index == after {
			m.check(t, d, true)
			checkTidy(t, dir)
		} else {
			var damage *checkpoint.DamagedError
			if _, err := load(d); !errors.As(err, &damage) {
				t.Fatalf("step %d: %v after:\n%s", step, err, out)
			}
			if found, err := os.ReadFile(filepath.Join(damage.Aside, "MANIFEST")); err != nil || !bytes.Equal(found, lost) {
				t.Fatalf("step %d: what was damaged is not in %s: %v", step, damage.Aside, err)
			}
			if told(out, "durable") > 0 {
				t.Fatalf("step %d: %v, though the process told:\n%s", step, damage, out)
			}
		}
		mustClose(t, d)
		if finished {
			return
		}
	}
}

// TestL12StepsOfAnInstallation requires the order of review: everything is on the disk before CURRENT names it, and what was there before
// is removed only then.
func TestL12StepsOfAnInstallation(t *testing.T) {
	var steps []string
	random := regexp.MustCompile(`-[0-9a-f]{16}`)
	d, err := checkpoint.Open(options(t.TempDir()).WithTrace(func(step string) {
		steps = append(steps, random.ReplaceAllString(step, ""))
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, d)
	mustLoad(t, d)
	mustFlush(t, d, newModel().step(1))
	if err := install(d, io.Discard); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"write CURRENT.tmp", "sync CURRENT.tmp", "rename CURRENT.tmp CURRENT", "sync .", // birth
		"fill sm-40", "sync-files sm-40", "sync sm-40", "sync .",
		"write CURRENT.tmp", "sync CURRENT.tmp", "rename CURRENT.tmp CURRENT", "sync .",
		"remove sm-0",
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

// flushForEver flushes until it is killed.
func flushForEver(d *checkpoint.Disk) error {
	m := at(d.Head().Index)
	if _, err := load(d); err != nil {
		return err
	}
	for {
		if err := d.Flush(m.step(m.head.Index + 1)); err != nil {
			return err
		}
		fmt.Println("durable", m.head.Index)
	}
}

// TestKilledWhileFlushing kills a process again and again and requires every set of which it told, and each set whole.
func TestKilledWhileFlushing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	durable := raft.Index(0)
	for round := range 6 {
		c := child(t, "flush", dir, 0)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		told := bufio.NewScanner(out)
		for lines := 0; told.Scan(); lines++ {
			if _, err := fmt.Sscanf(told.Text(), "durable %d", &durable); err != nil {
				t.Fatalf("round %d: the child told %q", round, told.Text())
			}
			if lines == 20+17*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		d := openDisk(t, dir)
		if got := d.Head().Index; got < durable || got > durable+1 {
			t.Fatalf("round %d: state of entry %d, the child told of %d", round, got, durable)
		}
		at(d.Head().Index).check(t, d, false)
		mustClose(t, d)
	}
}

// fillUp writes until the disk is full, and then goes on asking.
func fillUp(d *checkpoint.Disk) error {
	if _, err := load(d); err != nil {
		return err
	}
	m := newModel()
	for full := 0; full < 20; {
		next := m.clone()
		set := next.set(m.head.Index+1, bulk(m.head.Index+1)...)
		switch err := d.Flush(set); {
		case err == nil:
			m = next
			fmt.Println("durable", m.head.Index)
		case errors.Is(err, raft.ErrDiskFull):
			full++
		default:
			return err
		}
	}
	fmt.Println("full", m.head.Index)
	return nil
}

// bulk is most of a megabyte that was not there before.
func bulk(index raft.Index) []checkpoint.Record {
	records := make([]checkpoint.Record, 1000)
	for i := range records {
		records[i] = put(fmt.Sprintf("%06d/%06d", index, i), strings.Repeat(fmt.Sprint(i%10), 1000))
	}
	return records
}
