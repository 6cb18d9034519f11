package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// files are the steps that a crash may come between, all in one directory.
type files struct {
	dir string
	// trace, if there is one, is told of each step before it is taken. For tests.
	trace func(step string)
}

func (f files) path(name string) string { return filepath.Join(f.dir, name) }

func (f files) step(what, name string) {
	if f.trace != nil {
		f.trace(what + " " + name)
	}
}

// replace makes name hold what write writes, all of it or nothing, and durably. A verify that is not nil reads it before.
func (f files) replace(name string, write func(*os.File) error, verify func(*os.File) error) error {
	tmp := name + ".tmp"
	f.step("write", tmp)
	w, err := os.OpenFile(f.path(tmp), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = write(w); err == nil {
		f.step("sync", tmp)
		err = w.Sync()
	}
	if err == nil && verify != nil {
		if _, err = w.Seek(0, 0); err == nil {
			err = verify(w)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(f.path(tmp)))
	}
	return f.rename(tmp, name)
}

// rename returns when the directory is durable too.
func (f files) rename(from, to string) error {
	f.step("rename", from+" "+to)
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		return err
	}
	return f.sync(".")
}

func (f files) sync(name string) error {
	f.step("sync", name)
	return syncPath(f.path(name))
}

// syncTree makes a directory, all that is in it, and its own name durable.
func (f files) syncTree(name string) error {
	f.step("sync-files", name)
	err := filepath.WalkDir(f.path(name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return syncPath(path)
	})
	return errors.Join(err, f.sync(name), f.sync("."))
}

func (f files) remove(name string) error {
	f.step("remove", name)
	return os.RemoveAll(f.path(name))
}

func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
