package wal_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
	"github.com/lockd/lockd/raft/wal"
)

var rewrite = flag.Bool("rewrite-format", false, "write the golden files of the format anew")

// golden is a log with every kind of record, in two segments.
func golden(t *testing.T) *run {
	t.Helper()
	var steps []step
	steps = append(steps, write(raft.Write{Reset: mark(40, 2), Hard: hard(3, 1)}))
	config := raft.NewEntry(raft.Position{Index: 41, Term: 3}, raft.KindConfig, mark(41, 3).Config.AppendBinary(nil))
	steps = append(steps,
		write(raft.Write{Entries: append([]raft.Entry{config}, rafttest.Entries(42, 3, 3, 5)...)}),
		write(raft.Write{TruncateFrom: 44, Hard: hard(4, 2), Entries: rafttest.Entries(44, 4, 2, 3)}),
		write(raft.Write{Entries: rafttest.Entries(46, 4, 2, 1900)}),
		write(raft.Write{Hard: hard(5, 0)}))
	return start(t, &run{disk: rafttest.NewDisk(1), bytes: 8 << 10}, steps...)
}

// The bytes on disk are a promise: whoever changes them needs a new format version, and a way to read the old one.
func TestFormatIsAsItWas(t *testing.T) {
	r := golden(t)
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	names := segments(t, r.disk)
	if len(names) != 2 {
		t.Fatalf("segments %v, want two", names)
	}
	for _, name := range names {
		got := []byte(hex.Dump(bytes.TrimRight(r.disk.Contents(name), "\x00")))
		file := filepath.Join("testdata", "format1-"+name+".hex")
		if *rewrite {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what %s holds", name, file)
		}
	}
}

// A segment of a later version is no damage: an older build must leave it alone.
func TestUnknownVersionIsRefused(t *testing.T) {
	r := golden(t)
	name := segments(t, r.disk)[1]
	page := r.disk.Contents(name)[:4096]
	page[8]++
	put(t, r.disk, name, wal.SumHeader(page), 0)
	r.disk.Kill()
	for range 2 {
		mustFail(t, "open", r.open(), wal.ErrVersion)
	}
	_, _, err := wal.Inspect(r.disk)
	mustFail(t, "inspect", err, wal.ErrVersion)
}

// An entry of a later version is no damage either, and retires nobody: the build that wrote it can go on.
func TestEntryOfALaterVersionIsRefused(t *testing.T) {
	r := golden(t)
	r.disk.Kill()
	known := rafttest.Entries(44, 4, 2, 3)[0].Bytes()
	later := bytes.Clone(known)
	later[24]++
	binary.LittleEndian.PutUint32(later[4:], crc32.Checksum(later[8:], crc32.MakeTable(crc32.Castagnoli)))
	changed := 0
	for _, name := range segments(t, r.disk) {
		b := bytes.Clone(r.disk.Contents(name))
		changed += bytes.Count(b, known)
		b = bytes.ReplaceAll(b, known, later)
		wal.SumRecords(b)
		put(t, r.disk, name, b, 0)
	}
	r.disk.Kill()
	if changed != 1 {
		t.Fatalf("the entry is there %d times", changed)
	}
	for range 2 {
		mustFail(t, "open", r.open(), wal.ErrVersion)
	}
}

// A configuration of the largest size does not fit into one page of the header.
func TestLargestConfigIsKept(t *testing.T) {
	m := mark(9, 9)
	m.Config.Voters = nil
	for i := range raft.MaxPeers {
		p := raft.Peer{ID: raft.PeerID{Node: raft.NodeID(i + 1), Incarnation: 3}, Address: string(bytes.Repeat([]byte("a"), raft.MaxAddressBytes))}
		if i < raft.MaxVoters {
			m.Config.Voters = append(m.Config.Voters, p)
		} else {
			m.Config.Learners = append(m.Config.Learners, p)
		}
	}
	r := mustRun(t, 1, write(raft.Write{Reset: m}), write(raft.Write{Entries: rafttest.Entries(10, 9, 3, 9000)}),
		write(raft.Write{Entries: rafttest.Entries(13, 9, 3, 9000)}), step{compact: 15}, step{reopen: true})
	state, err := r.log.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(state.Base.Config.AppendBinary(nil), m.Config.AppendBinary(nil)) || state.Base.Config.Index != 9 {
		t.Error("the configuration at the base is another one")
	}
}
