package checkpoint_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// grown is a directory with badger files of every kind, as a crash leaves them: tables of two closings, and a log that is not
// empty. It holds the state of entry 60.
func grown(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := newModel()
	for i := raft.Index(1); i <= 40; {
		d := openDisk(t, dir)
		mustLoad(t, d)
		for range 20 {
			mustFlush(t, d, m.step(i))
			i++
		}
		mustClose(t, d)
	}
	d := openDisk(t, dir)
	mustLoad(t, d)
	for i := raft.Index(41); i <= 60; i++ {
		mustFlush(t, d, m.step(i))
	}
	crashed := t.TempDir()
	if err := os.CopyFS(crashed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	return crashed
}

// TestS15FlippedBitsAreSeen flips bits all over badger's files. The state must then be told damaged, or be one that was
// flushed: badger cuts its own log at what it cannot read, and the raft log has the rest.
func TestS15FlippedBitsAreSeen(t *testing.T) {
	t.Parallel()
	crashed := grown(t)
	random := rand.New(rand.NewPCG(15, 15))
	damaged, whole := map[string]int{}, map[string]int{}
	for _, pattern := range []string{"*.sst", "*.mem", "MANIFEST", "KEYREGISTRY"} {
		files, err := filepath.Glob(filepath.Join(currentDir(t, crashed), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		for range 6 {
			path := files[random.IntN(len(files))]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			used := len(strings.TrimRight(string(b), "\x00"))
			b[random.IntN(used)] ^= byte(1 << random.IntN(8))
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(crashed)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(currentDir(t, dir), filepath.Base(path)), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if judge(t, dir) {
				damaged[pattern]++
			} else {
				whole[pattern]++
			}
		}
	}
	if damaged["*.sst"] != 6 || damaged["MANIFEST"] == 0 {
		t.Errorf("damaged %v, whole %v: some damage was not seen", damaged, whole)
	}
}

// TestTornTablesAreSeen tears badger's tables off at every length near their end, and at many others, and flips every bit of what stands
// there: that is believed before anything is checked, and no nonsense may end the process.
func TestTornTablesAreSeen(t *testing.T) {
	t.Parallel()
	crashed := grown(t)
	files, err := filepath.Glob(filepath.Join(currentDir(t, crashed), "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no table: %v", err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var spoilt [][]byte
	for n := 1; n < len(whole); n += 1 + n/16 {
		spoilt = append(spoilt, whole[:len(whole)-n], whole[:n])
	}
	const end = 24 // the sum and both lengths
	for bit := range 8 * end {
		b := slices.Clone(whole)
		b[len(b)-1-bit/8] ^= 1 << (bit % 8)
		spoilt = append(spoilt, b)
	}
	spoilt = append(spoilt, nil, make([]byte, len(whole)), bytes.Repeat([]byte{0xff}, len(whole)))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(crashed)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(currentDir(t, dir), filepath.Base(files[0]))
	for i, b := range spoilt {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		err := checkpoint.CheckTable(name)
		if err == nil && i >= len(spoilt)-3 {
			t.Errorf("nonsense of %d bytes passes", len(b))
		}
		if err == nil && i%8 == 0 { // badger has to find it, and to live on
			fresh := t.TempDir()
			if err := os.CopyFS(fresh, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if !judge(t, fresh) {
				t.Errorf("damage %d is not seen", i)
			}
		}
	}
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.CheckTable(name); err != nil || judge(t, dir) {
		t.Errorf("the whole table: %v", err)
	}
}

// judge opens what may be damaged and reports whether it says so.
func judge(t *testing.T, dir string) bool {
	t.Helper()
	d := openDisk(t, dir)
	defer mustClose(t, d)
	head := d.Head()
	records, err := load(d)
	if errors.Is(err, checkpoint.ErrDamaged) {
		return true
	}
	if err != nil || head.Index > 60 {
		t.Fatalf("entry %d: %v", head.Index, err)
	}
	if diff := cmp.Diff(at(head.Index).records, records); diff != "" {
		t.Fatalf("a state of entry %d that never was (-want +got):\n%s", head.Index, diff)
	}
	return false
}

// TestBrokenDirectories are directories that no crash leaves behind.
func TestBrokenDirectories(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"no CURRENT": func(t *testing.T, dir string) { removeAll(t, filepath.Join(dir, "CURRENT")) },
		"no sense in CURRENT": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("../../etc\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"no table": func(t *testing.T, dir string) {
			tables, err := filepath.Glob(filepath.Join(currentDir(t, dir), "*.sst"))
			if err != nil || len(tables) == 0 {
				t.Fatalf("tables: %v, %v", tables, err)
			}
			removeAll(t, tables[0])
		},
		"no restored store": func(t *testing.T, dir string) {
			d := openDisk(t, dir)
			mustLoad(t, d)
			if err := install(d, io.Discard); err != nil {
				t.Fatal(err)
			}
			mustClose(t, d)
			removeAll(t, currentDir(t, dir))
		},
		"an empty restored store": func(t *testing.T, dir string) {
			d := openDisk(t, dir)
			mustLoad(t, d)
			if err := install(d, io.Discard); err != nil {
				t.Fatal(err)
			}
			mustClose(t, d)
			named := currentDir(t, dir)
			removeAll(t, named)
			if err := os.Mkdir(named, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := openDisk(t, dir)
			mustLoad(t, d)
			mustFlush(t, d, newModel().step(1))
			mustClose(t, d)
			spoil(t, dir)
			for range 2 {
				if !judge(t, dir) {
					t.Error("nothing was told")
				}
			}
		})
	}
}

// TestLaterVersionIsRefused opens a state that a later version has written: that is no damage, and it stays where it is.
func TestLaterVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	mustFlush(t, d, newModel().step(1))
	if err := d.LaterHead(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	named := currentDir(t, dir)
	for range 2 {
		if _, err := checkpoint.Open(options(dir)); !errors.Is(err, checkpoint.ErrVersion) || !strings.Contains(err.Error(), "version 2") {
			t.Fatalf("open: %v", err)
		}
		if now := currentDir(t, dir); now != named {
			t.Errorf("%s is in the place of %s", now, named)
		}
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "damaged-*")); err != nil || len(aside) > 0 {
		t.Errorf("put aside: %v, %v", aside, err)
	}
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// TestL13RebuildFromTheKeptStream is a node without peers whose store is damaged.
func TestL13RebuildFromTheKeptStream(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	if _, err := d.Kept(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is kept: %v", err)
	}
	mustLoad(t, d)
	if _, err := d.Keep(); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("keep nothing: %v", err)
	}
	m := newModel()
	mustFlush(t, d, m.step(1), m.step(2))
	for range 2 {
		if mark, err := d.Keep(); err != nil || mark.Index != m.head.Index {
			t.Fatalf("keep: %d, %v", mark.Index, err)
		}
		checkKept(t, d, m.head.Index)
		mustFlush(t, d, m.step(m.head.Index+1))
	}
	mustClose(t, d)
	spoil(t, filepath.Join(currentDir(t, dir), "MANIFEST"))

	d = openDisk(t, dir)
	if _, err := load(d); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatal(err)
	}
	kept, err := d.Kept()
	if err != nil {
		t.Fatal(err)
	}
	staged, err := d.Restore(kept.Mark(), kept)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, kept)
	m = at(3)
	m.check(t, staged, true)
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, d, m.step(4), m.step(5)) // from the log
	mustClose(t, d)
	checkTidy(t, dir)
	d = openDisk(t, dir)
	m.check(t, d, false)
	spoil(t, filepath.Join(dir, "kept.snapshot"))
	if _, err := d.Kept(); !errors.Is(err, checkpoint.ErrBadStream) {
		t.Errorf("a damaged kept stream: %v", err)
	}
}

// TestTwoProcesses requires that a second user is refused and that nothing is taken for damaged because of it.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	m := newModel()
	mustFlush(t, d, m.step(1))
	if _, err := checkpoint.Open(options(dir)); !errors.Is(err, checkpoint.ErrInUse) {
		t.Fatalf("second open: %v", err)
	}
	mustFlush(t, d, m.step(2))
	mustClose(t, d)
	m.check(t, openDisk(t, dir), false)
	checkTidy(t, dir)
}

