package main

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/lockd/lockd/raft"
)

// checkpointEvery is how many entries lie between two files of the machine's state.
const checkpointEvery = 50_000

// operation is one count, named by who asked for it.
type operation struct{ Client, Seq uint64 }

func (o operation) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, o.Client), o.Seq)
}

func decodeOperation(b []byte) (operation, error) {
	if len(b) != 16 {
		return operation{}, fmt.Errorf("an operation has 16 bytes, not %d", len(b))
	}
	return operation{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

// state is the counter: how often it was raised, by whom, and a digest of the order.
type state struct {
	Mark      []byte // raft.Mark, encoded
	Installed bool   // raft.Mark.Installed
	Value     uint64
	Twice     uint64 // operations that were in the log more than once
	Digest    uint64
	Ops       map[uint64]spans
}

// spans are the sequence numbers of a client that have been counted, as ranges [from, to).
type spans [][2]uint64

func (s spans) has(n uint64) bool {
	i := s.after(n)
	return i > 0 && n < s[i-1][1]
}

// after returns the first range that begins after n.
func (s spans) after(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(r [2]uint64, n uint64) int {
		if r[0] <= n {
			return -1
		}
		return 1
	})
	return i
}

func (s spans) add(n uint64) spans {
	i := s.after(n)
	if i > 0 && s[i-1][1] == n {
		s[i-1][1]++
	} else {
		s = slices.Insert(s, i, [2]uint64{n, n + 1})
		i++
	}
	if i < len(s) && s[i-1][1] == s[i][0] {
		s[i-1][1] = s[i][1]
		s = slices.Delete(s, i, i+1)
	}
	return s
}

// machine is the raft.StateMachine: the state in memory, and now and then in a file.
type machine struct {
	path string

	mu      sync.Mutex // guards the fields below
	state   state
	mark    raft.Mark
	durable raft.Mark
}

// openMachine reads the state file of a directory, if there is one.
func openMachine(dir string) (*machine, error) {
	m := &machine{path: filepath.Join(dir, "state")}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		m.state.Ops = make(map[uint64]spans)
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	if m.state, m.mark, err = decodeState(b); err != nil {
		return nil, fmt.Errorf("read %s: %w", m.path, err)
	}
	m.durable = m.mark
	return m, nil
}

func decodeState(b []byte) (s state, mark raft.Mark, err error) {
	if err = gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err == nil {
		mark, err = raft.DecodeMark(s.Mark)
		mark.Installed = s.Installed
	}
	if s.Ops == nil {
		s.Ops = make(map[uint64]spans)
	}
	return s, mark, err
}

// Apply counts. An entry that is no operation is a bug of whoever proposed it, and ends the process.
func (m *machine) Apply(b raft.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range b.Entries {
		if e.Kind() == raft.KindCommand {
			op, err := decodeOperation(e.Data())
			if err != nil {
				panic(fmt.Sprintf("entry %d: %v", e.Index(), err))
			}
			m.count(op)
			b.Results[i] = m.state.Value
		}
		m.state.digest(e)
	}
	m.mark = raft.Mark{Position: b.Entries[len(b.Entries)-1].Position(), Config: b.Config}
	if m.mark.Index >= m.durable.Index+checkpointEvery {
		if err := m.save(m.mark); err != nil {
			panic(fmt.Sprintf("write %s: %v", m.path, err)) // the log has everything; the next start reads it again
		}
	}
}

func (m *machine) count(op operation) {
	ops := m.state.Ops[op.Client]
	if ops.has(op.Seq) {
		m.state.Twice++
		return
	}
	m.state.Ops[op.Client] = ops.add(op.Seq)
	m.state.Value++
}

// digest chains e to all entries before it, so that equal digests mean equal logs.
func (s *state) digest(e raft.Entry) {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, s.Digest))
	_, _ = h.Write(e.Bytes())
	s.Digest = h.Sum64()
}

// encode is called with mu held.
func (m *machine) encode(mark raft.Mark) ([]byte, error) {
	m.state.Mark, m.state.Installed = mark.AppendBinary(nil), mark.Installed
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(m.state)
	return b.Bytes(), err
}

// save is called with mu held.
func (m *machine) save(mark raft.Mark) error {
	b, err := m.encode(mark)
	if err == nil {
		err = replaceFile(m.path, b)
	}
	if err == nil {
		m.durable = mark
	}
	return err
}

// replaceFile writes a file so that a crash leaves the old one or the new one.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Mark returns what the state file holds.
func (m *machine) Mark() raft.Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.durable
}

// Snapshot returns the present state.
func (m *machine) Snapshot() (raft.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := m.encode(m.mark)
	return snapshot{bytes.NewReader(b), m.mark}, err
}

type snapshot struct {
	*bytes.Reader
	mark raft.Mark
}

func (s snapshot) Mark() raft.Mark { return s.mark }
func (s snapshot) Close() error    { return nil }

// Restore reads a state that becomes the machine's at Commit.
func (m *machine) Restore(mark raft.Mark, r io.Reader) (raft.Installation, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	s, got, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	if got.Position != mark.Position {
		return nil, fmt.Errorf("the snapshot is of %v, not of %v", got.Position, mark.Position)
	}
	return installation{m, s, got}, nil
}

type installation struct {
	m     *machine
	state state
	mark  raft.Mark
}

func (i installation) Commit() error {
	i.m.mu.Lock()
	defer i.m.mu.Unlock()
	i.m.state, i.m.mark = i.state, i.mark
	i.m.mark.Installed = true
	return i.m.save(i.m.mark)
}

func (installation) Discard() {}
