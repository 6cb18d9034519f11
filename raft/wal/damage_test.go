package wal_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

const recordHeader = 24

// segments returns the names of the log's files, oldest first.
func segments(t *testing.T, disk *rafttest.Disk) []string {
	t.Helper()
	names, err := disk.List()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(s string) bool { return !strings.HasSuffix(s, ".wal") })
}

// put writes to a file behind the log's back.
func put(t *testing.T, disk *rafttest.Disk, name string, p []byte, off int) {
	t.Helper()
	f, err := disk.Open(name, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(p, int64(off)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// flip turns over a bit of the byte at an offset.
func flip(t *testing.T, disk *rafttest.Disk, name string, off int) {
	t.Helper()
	if err := disk.FlipBit(name, int64(off)*8+int64(off%8)); err != nil {
		t.Fatal(err)
	}
}

// used returns where the last thing that is not zero ends.
func used(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }

// clone returns a disk with the same files.
func clone(t *testing.T, disk *rafttest.Disk) *rafttest.Disk {
	t.Helper()
	to := rafttest.NewDisk(1)
	names, err := disk.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := to.Open(name, true); err != nil {
			t.Fatal(err)
		}
		put(t, to, name, disk.Contents(name), 0)
	}
	if err := to.SyncDir(); err != nil {
		t.Fatal(err)
	}
	return to
}

// batches is a log of two segments; it returns the offset in the last segment at which the last batch begins.
func batches(t *testing.T) (r *run, want model, lastBatch int) {
	t.Helper()
	var steps []step
	for i := range raft.Index(9) {
		steps = append(steps, write(raft.Write{
			Hard:    hard(raft.Term(i+1), 3),
			Entries: rafttest.Entries(1+i*3, raft.Term(i+1), 3, 600),
		}))
	}
	r = mustRun(t, 1, steps[:8]...)
	names := segments(t, r.disk)
	if len(names) != 2 {
		t.Fatalf("the log has %d segments, want 2", len(names))
	}
	lastBatch = used(r.disk.Contents(names[1]))
	lastBatch += (8 - lastBatch%8) % 8
	if _, err := r.take(steps[8:]); err != nil {
		t.Fatal(err)
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	return r, states(steps)[9], lastBatch
}

// Trap 55, S13, L9: whatever bit turns over before the last batch, the log is never again opened under its identity,
// not even when the bit is mended; in the last batch it makes that a torn tail; and nowhere is anything else lost.
func TestTrap55FlippedBitRetiresTheIdentity(t *testing.T) {
	r, want, lastBatch := batches(t)
	before := want.after(step{})
	before.entries, before.hard = before.entries[:24], hard(8, 3)
	names := segments(t, r.disk)
	retired, torn, harmless := 0, 0, 0
	for i, name := range names {
		end := used(r.disk.Contents(name))
		for off := 0; off < end+64; off += 7 {
			disk := clone(t, r.disk)
			flip(t, disk, name, off)
			broken := &run{disk: disk, created: true}
			err := broken.open()
			var damaged *wal.CorruptError
			switch inLast := i == 1 && off >= lastBatch; {
			case errors.As(err, &damaged):
				if inLast || damaged.File != name {
					t.Fatalf("%s, byte %d: %v", name, off, err)
				}
				retired++
				flip(t, disk, name, off)
				mustFail(t, "open after the damage was mended", broken.open(), wal.ErrRetired)
				_, exists, err := wal.Inspect(disk)
				mustFail(t, "inspect", err, wal.ErrRetired)
				_, err = wal.Create(broken.options())
				mustFail(t, "create", err, wal.ErrExists)
				if !exists {
					t.Fatal("a retired log does not exist")
				}
			case err != nil:
				t.Fatalf("%s, byte %d: %v", name, off, err)
			case want.differs(broken.log) == "":
				harmless++ // padding, the seal, the unused rest
			case inLast && before.differs(broken.log) == "":
				torn++
			default:
				t.Fatalf("%s, byte %d: %s", name, off, want.differs(broken.log))
			}
		}
	}
	t.Logf("%d retired, %d torn tails, %d harmless", retired, torn, harmless)
	if retired < 2000 || torn < 200 || harmless > retired/20 {
		t.Error("these numbers cannot be right")
	}
}

// S13: the error tells the operator where the damage is and what to do, and so does every later start.
func TestS13RetirementSaysWhatToDo(t *testing.T) {
	r, _, _ := batches(t)
	name := segments(t, r.disk)[0]
	flip(t, r.disk, name, 5000)
	first := r.open()
	second := r.open()
	for _, err := range []error{first, second} {
		mustFail(t, "open", err, wal.ErrRetired)
	}
	for _, want := range []string{name, "checksum"} {
		if !strings.Contains(first.Error(), want) || !strings.Contains(second.Error(), want) {
			t.Errorf("%q and %q do not both say %q", first, second, want)
		}
	}
	if want := "joins as a new node"; !strings.Contains(second.Error(), want) {
		t.Errorf("%q does not say %q", second, want)
	}
}

// L9: damage in the last batch alone is a torn tail, whatever of the batch is sound behind it.
func TestL09TornTailIsCut(t *testing.T) {
	r, want, lastBatch := batches(t)
	before := want.after(step{})
	before.entries, before.hard = before.entries[:24], hard(8, 3)
	name := segments(t, r.disk)[1]
	put(t, r.disk, name, make([]byte, recordHeader+24), lastBatch) // the first record was lost
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if why := before.differs(r.log); why != "" {
		t.Error(why)
	}
	if r.torn != 1 {
		t.Errorf("%d torn tails were told of, want 1", r.torn)
	}
	if end := used(r.disk.Contents(name)); end > lastBatch {
		t.Errorf("bytes are left up to %d, behind the cut at %d", end, lastBatch)
	}
}

// L9: the rest of a torn batch must not join with the beginning of a later one of the same shape.
func TestL09TornBytesNeverComeAlive(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Hard: hard(1, 1), Entries: rafttest.Entries(1, 1, 2, 100)}))
	name := segments(t, r.disk)[0]
	start := used(r.disk.Contents(name))
	start += (8 - start%8) % 8
	const firstRecord = recordHeader + 24
	batch := func(term raft.Term) step {
		return write(raft.Write{Hard: hard(term, 1), Entries: rafttest.Entries(3, term, 2, 100)})
	}
	// A batch is torn: its first record is lost.
	if _, err := r.take([]step{batch(2)}); err != nil {
		t.Fatal(err)
	}
	r.disk.Kill()
	put(t, r.disk, name, make([]byte, firstRecord), start)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	behind := r.disk.Contents(name)[start+firstRecord:]
	// Another one of the same shape is torn: of it only the first record is on the disk.
	if _, err := r.take([]step{batch(3)}); err != nil {
		t.Fatal(err)
	}
	r.disk.Kill()
	put(t, r.disk, name, behind, start+firstRecord)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	want := model{}.after(write(raft.Write{Hard: hard(1, 1), Entries: rafttest.Entries(1, 1, 2, 100)}))
	if why := want.differs(r.log); why != "" {
		t.Error(why)
	}
}

