package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// rig opens stores over one and the same disk.
type rig struct {
	open   func(t testing.TB) checkpoint.Store
	damage func(t testing.TB) // while no store is open
	tidy   func(t testing.TB) // fails if anything lies about that should not
}

func diskRig(t testing.TB) rig {
	dir := t.TempDir()
	return rig{
		open:   func(t testing.TB) checkpoint.Store { return openDisk(t, dir) },
		damage: func(t testing.TB) { spoil(t, filepath.Join(currentDir(t, dir), "MANIFEST")) },
		tidy:   func(t testing.TB) { checkTidy(t, dir) },
	}
}

func memoryRig(testing.TB) rig {
	media := &checkpoint.Media{}
	return rig{
		open:   func(testing.TB) checkpoint.Store { return checkpoint.OpenMemory(media) },
		damage: func(testing.TB) { media.Damage() },
		tidy:   func(testing.TB) {},
	}
}

// options have a reserve that the machine of a test has.
func options(dir string) checkpoint.Options { return checkpoint.Options{Dir: dir, Reserve: 1 << 20} }

func openDisk(t testing.TB, dir string) *checkpoint.Disk {
	t.Helper()
	d, err := checkpoint.Open(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, d) })
	return d
}

func currentDir(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, strings.TrimSpace(string(b)))
}

// spoil flips the bits of a byte in the middle of a file.
func spoil(t testing.TB, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkTidy requires that a directory holds CURRENT and the store it names, and perhaps a kept stream.
func checkTidy(t testing.TB, dir string) {
	t.Helper()
	named := filepath.Base(currentDir(t, dir))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "CURRENT", "kept.snapshot", named:
		default:
			t.Errorf("%s lies in the directory, CURRENT names %s", e.Name(), named)
		}
	}
}

// TestConformance holds the store on the disk and its twin to the same rules. The bubble requires that Close ends every
// goroutine.
func TestConformance(t *testing.T) {
	tests := []struct {
		name string
		test func(*testing.T, rig)
	}{
		{"an empty store has no state", testEmpty},
		{"what was flushed is there after a restart", testFlush},
		{"what cannot be stored is refused by name", testRefused},
		{"the largest set is one transaction", testLargest},
		{"a snapshot is of one moment", testSnapshot},
		{"a restored state takes the place of the other", testRestore},
		{"a discarded state leaves nothing", testDiscard},
		{"a bad stream leaves nothing", testBadStream},
		{"a state that is not loaded or older is not committed", testCommitRefused},
		{"damage is told until a state has taken its place", testDamage},
		{"a hash that does not agree is damage", testHash},
		{"a record that is refused is no damage", testAddFails},
		{"nothing goes on after Close", testClosed},
	}
	for _, kind := range []struct {
		name string
		rig  func(testing.TB) rig
	}{{"disk", diskRig}, {"memory", memoryRig}} {
		for _, test := range tests {
			t.Run(kind.name+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { test.test(t, kind.rig(t)) })
			})
		}
	}
}

func testEmpty(t *testing.T, r rig) {
	s := r.open(t)
	if err := s.Flush(at(0).step(1)); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("flush before load: %v", err)
	}
	newModel().check(t, s, false)
	if _, err := s.Snapshot(); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("snapshot of nothing: %v", err)
	}
	if err := s.Load(func(checkpoint.Record) error { return nil }); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("load twice: %v", err)
	}
	mustClose(t, s)
	newModel().check(t, r.open(t), false)
	r.tidy(t)
}

func testFlush(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	for i := raft.Index(1); i <= 30; i++ {
		mustFlush(t, s, m.step(i))
		m.checkHead(t, s, false)
		if i%10 == 0 {
			mustClose(t, s)
			s = r.open(t)
			m.checkHead(t, s, false)
			m.check(t, s, false)
		}
	}
	mustFlush(t, s, m.set(31, put("empty", ""), gone("was never there"), gone("twice"), put("twice", "x")))
	mustClose(t, s)
	m.check(t, r.open(t), false)
	r.tidy(t)
}

