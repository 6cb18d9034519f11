package rafttest

import "github.com/lockd/lockd/raft/wal"

// tap notes where each file of a Disk was written to last: damage before that place must be found out, while damage
// within the last batch of a log cannot be told from a write that a power cut has torn.
type tap struct {
	*Disk
	last map[string]*int64
}

func newTap(d *Disk) *tap { return &tap{Disk: d, last: map[string]*int64{}} }

// Open opens a file.
func (t *tap) Open(name string, create bool) (wal.File, error) {
	f, err := t.Disk.Open(name, create)
	if err != nil {
		return nil, err
	}
	if create || t.last[name] == nil {
		t.last[name] = new(int64)
	}
	return &tapFile{f, t.last[name]}, nil
}

// Rename gives a file another name.
func (t *tap) Rename(from, to string) error {
	t.last[to] = t.last[from]
	delete(t.last, from)
	return t.Disk.Rename(from, to)
}

type tapFile struct {
	wal.File
	last *int64
}

func (f *tapFile) WriteAt(p []byte, off int64) (int, error) {
	*f.last = off
	return f.File.WriteAt(p, off)
}
