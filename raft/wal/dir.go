package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrInUse is wrapped by the error of DirFS for a directory that a process is using, this one included.
var ErrInUse = errors.New("wal: directory is in use")

// Dir is a directory of the operating system, held for one owner.
type Dir struct {
	path   string
	handle *os.File
}

// DirFS opens a directory, and makes it, with mode 0700, if only its last element is missing. The directory is locked
// against every other DirFS until Close; the error then wraps ErrInUse. A Log closes its FS.
func DirFS(path string) (*Dir, error) {
	switch err := os.Mkdir(path, 0o700); {
	case err == nil:
		if err := syncPath(filepath.Dir(path)); err != nil {
			return nil, err
		}
	case !errors.Is(err, os.ErrExist):
		return nil, err
	}
	handle, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := lockDir(handle); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), unlockDir(handle))
	}
	return &Dir{path: path, handle: handle}, nil
}

// Close lets go of the directory; files that are open remain so.
func (d *Dir) Close() error { return unlockDir(d.handle) }

// Open opens a file for reading and writing; with create it must not exist yet.
func (d *Dir) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(filepath.Join(d.path, name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{f}, nil
}

// Rename gives a file another name, atomically.
func (d *Dir) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

// Remove removes a name.
func (d *Dir) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

// List returns the names of all files, sorted.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// SyncDir makes the names durable.
func (d *Dir) SyncDir() error { return d.handle.Sync() }

func syncPath(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// file is an os.File whose Sync writes no more metadata than it must.
type file struct{ *os.File }

func (f *file) Sync() error { return dataSync(f.File) }

func (f *file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