// L9: the first batch of a segment was on the disk before the segment had its name: damage there is never a torn tail.
func TestL09FirstBatchOfASegmentIsNeverTorn(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Hard: hard(1, 1)}), write(raft.Write{Reset: mark(10, 1), Hard: hard(2, 2)}))
	name := segments(t, r.disk)[0]
	flip(t, r.disk, name, used(r.disk.Contents(name))-3)
	r.disk.Kill()
	mustFail(t, "open", r.open(), wal.ErrRetired)
}

// A sector that was acknowledged and reads as zeros is damage like any other.
func TestTrap55LostWriteRetiresTheIdentity(t *testing.T) {
	r, _, lastBatch := batches(t)
	put(t, r.disk, segments(t, r.disk)[1], make([]byte, 512), lastBatch-600)
	mustFail(t, "open", r.open(), wal.ErrRetired)
}

// S13: a segment that is gone, wherever it was, has taken votes or entries with it. The oldest one alone may be missing:
// that is what compaction does.
func TestS13MissingSegmentRetiresTheIdentity(t *testing.T) {
	var steps []step
	for i := range raft.Index(20) {
		steps = append(steps, write(raft.Write{Entries: rafttest.Entries(1+i*3, 2, 3, 800)}))
	}
	for i := range 4 {
		r := mustRun(t, 1, steps...)
		names := segments(t, r.disk)
		if len(names) != 5 {
			t.Fatalf("the log has %d segments, want 5", len(names))
		}
		if err := errors.Join(r.log.Close(), r.disk.Remove(names[i+1]), r.disk.SyncDir()); err != nil {
			t.Fatal(err)
		}
		err := r.open()
		mustFail(t, "open without "+names[i+1], err, wal.ErrRetired)
	}
}

// Trap 55: damage that a running node finds when it reads stops it at once, and for ever.
func TestTrap55DamageFoundByReadRetiresTheIdentity(t *testing.T) {
	r := mustRun(t, 1, write(raft.Write{Entries: rafttest.Entries(1, 1, 5, 100)}))
	flip(t, r.disk, segments(t, r.disk)[0], 4096+recordHeader+raft.EntryHeaderBytes+10)
	_, err := r.log.Read(1, 5, 1<<20)
	mustFail(t, "read", err, wal.ErrRetired)
	mustFail(t, "write", r.log.Write([]raft.Write{{Hard: hard(2, 2)}}), wal.ErrRetired)
	_, err = r.log.Read(5, 5, 1<<20)
	mustFail(t, "read of another entry", err, wal.ErrRetired)
	mustFail(t, "open", errors.Join(r.log.Close(), r.open()), wal.ErrRetired)
}