// TestReserve requires that a file system without room for what badger may need is not written to, and that this is not final.
func TestReserve(t *testing.T) {
	free, err := checkpoint.FreeSpace(t.TempDir())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system does not tell how much room there is")
	}
	if err != nil || free == 0 {
		t.Fatalf("free space: %d, %v", free, err)
	}
	if _, err := checkpoint.FreeSpace(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("free space of nothing: %v", err)
	}
	o := options(t.TempDir())
	o.Reserve = 1 << 60
	d, err := checkpoint.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, d)
	mustLoad(t, d)
	if err := d.Flush(newModel().step(1)); !errors.Is(err, raft.ErrDiskFull) {
		t.Errorf("flush: %v", err)
	}
	mark, stream, err := streamOfRestored()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Restore(mark, stream); !errors.Is(err, raft.ErrDiskFull) {
		t.Errorf("restore: %v", err)
	}
	checkTidy(t, o.Dir)
	newModel().checkHead(t, d, false)
}

// TestDeadline requires that a disk which does not answer ends the wait, and that this is final: nobody knows what is on it.
func TestDeadline(t *testing.T) {
	o := options(t.TempDir())
	o.Deadline = time.Nanosecond
	d, err := checkpoint.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	mustLoad(t, d)
	m := newModel()
	first := d.Flush(m.step(1))
	if first == nil || !strings.Contains(first.Error(), "no answer within 1ns") {
		t.Fatalf("flush: %v", first)
	}
	newModel().checkHead(t, d, false)
	if err := d.Flush(m.step(2)); !errors.Is(err, first) {
		t.Errorf("flush after a failure: %v", err)
	}
	if _, err := d.Snapshot(); !errors.Is(err, first) {
		t.Errorf("snapshot after a failure: %v", err)
	}
	d.SetDeadline(checkpoint.DefaultDeadline)
	mustClose(t, d)
}
