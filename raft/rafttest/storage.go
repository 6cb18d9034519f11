package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/lockd/lockd/raft"
)

// OpenStorage opens one and the same place: the first call makes an empty storage there, each further one, after the
// Close of the one before, finds what was left.
type OpenStorage func() (raft.Storage, error)

// TestStorage checks that an implementation of raft.Storage keeps the promises of the interface. It calls place once
// for every test, for an empty place to keep a storage in. Faults of the disk are beyond it.
func TestStorage(t *testing.T, place func(t *testing.T) OpenStorage) {
	t.Helper()
	tests := []struct {
		name string
		run  func(s *storageTest)
	}{
		{"Empty", (*storageTest).empty},
		{"KeepsEntriesAndHardState", (*storageTest).keeps},
		{"WritesInOrder", (*storageTest).order},
		{"Truncates", (*storageTest).truncates},
		{"TruncatesAcrossReopening", (*storageTest).truncatesOften},
		{"KeepsConfigs", (*storageTest).configs},
		{"KeepsTheConfigAtItsBase", (*storageTest).configsAndCompaction},
		{"ResetForgetsTheLogAndNothingElse", (*storageTest).resets},
		{"ResetAmongOtherWrites", (*storageTest).resetsAmongOthers},
		{"ReadIsBounded", (*storageTest).readBounded},
		{"ReadGivesTheBytesThatWereWritten", (*storageTest).readBytes},
		{"LargestEntry", (*storageTest).largest},
		{"CompactsOnlyWhatItMay", (*storageTest).compacts},
		{"ReadsWhileItWrites", (*storageTest).readsWhileWriting},
		{"GrowsAndShrinks", (*storageTest).churn},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &storageTest{T: t, open: place(t)}
			s.reopen()
			test.run(s)
			s.check()
			s.reopen()
			s.check()
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// storageTest is a storage beside a plain model of what it must hold.
type storageTest struct {
	*testing.T
	raft.Storage
	open OpenStorage

	hard    raft.HardState
	base    raft.Position // at least; the storage may hold more
	origin  raft.Mark     // of the last Reset
	entries []raft.Entry  // from index 1 on; those up to origin are the zero Entry
	seq     uint64
}

// reopen closes the storage and compares what it holds after opening it again.
func (s *storageTest) reopen() {
	s.Helper()
	if s.Storage != nil {
		if err := s.Close(); err != nil {
			s.Fatalf("Close: %v", err)
		}
	}
	var err error
	if s.Storage, err = s.open(); err != nil {
		s.Fatalf("open: %v", err)
	}
	state, err := s.Load()
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	s.compareState(state)
}

func (s *storageTest) compareState(got raft.State) {
	s.Helper()
	if got.Hard != s.hard {
		s.Errorf("hard state is %+v, want %+v", got.Hard, s.hard)
	}
	if got.Last != s.last() {
		s.Fatalf("last index is %d, want %d", got.Last, s.last())
	}
	if got.Base.Index > s.base.Index || got.Base.Index == s.base.Index && got.Base.Position != s.base {
		s.Fatalf("base is %+v, want %+v or lower", got.Base, s.base)
	}
	if want := s.configAt(got.Base.Index); !reflect.DeepEqual(got.Base.Config, want) {
		s.Errorf("configuration at the base, %d, is %+v, want %+v", got.Base.Index, got.Base.Config, want)
	}
	var runs []raft.TermRun
	var configs []string
	for _, e := range s.entries[got.Base.Index:] {
		if n := len(runs); n == 0 || runs[n-1].Term != e.Term() {
			runs = append(runs, raft.TermRun{First: e.Index(), Term: e.Term()})
		}
		if e.Kind() == raft.KindConfig {
			configs = append(configs, e.String())
		}
	}
	if len(runs)+len(got.Runs) > 0 && !reflect.DeepEqual(got.Runs, runs) {
		s.Errorf("runs are %v, want %v", got.Runs, runs)
	}
	var gotConfigs []string
	for _, e := range got.Configs {
		gotConfigs = append(gotConfigs, e.String())
	}
	if !slices.Equal(gotConfigs, configs) {
		s.Errorf("configs are %v, want %v", gotConfigs, configs)
	}
}

// configAt returns the configuration in force at an index.
func (s *storageTest) configAt(i raft.Index) raft.Config {
	for _, e := range slices.Backward(s.entries[s.origin.Index:i]) {
		if e.Kind() == raft.KindConfig {
			c, err := raft.DecodeConfig(e.Index(), e.Data())
			if err != nil {
				s.Fatalf("configuration of entry %d: %v", e.Index(), err)
			}
			return c
		}
	}
	return s.origin.Config
}

func (s *storageTest) last() raft.Index { return raft.Index(len(s.entries)) }

// write stores ws and does the same to the model.
func (s *storageTest) write(ws ...raft.Write) {
	s.Helper()
	for i := range ws {
		s.seq++
		ws[i].Seq = s.seq
		s.apply(ws[i])
	}
	if err := s.Write(ws); err != nil {
		s.Fatalf("Write: %v", err)
	}
}

func (s *storageTest) apply(w raft.Write) {
	if w.Reset.Index != 0 {
		s.base, s.origin, s.entries = w.Reset.Position, w.Reset, make([]raft.Entry, w.Reset.Index)
	}
	if w.Hard != (raft.HardState{}) {
		s.hard = w.Hard
	}
	if w.TruncateFrom != 0 {
		s.entries = s.entries[:w.TruncateFrom-1]
	}
	s.entries = append(s.entries, w.Entries...)
}

// more returns n entries that follow the last one.
func (s *storageTest) more(n int, term raft.Term, size int) []raft.Entry {
	return Entries(s.last()+1, term, n, size)
}

// Entries returns n commands of a term, each of so many bytes of data that tell index and term.
func Entries(first raft.Index, term raft.Term, n, size int) []raft.Entry {
	list := make([]raft.Entry, n)
	for i := range list {
		at := raft.Position{Index: first + raft.Index(i), Term: term}
		data := bytes.Repeat(fmt.Appendf(nil, "%d/%d ", at.Index, at.Term), size/4+1)[:size]
		list[i] = raft.NewEntry(at, raft.KindCommand, data)
	}
	return list
}

// check reads the whole log, in one go and one by one, and compares it.
func (s *storageTest) check() {
	s.Helper()
	s.checkRead(s.base.Index+1, 1<<30)
	s.checkRead(s.base.Index+1, 1)
}

func (s *storageTest) checkRead(lo raft.Index, maxBytes int) {
	s.Helper()
	for lo <= s.last() {
		got, err := s.Read(lo, s.last(), maxBytes)
		if err != nil || len(got) == 0 {
			s.Fatalf("Read(%d, %d, %d) = %d entries, %v", lo, s.last(), maxBytes, len(got), err)
		}
		for _, e := range got {
			if lo > s.last() || !bytes.Equal(e.Bytes(), s.entries[lo-1].Bytes()) {
				s.Fatalf("Read gives %.40q where entry %d was written", e.Bytes(), lo)
			}
			lo++
		}
	}
}

func (s *storageTest) empty() {
	s.write()
	s.write(raft.Write{})
	if _, err := s.Read(1, 1, 100); err == nil {
		s.Error("Read of an entry that was never written gives no error")
	}
	if base, err := s.Compact(0); err != nil || base != (raft.Position{}) {
		s.Errorf("Compact(0) of an empty log = %v, %v", base, err)
	}
}

func (s *storageTest) keeps() {
	s.write(raft.Write{Hard: raft.HardState{Term: 1}})
	s.write(raft.Write{Hard: raft.HardState{Term: 2, Vote: raft.PeerID{Node: 3, Incarnation: 4}}})
	s.reopen()
	s.write(raft.Write{Entries: s.more(3, 2, 10)})
	s.check()
	s.reopen()
	s.write(raft.Write{Hard: raft.HardState{Term: 5}, Entries: s.more(2, 4, 0)})
}

func (s *storageTest) order() {
	first := raft.Write{Hard: raft.HardState{Term: 1}, Entries: s.more(5, 1, 8)}
	s.write(first,
		raft.Write{},
		raft.Write{TruncateFrom: 4, Entries: Entries(4, 2, 3, 8)},
		raft.Write{Hard: raft.HardState{Term: 3}},
		raft.Write{TruncateFrom: 6, Hard: raft.HardState{Term: 4, Vote: raft.PeerID{Node: 1}}, Entries: Entries(6, 4, 1, 8)})
}

func (s *storageTest) truncates() {
	s.write(raft.Write{Entries: s.more(10, 1, 20)})
	s.write(raft.Write{Entries: s.more(10, 2, 20)})
	s.write(raft.Write{TruncateFrom: 15})
	s.check()
	s.reopen()
	s.write(raft.Write{TruncateFrom: 15}) // nothing is there
	s.write(raft.Write{TruncateFrom: 11, Entries: Entries(11, 3, 2, 20)})
	s.check()
	s.reopen()
	s.write(raft.Write{TruncateFrom: 1})
	s.check()
	s.reopen()
	s.write(raft.Write{Entries: s.more(3, 4, 20)})
}

func (s *storageTest) truncatesOften() {
	for term := raft.Term(1); term < 40; term++ {
		from := s.last() + 1
		if term%3 != 0 {
			from -= min(s.last(), raft.Index(term%7))
		}
		s.write(raft.Write{TruncateFrom: from, Entries: Entries(from, term, 5, 300)})
		if term%4 == 0 {
			s.reopen()
			s.check()
		}
	}
}

func (s *storageTest) configs() {
	s.write(raft.Write{Entries: []raft.Entry{configEntry(1, 1), configEntry(2, 1), configEntry(3, 2)}})
	s.reopen()
	s.write(raft.Write{TruncateFrom: 3})
	s.reopen()
	s.write(raft.Write{Entries: []raft.Entry{configEntry(3, 4), Entries(4, 4, 1, 0)[0]}})
	s.reopen()
	// The configuration of a snapshot replaces all others, those after it included.
	s.write(raft.Write{Reset: mark(2, 4)})
	s.reopen()
	s.write(raft.Write{Entries: s.more(3, 5, 10)})
}

// configsAndCompaction has configurations come and go, while the log is cut from both ends.
func (s *storageTest) configsAndCompaction() {
	for round := range raft.Index(40) {
		term := raft.Term(round + 1)
		from := max(s.base.Index+1, s.last()+1-min(s.last(), round%13))
		list := append([]raft.Entry{configEntry(from, term)}, Entries(from+1, term, 10, 700)...)
		s.write(raft.Write{TruncateFrom: from, Entries: list})
		s.compact(s.last() - 12)
		s.reopen()
	}
}

func configEntry(i raft.Index, term raft.Term) raft.Entry {
	return raft.NewEntry(raft.Position{Index: i, Term: term}, raft.KindConfig, mark(i, term).Config.AppendBinary(nil))
}

// mark has a configuration that tells index and term.
func mark(i raft.Index, term raft.Term) raft.Mark {
	id := raft.PeerID{Node: raft.NodeID(i), Incarnation: uint64(term)}
	c := raft.Config{Index: i, Voters: []raft.Peer{{ID: id, Address: "somewhere"}}}
	return raft.Mark{Position: raft.Position{Index: i, Term: term}, Config: c}
}

func (s *storageTest) resets() {
	hard := raft.HardState{Term: 7, Vote: raft.PeerID{Node: 2, Incarnation: 9}}
	s.write(raft.Write{Hard: hard, Entries: s.more(20, 3, 50)})
	s.write(raft.Write{Reset: mark(100, 5)})
	if _, err := s.Read(20, 20, 100); !errors.Is(err, raft.ErrCompacted) {
		s.Errorf("Read below the base gives %v, want ErrCompacted", err)
	}
	s.reopen()
	s.write(raft.Write{Entries: s.more(3, 7, 50)})
	s.check()
	s.reopen()
	// A snapshot may also lie within the log, when that disagrees with it.
	s.write(raft.Write{Reset: mark(102, 6)})
	s.reopen()
	s.write(raft.Write{Entries: s.more(1, 7, 50)})
}

func (s *storageTest) resetsAmongOthers() {
	s.write(raft.Write{Entries: s.more(5, 1, 10)})
	s.write(
		raft.Write{Hard: raft.HardState{Term: 3}, Entries: Entries(6, 2, 2, 10)},
		raft.Write{Reset: mark(50, 2), Entries: Entries(51, 3, 1, 10)},
		raft.Write{Hard: raft.HardState{Term: 4}},
		raft.Write{Reset: mark(60, 3), Hard: raft.HardState{Term: 5}},
		raft.Write{Entries: Entries(61, 5, 3, 10)})
}

func (s *storageTest) readBounded() {
	s.write(raft.Write{Entries: s.more(100, 1, 1000)})
	one := s.entries[0].Size()
	for _, n := range []int{1, 3, 10} {
		got, err := s.Read(5, 90, n*one)
		size := 0
		for _, e := range got {
			size += e.Size()
		}
		if err != nil || len(got) == 0 || size > (n+1)*one {
			s.Errorf("Read of at most %d bytes gives %d entries of %d bytes, %v", n*one, len(got), size, err)
		}
	}
	for _, hi := range []raft.Index{5, 6, 7} {
		got, err := s.Read(5, hi, 1<<30)
		if err != nil || len(got) == 0 || got[0].Index() != 5 || got[len(got)-1].Index() > hi {
			s.Errorf("Read(5, %d) gives %v, %v", hi, got, err)
		}
	}
}

func (s *storageTest) readBytes() {
	noop := raft.NewEntry(raft.Position{Index: 1, Term: 9}, raft.KindNoop, nil)
	s.write(raft.Write{Entries: []raft.Entry{noop}})
	for size := range 70 {
		s.write(raft.Write{Entries: s.more(1, 9, size)})
	}
}

func (s *storageTest) largest() {
	s.write(raft.Write{Entries: s.more(1, 1, raft.MaxDataBytes)})
	s.write(raft.Write{Entries: s.more(3, 1, 1)}, raft.Write{Entries: Entries(5, 1, 2, raft.MaxDataBytes)})
}

func (s *storageTest) compacts() {
	for range 50 {
		s.write(raft.Write{Hard: raft.HardState{Term: 2, Vote: raft.PeerID{Node: 1}}, Entries: s.more(20, 1, 1000)})
	}
	for upTo := range s.last() + 1 {
		s.compact(upTo)
		if upTo%171 != 0 && upTo != s.last() {
			continue
		}
		base := s.compact(upTo / 2) // is done already
		if base.Index > 0 {
			if _, err := s.Read(base.Index, base.Index, 100); !errors.Is(err, raft.ErrCompacted) {
				s.Errorf("Read of entry %d, which was compacted, gives %v", base.Index, err)
			}
		}
		s.check()
		s.reopen()
		s.check()
	}
	s.write(raft.Write{Entries: s.more(5, 3, 10)})
}

// compact drops what it may, which must not be more than it was asked to.
func (s *storageTest) compact(upTo raft.Index) raft.Position {
	s.Helper()
	base, err := s.Compact(upTo)
	if err != nil || base.Index > upTo && base != s.base {
		s.Fatalf("Compact(%d) = %v, %v", upTo, base, err)
	}
	if base.Index < s.base.Index {
		s.Fatalf("Compact(%d): the base falls from %v to %v", upTo, s.base, base)
	}
	if base.Index > 0 && base.Index > s.origin.Index && base != s.entries[base.Index-1].Position() {
		s.Fatalf("Compact(%d): the base is %v, the entry was %v", upTo, base, s.entries[base.Index-1].Position())
	}
	s.base = base
	return base
}

func (s *storageTest) readsWhileWriting() {
	s.write(raft.Write{Entries: s.more(10, 1, 100)})
	written := make(chan raft.Index, 1)
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for last := range written {
			for lo := last - 9; lo <= last; lo++ {
				if got, err := s.Read(lo, last, 250); err != nil || got[0].Index() != lo {
					failed <- fmt.Errorf("read %d: %d entries, %w", lo, len(got), err)
					return
				}
			}
		}
	}()
	for range 200 {
		s.write(raft.Write{Entries: s.more(10, 1, 100)})
		select {
		case written <- s.last():
		default: // the reader is busy with an earlier one
		}
	}
	close(written)
	if err := <-failed; err != nil {
		s.Error(err)
	}
}

func (s *storageTest) churn() {
	for round := range raft.Index(60) {
		term := raft.Term(round + 1)
		from := max(s.base.Index+1, s.last()+1-min(s.last(), round%11))
		s.write(raft.Write{Hard: raft.HardState{Term: term}, TruncateFrom: from, Entries: Entries(from, term, 30, 500)})
		if round%5 == 4 {
			s.compact(s.last() - 10)
		}
		if round == 33 {
			s.write(raft.Write{Reset: mark(s.last()+1000, term)})
		}
		if round%8 == 7 {
			s.reopen()
		}
		s.check()
	}
}
