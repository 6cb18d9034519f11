package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lockd/lockd/raft"
)

const (
	keptName     = "kept.snapshot"
	keptChunk    = 4 << 20
	keptReadSize = 256 << 10
)

// Keep writes the durable state as a stream to a file of its own, reads it back, and puts it in the place of the one kept
// before: what a node without peers is rebuilt from when badger's files are damaged. It takes a second for 1,000,000
// records; the log from the mark it returns on is needed too. An error leaves the one kept before.
func (d *Disk) Keep() (raft.Mark, error) {
	d.keeping <- struct{}{}
	defer func() { <-d.keeping }()
	s, err := d.Snapshot()
	if err != nil {
		return raft.Mark{}, err
	}
	write := func(w *os.File) error {
		for {
			if err := d.room(); err != nil {
				return err
			}
			if _, err := io.CopyN(w, s, keptChunk); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	verify := func(r *os.File) error {
		_, err := Verify(bufio.NewReaderSize(r, keptReadSize))
		return err
	}
	if err = errors.Join(d.files.replace(keptName, write, verify), s.Close()); err != nil {
		return raft.Mark{}, fmt.Errorf("checkpoint: keep a snapshot: %w", err)
	}
	return s.Mark(), nil
}

// Kept returns the stream that Keep has written last, after checking all of it; Restore takes it. Without one the error
// wraps fs.ErrNotExist, and ErrBadStream if it is damaged.
func (d *Disk) Kept() (raft.Snapshot, error) {
	if err := d.begin(); err != nil {
		return nil, err
	}
	defer d.end()
	f, err := os.Open(d.files.path(keptName))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	head, err := Verify(bufio.NewReaderSize(f, keptReadSize))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return &kept{Reader: bufio.NewReaderSize(f, keptReadSize), file: f, mark: head.Mark}, nil
}

// kept is a stream in a file.
type kept struct {
	io.Reader
	file *os.File
	mark raft.Mark
}

// Mark implements raft.Snapshot.
func (k *kept) Mark() raft.Mark { return k.mark }

// Close implements io.Closer.
func (k *kept) Close() error { return k.file.Close() }