func testRefused(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, m.step(5))
	many := make([]checkpoint.Record, checkpoint.MaxSetRecords+1)
	for i := range many {
		many[i] = gone(fmt.Sprint("k", i))
	}
	fat := make([]checkpoint.Record, 3)
	for i := range fat {
		fat[i] = put(fmt.Sprint("k", i), strings.Repeat("v", checkpoint.MaxSetBytes/3))
	}
	noConfig, longMeta := m.clone().set(6), m.clone().set(6)
	noConfig.Config = raft.Config{}
	longMeta.Meta = make([]byte, checkpoint.MaxMetaBytes+1)
	for _, c := range []struct {
		name string
		set  checkpoint.Set
		want error
		says string
	}{
		{"the same entry", m.clone().set(5), checkpoint.ErrOrder, "entry 5"},
		{"an earlier entry", m.clone().set(4), checkpoint.ErrOrder, "entry 4 after one of entry 5"},
		{"too many records", m.clone().set(6, many...), checkpoint.ErrTooLarge, "set of entry 6 has 12001 records"},
		{"too many bytes", m.clone().set(6, fat...), checkpoint.ErrTooLarge, "set of entry 6"},
		{"a long key", m.clone().set(6, put(strings.Repeat("k", checkpoint.MaxKeyBytes+1), "")), checkpoint.ErrInvalid, "kkk"},
		{"no key", m.clone().set(6, put("", "")), checkpoint.ErrInvalid, `""`},
		{"the store's key", m.clone().set(6, put("\x00", "")), checkpoint.ErrInvalid, "x00"},
		{"the key of meta", m.clone().set(6, put("m", "")), checkpoint.ErrInvalid, "m"},
		{"a long value", m.clone().set(6, put("k", strings.Repeat("v", checkpoint.MaxValueBytes+1))), checkpoint.ErrTooLarge, `"k"`},
		{"no configuration", noConfig, checkpoint.ErrInvalid, "voters"},
		{"a long meta record", longMeta, checkpoint.ErrTooLarge, "meta"},
	} {
		if err := s.Flush(c.set); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v that says %q", c.name, err, c.want, c.says)
		}
	}
	m.checkHead(t, s, false)
	mustFlush(t, s, m.step(6))
	mustClose(t, s)
	m.check(t, r.open(t), false)
}

func testLargest(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	most := make([]checkpoint.Record, checkpoint.MaxSetRecords)
	for i := range most {
		most[i] = put(fmt.Sprintf("k%06d", i), strings.Repeat("v", 75))
	}
	mustFlush(t, s, m.set(1, most...))
	mustFlush(t, s, m.set(2, put("a", strings.Repeat("a", checkpoint.MaxValueBytes)), put("b", strings.Repeat("b", checkpoint.MaxValueBytes))))
	mustClose(t, s)
	m.check(t, r.open(t), false)
}

func testSnapshot(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	for i := raft.Index(1); i <= 20; i++ {
		mustFlush(t, s, m.step(i))
	}
	then := m.clone()
	snapshot, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	for i := raft.Index(21); i <= 40; i++ { // while it is read
		if _, err := io.CopyN(&stream, snapshot, 1000); err != nil {
			t.Fatal(err)
		}
		mustFlush(t, s, m.step(i))
	}
	if _, err := io.Copy(&stream, snapshot); err != nil {
		t.Fatal(err)
	}
	mustClose(t, snapshot)
	if snapshot.Mark().Position != then.head.Position {
		t.Errorf("mark %v, want %v", snapshot.Mark().Position, then.head.Position)
	}
	other := mustLoad(t, checkpoint.OpenMemory(&checkpoint.Media{}))
	staged := mustRestore(t, other, snapshot.Mark(), stream.Bytes())
	then.check(t, staged, true)
	if n, err := snapshot.Read(make([]byte, 1)); n > 0 || !errors.Is(err, checkpoint.ErrClosed) {
		t.Errorf("read of a closed snapshot: %d, %v", n, err)
	}
}

func testRestore(t *testing.T, r rig) {
	there := at(40)
	mark, stream := sampleStream(t, checkpoint.Set{Head: there.head, Records: all(there)})
	s, here := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, here.step(1), here.step(2))
	reading, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	staged := mustRestore(t, s, mark, stream)
	mustFlush(t, s, here.step(3)) // the present state stays in use
	here.checkHead(t, s, false)
	there.check(t, staged, true)
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	staged.Discard() // does nothing now
	there.checkHead(t, s, true)
	if old, err := checkpoint.Verify(reading); err != nil || old.Index != 2 {
		t.Errorf("the snapshot taken before: entry %d, %v", old.Index, err)
	}
	mustClose(t, reading)
	mustClose(t, s)
	s = r.open(t)
	there.check(t, s, true)
	r.tidy(t)
	mustFlush(t, s, there.step(41))
	there.checkHead(t, s, false)
	mustClose(t, s)
	there.check(t, r.open(t), false)
}

// all returns the records of a model as one set's.
func all(m *model) (records []checkpoint.Record) {
	for k, v := range m.records {
		records = append(records, put(k, v))
	}
	return records
}

