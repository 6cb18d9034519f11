package wal_test

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lockd/lockd/internal/testdisk"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

const (
	childDir  = "LOCKD_DISK_CHILD"
	childSeed = "LOCKD_DISK_SEED"
)

func openReal(dir string) (*wal.Log, error) {
	fs, err := wal.DirFS(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	o := wal.Options{FS: fs, Identity: someone, SegmentBytes: 256 << 10}
	if _, exists, err := wal.Inspect(fs); err != nil || exists {
		if err != nil {
			return nil, err
		}
		return wal.Open(o)
	}
	return wal.Create(o)
}

// dataBytes is the size of an entry's data, which the parent has to know.
func dataBytes(i raft.Index) int { return int(i*7919) % 3000 }

// TestMain makes the test binary, when told so, the process that loses power.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Println(writeForEver(dir))
		return
	}
	os.Exit(m.Run())
}

// writeForEver writes to a log and tells of what was acknowledged, until an error.
func writeForEver(dir string) error {
	var seed uint64
	if _, err := fmt.Sscan(os.Getenv(childSeed), &seed); err != nil {
		return err
	}
	l, err := openReal(dir)
	if err != nil {
		return err
	}
	state, err := l.Load()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 1))
	base, last, term := state.Base.Position, state.Last, state.Hard.Term+1
	for ; err == nil; term++ {
		w := raft.Write{Hard: hard(term, raft.NodeID(term))}
		if back := raft.Index(random.IntN(4)); random.IntN(10) == 0 && last > base.Index+back {
			w.TruncateFrom = last + 1 - back
			last -= back
		}
		for range random.IntN(20) {
			last++
			w.Entries = append(w.Entries, rafttest.Entries(last, term, 1, dataBytes(last))...)
		}
		if random.IntN(100) == 0 {
			last += 10
			w = raft.Write{Reset: mark(last, term), Hard: w.Hard}
			base = w.Reset.Position
		}
		if err = l.Write([]raft.Write{w}); err == nil {
			fmt.Printf("ack %d %d\n", last, term)
		}
		if err == nil && random.IntN(20) == 0 && last > base.Index+50 {
			base, err = l.Compact(last - 50)
		}
	}
	if again := l.Write([]raft.Write{{Hard: hard(term+1, 1)}}); again != nil {
		fmt.Println("final")
	}
	return err
}

// acks is what a child has acknowledged: the end of the log by term, which rises with each write, and which of the terms
// were told before the power went.
type acks struct {
	last   map[raft.Term]raft.Index
	before raft.Term
}

// writeUntil runs a child until it has acknowledged so many writes, and calls stop. What it acknowledges while the power
// goes may be there or not: with real power nobody would hear it, and a flush that is under way when ext4 is shut down may
// find its transaction gone and call that a success.
func writeUntil(t *testing.T, dir string, seed uint64, writes int, stop func()) acks {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s=%d", childSeed, seed))
	pipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	told, final, text := acks{last: map[raft.Term]raft.Index{}}, false, ""
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		var last raft.Index
		var term raft.Term
		if n, _ := fmt.Sscanf(lines.Text(), "ack %d %d", &last, &term); n != 2 {
			text = lines.Text()
			final = final || text == "final"
			continue
		}
		told.last[term] = last
		if len(told.last) == writes {
			told.before = term
			stop()
		}
	}
	if err := child.Wait(); told.before == 0 || !final {
		t.Fatalf("the child ended after %d of %d writes, error final: %v, %s, %v", len(told.last), writes, final, text, err)
	}
	return told
}

// Invariant 5, trap 54, L9: ten power cuts of a real file system, on one log: nothing acknowledged is lost, neither
// entries nor the hard state, and a failed write is final.
func TestDiskPowerCuts(t *testing.T) {
	e := testdisk.Ext4(t, 64)
	total := 0
	for round := range uint64(10) {
		writes := 50 + int(round*37)%200
		told := writeUntil(t, e.Dir, round, writes, func() { e.CutPower(t) })
		e.Restart(t)
		l, err := openReal(e.Dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkReal(t, l, told)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		total += writes
	}
	t.Logf("%d writes acknowledged at least, 10 power cuts, nothing lost", total)
}

// checkReal compares a log with what was acknowledged. One write more than was ever told may be there.
func checkReal(t *testing.T, l *wal.Log, told acks) {
	t.Helper()
	state, err := l.Load()
	if err != nil {
		t.Fatal(err)
	}
	term := state.Hard.Term
	if newest := slices.Max(slices.Collect(maps.Keys(told.last))); term < told.before || term > newest+1 {
		t.Fatalf("terms up to %d were acknowledged before the power went, up to %d at all; term %d is there", told.before, newest, term)
	}
	if last, known := told.last[term]; known && state.Last != last {
		t.Fatalf("entry %d was acknowledged, entry %d is the last", last, state.Last)
	}
	for i := state.Base.Index + 1; i <= state.Last; {
		got, err := l.Read(i, state.Last, 1<<20)
		if err != nil {
			t.Fatalf("read %d: %v", i, err)
		}
		for _, e := range got {
			want := rafttest.Entries(i, e.Term(), 1, dataBytes(i))[0]
			if string(e.Bytes()) != string(want.Bytes()) {
				t.Fatalf("entry %d is another one", i)
			}
			i++
		}
	}
}

// A full file system keeps the log alive: what was acknowledged is there, what is refused leaves no trace, and when
// there is room the log goes on.
func TestDiskFullFileSystem(t *testing.T) {
	testdisk.Need(t)
	for name, mount := range map[string]func(t *testing.T) string{
		"tmpfs": func(t *testing.T) string { return testdisk.Tmpfs(t, "4m").Dir },
		"ext4":  func(t *testing.T) string { return testdisk.Ext4(t, 16, "commit=1").Dir },
	} {
		t.Run(name, func(t *testing.T) {
			dir := mount(t)
			ballast := filepath.Join(dir, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := openReal(dir)
			if err != nil {
				t.Fatal(err)
			}
			last := raft.Index(0)
			for err == nil {
				var w raft.Write
				for i := last + 1; i <= last+20; i++ {
					w.Entries = append(w.Entries, rafttest.Entries(i, 1, 1, dataBytes(i))...)
				}
				if err = l.Write([]raft.Write{w}); err == nil {
					last += 20
				}
			}
			mustFail(t, "write", err, raft.ErrDiskFull)
			mustFail(t, "second write", l.Write([]raft.Write{{Entries: rafttest.Entries(last+1, 1, 300, 3000)}}), raft.ErrDiskFull)
			checkReal(t, l, acks{last: map[raft.Term]raft.Index{0: last}})
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			if err := l.Write([]raft.Write{{Entries: rafttest.Entries(last+1, 1, 1, dataBytes(last+1))}}); err != nil {
				t.Fatalf("when there is room again: %v", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = openReal(dir); err != nil {
				t.Fatal(err)
			}
			checkReal(t, l, acks{last: map[raft.Term]raft.Index{0: last + 1}})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