func testDiscard(t *testing.T, r rig) {
	mark, stream := sampleStream(t, newModel().step(40))
	s, here := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, here.step(1))
	staged := mustRestore(t, s, mark, stream)
	if _, err := load(staged); err != nil {
		t.Fatal(err)
	}
	staged.Discard()
	staged.Discard()
	r.tidy(t)
	if err := staged.Commit(); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("commit after discard: %v", err)
	}
	if _, err := load(staged); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("load after discard: %v", err)
	}
	left := mustRestore(t, s, mark, stream) // and one that Close has to end
	mustClose(t, s)
	left.Discard()
	here.check(t, r.open(t), false)
	r.tidy(t)
}

func testBadStream(t *testing.T, r rig) {
	mark, stream := sampleStream(t, newModel().step(40))
	s, here := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, here.step(1))
	other := mark
	other.Term++
	flipped := bytes.Clone(stream)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string]struct {
		mark   raft.Mark
		stream []byte
	}{
		"of another mark": {other, stream},
		"cut":             {mark, stream[:len(stream)-1]},
		"cut in a block":  {mark, stream[:len(stream)/2]},
		"flipped":         {mark, flipped},
		"too long":        {mark, append(bytes.Clone(stream), 0)},
		"nothing":         {mark, nil},
	} {
		if _, err := s.Restore(bad.mark, bytes.NewReader(bad.stream)); !errors.Is(err, checkpoint.ErrBadStream) {
			t.Errorf("%s: %v", name, err)
		}
		r.tidy(t)
	}
	mustFlush(t, s, here.step(2))
	mustClose(t, s)
	here.check(t, r.open(t), false)
}

func testCommitRefused(t *testing.T, r rig) {
	mark, stream := sampleStream(t, newModel().step(10))
	s, here := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, here.step(1))
	staged := mustRestore(t, s, mark, stream)
	if err := staged.Commit(); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("commit before load: %v", err)
	}
	if _, err := load(staged); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, s, here.step(11))
	if err := staged.Commit(); !errors.Is(err, checkpoint.ErrOrder) || !strings.Contains(err.Error(), "entry 10 in the place of one of entry 11") {
		t.Errorf("commit of an older state: %v", err)
	}
	staged.Discard()
	mustFlush(t, s, here.step(12))
	mustClose(t, s)
	here.check(t, r.open(t), false)
}

func testDamage(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, m.step(1), m.step(2))
	mustClose(t, s)
	r.damage(t)
	for range 2 { // until something has taken its place
		s = r.open(t)
		var damaged *checkpoint.DamagedError
		if records, err := load(s); !errors.As(err, &damaged) || !errors.Is(err, checkpoint.ErrDamaged) {
			t.Fatalf("load: %d records, %v", len(records), err)
		}
		newModel().checkHead(t, s, false)
		mustClose(t, s)
	}
	s = r.open(t)
	if _, err := load(s); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatal(err)
	}
	there := newModel()
	mark, stream := sampleStream(t, there.step(9))
	staged := mustRestore(t, s, mark, stream)
	there.check(t, staged, true)
	if err := staged.Commit(); err != nil {
		t.Fatal(err)
	}
	mustFlush(t, s, there.step(10))
	mustClose(t, s)
	there.check(t, r.open(t), false)
	r.tidy(t)
}

func testHash(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	set := m.step(1)
	set.Hash[1]++
	mustFlush(t, s, set)
	mustClose(t, s)
	s = r.open(t)
	if _, err := load(s); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), "hash") {
		t.Fatalf("load: %v", err)
	}
	m = newModel()
	mustFlush(t, s, m.step(1)) // a log that is there from its first entry
	mustClose(t, s)
	m.check(t, r.open(t), false)
	r.tidy(t)
}

func testAddFails(t *testing.T, r rig) {
	s, m := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, m.step(1))
	mustClose(t, s)
	s = r.open(t)
	unknown := errors.New("unknown version")
	if err := s.Load(func(checkpoint.Record) error { return unknown }); !errors.Is(err, unknown) || errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatalf("load: %v", err)
	}
	m.check(t, s, false)
	r.tidy(t)
}

func testClosed(t *testing.T, r rig) {
	mark, stream := sampleStream(t, newModel().step(10))
	s, m := mustLoad(t, r.open(t)), newModel()
	mustFlush(t, s, m.step(1))
	reading, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	staged := mustRestore(t, s, mark, stream)
	mustClose(t, s)
	mustClose(t, s)
	calls := map[string]func() error{
		"flush":    func() error { return s.Flush(m.step(2)) },
		"load":     func() error { return s.Load(func(checkpoint.Record) error { return nil }) },
		"snapshot": func() error { _, err := s.Snapshot(); return err },
		"restore":  func() error { _, err := s.Restore(mark, bytes.NewReader(stream)); return err },
		"commit":   staged.Commit,
		"read":     func() error { _, err := reading.Read(make([]byte, 9)); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, checkpoint.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	mustClose(t, reading)
	r.tidy(t)
}
